//! Every memory ordering of the primitives, by name: who pairs with whom.
//!
//! The state word is only ever changed by read-modify-writes, so each release sequence on it goes
//! on through all later changes: whoever acquires sees everything that was released into the word
//! before. Sites that are not named here are `Relaxed`.

use std::sync::atomic::Ordering;

use crate::sys;

/// A named place in the code, and the ordering that it needs.
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) ordering: Ordering,
}

impl Site {
    #[inline(always)]
    pub(crate) fn get(&self) -> Ordering {
        sys::effective(self.name, self.ordering)
    }
}

macro_rules! sites {
    ($($(#[$doc:meta])* $name:ident = $ordering:ident;)*) => {
        $($(#[$doc])* pub(crate) const $name: $crate::local::Site = $crate::local::Site {
            name: stringify!($name),
            ordering: ::std::sync::atomic::Ordering::$ordering,
        };)*

        /// All of them, for the verification tools.
        #[cfg(loom)]
        pub(crate) const ALL: &[$crate::local::Site] = &[$($name),*];
    };
}
pub(crate) use sites;

sites! {
    /// A newcomer takes permits. Pairs with [`RELEASE`]: it sees what earlier holders did.
    ENTER = Acquire;
    /// A called waiter takes permits under QLOCK. Pairs with [`RELEASE`].
    ENTER_CALLED = Acquire;
    /// A called waiter that stands alone takes permits and QLOCK in one step. Pairs with
    /// [`RELEASE`] and [`FREE_LIST`].
    ENTER_ALONE = Acquire;
    /// Permits are given back. Pairs with the three above.
    RELEASE = Release;
    /// A releaser looks at the word again, reads its own addition or something later, and thereby
    /// sees the `due` of whoever freed the list before that. Pairs with [`FREE_LIST`].
    LOOK_AGAIN = Acquire;
    /// A releaser takes QLOCK. Pairs with [`FREE_LIST`]: it sees the list.
    LOCK_TO_CALL = Acquire;
    /// A waiter, or whoever closes or resizes, takes QLOCK. Pairs with [`FREE_LIST`].
    LOCK_LIST = Acquire;
    /// A newcomer takes QLOCK to queue. Pairs with [`FREE_LIST`].
    LOCK_TO_QUEUE = Acquire;
    /// QLOCK is given back. Pairs with all that take it, and with [`LOOK_AGAIN`].
    FREE_LIST = Release;
    /// `acquire` counts its hold after it has entered. Pairs with [`END_HOLD`].
    BEGIN_HOLD = Release;
    /// `release` takes a hold off the count, and gives back its permits only after they were taken.
    /// Pairs with [`BEGIN_HOLD`].
    END_HOLD = Acquire;
}
