//! How many holds `acquire` of the specification's layer has begun, so that `release` ends one of
//! those and never a guard.

use std::sync::atomic::Ordering::Relaxed;

use super::order;
use crate::sys::{AtomicU32, const_unless_loom};

/// A count of holds that belong to no guard. Each has permits of its gate, so it cannot overflow.
pub(crate) struct Holds(AtomicU32);

impl Holds {
    const_unless_loom! {
        pub(crate) const fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// The caller has entered.
    pub(crate) fn begin(&self) {
        self.change(|count| Some(count + 1), order::BEGIN_HOLD.get());
    }

    /// Whether there was a hold to end: then the caller is to give back its permits.
    pub(crate) fn end(&self) -> bool {
        self.change(|count| count.checked_sub(1), order::END_HOLD.get())
    }

    fn change(
        &self,
        change: impl Fn(u32) -> Option<u32>,
        order: std::sync::atomic::Ordering,
    ) -> bool {
        let mut count = self.0.load(Relaxed);
        while let Some(changed) = change(count) {
            match self.0.compare_exchange_weak(count, changed, order, Relaxed) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        false
    }
}
