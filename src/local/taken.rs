//! Permits that somebody has taken, given back on drop: what every guard stands on.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;

use super::gate::Gate;
use super::recursion::Place;

/// A primitive that has a gate.
pub(crate) trait Gated {
    fn gate(&self) -> &Gate;
}

/// `N` permits of a borrowed primitive.
pub(crate) struct Taken<'a, const N: u32> {
    gate: &'a Gate,
    /// Where it began, if it reads: known until it ends.
    place: Place,
}

impl<'a, const N: u32> Taken<'a, N> {
    /// The caller has taken `N` permits of `gate`, and gives them into this one's keeping.
    #[inline]
    pub(crate) fn keep(gate: &'a Gate) -> Self {
        Self { gate, place: Place::unknown() }
    }

    /// The same for a thread that reads.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn keep_reading(gate: &'a Gate) -> Self {
        Self { gate, place: Place::of_read(gate) }
    }

    pub(crate) fn gate(&self) -> &'a Gate {
        self.gate
    }

    /// The caller keeps the permits.
    pub(crate) fn into_gate(self) -> &'a Gate {
        let mut this = ManuallyDrop::new(self);
        this.place = Place::unknown();
        this.gate
    }

    /// Keeps `FEWER` of them, and gives the others back.
    pub(crate) fn downgrade<const FEWER: u32>(self) -> Taken<'a, FEWER> {
        let fewer = Taken::keep(self.into_gate());
        fewer.gate.release(N - FEWER);
        fewer
    }

    /// The caller has taken as many more as make `MORE` of them.
    pub(crate) fn with_rest<const MORE: u32>(self) -> Taken<'a, MORE> {
        Taken::keep(self.into_gate())
    }
}

impl<const N: u32> Drop for Taken<'_, N> {
    #[inline]
    fn drop(&mut self) {
        self.gate.release(N);
    }
}

/// `N` permits of a shared primitive, which they keep alive.
pub(crate) struct OwnedTaken<L: Gated + ?Sized, const N: u32> {
    owner: Arc<L>,
    /// Where it began, if it reads: known until it ends.
    place: Place,
}

impl<L: Gated + ?Sized, const N: u32> OwnedTaken<L, N> {
    /// The caller has taken `N` permits of `owner`, and gives them into this one's keeping.
    pub(crate) fn keep(owner: Arc<L>) -> Self {
        Self { owner, place: Place::unknown() }
    }

    /// The same for a thread that reads.
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn keep_reading(owner: Arc<L>) -> Self {
        let place = Place::of_read(owner.gate());
        Self { owner, place }
    }

    pub(crate) fn gate(&self) -> &Gate {
        self.owner.gate()
    }

    /// The caller keeps the permits.
    fn into_owner(self) -> Arc<L> {
        let mut this = ManuallyDrop::new(self);
        this.place = Place::unknown();
        // SAFETY: `this` is not dropped, so the owner is moved out once.
        unsafe { ptr::read(&raw const this.owner) }
    }

    /// Keeps `FEWER` of them, and gives the others back.
    pub(crate) fn downgrade<const FEWER: u32>(self) -> OwnedTaken<L, FEWER> {
        let fewer = OwnedTaken::keep(self.into_owner());
        fewer.gate().release(N - FEWER);
        fewer
    }

    /// The caller has taken as many more as make `MORE` of them.
    pub(crate) fn with_rest<const MORE: u32>(self) -> OwnedTaken<L, MORE> {
        OwnedTaken::keep(self.into_owner())
    }
}

impl<L: Gated + ?Sized, const N: u32> Drop for OwnedTaken<L, N> {
    #[inline]
    fn drop(&mut self) {
        self.owner.gate().release(N);
    }
}
