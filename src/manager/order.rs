//! The memory orderings of the manager, by name, as [`local::order`](crate::local) has the gate's.

use crate::local::sites;

sites! {
    /// A latch is taken. Pairs with [`FREE_LATCH`]: the taker sees the table.
    TAKE_LATCH = Acquire;
    /// A latch is freed. Pairs with [`TAKE_LATCH`].
    FREE_LATCH = Release;
    /// A holder records itself after it has entered, and later that others may end its hold. Pairs
    /// with [`END_ACQUIRED`], and with whoever asks for the time of the hold.
    RECORD = Release;
    /// `release` takes away the record of a hold, and gives back its permit only after it was
    /// taken. Pairs with [`RECORD`].
    END_ACQUIRED = Acquire;
    /// Somebody asks who holds. Pairs with [`RECORD`], so that the time is of the same hold. That is
    /// for people to read, so no model misses this one.
    WHO_HOLDS = Acquire;
}
