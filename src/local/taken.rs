//! Permits that somebody has taken, given back on drop: what every guard stands on.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;

use super::gate::Gate;

/// A primitive that has a gate.
pub(crate) trait Gated {
    fn gate(&self) -> &Gate;
}

/// `N` permits of a borrowed primitive.
pub(crate) struct Taken<'a, const N: u32> {
    gate: &'a Gate,
}

impl<'a, const N: u32> Taken<'a, N> {
    /// The caller has taken `N` permits of `gate`, and gives them into this one's keeping.
    #[inline]
    pub(crate) fn keep(gate: &'a Gate) -> Self {
        Self { gate }
    }

    pub(crate) fn gate(&self) -> &'a Gate {
        self.gate
    }

    /// The caller keeps the permits.
    pub(crate) fn into_gate(self) -> &'a Gate {
        ManuallyDrop::new(self).gate
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
}

impl<L: Gated + ?Sized, const N: u32> OwnedTaken<L, N> {
    /// The caller has taken `N` permits of `owner`, and gives them into this one's keeping.
    pub(crate) fn keep(owner: Arc<L>) -> Self {
        Self { owner }
    }

    pub(crate) fn gate(&self) -> &Gate {
        self.owner.gate()
    }

    /// The caller keeps the permits.
    fn into_owner(self) -> Arc<L> {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so its only field is moved out once.
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
