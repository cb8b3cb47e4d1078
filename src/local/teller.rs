//! What the primitives tell a [`tracing`](https://docs.rs/tracing) subscriber, with the feature of
//! that name: who begins to wait, and how each wait ends. Whoever enters at once tells nothing.
//!
//! A subscriber is user code: it may panic, or come back into the very lock. So nothing is told
//! under QLOCK, and whoever tells that it has entered holds its permits in the way that gives them
//! back if that panics.

#[cfg(not(all(feature = "tracing", not(loom))))]
pub(crate) use absent::Teller;
#[cfg(all(feature = "tracing", not(loom)))]
pub(crate) use present::Teller;

#[cfg(not(all(feature = "tracing", not(loom))))]
mod absent {
    use std::marker::PhantomData;

    use crate::local::gate::Refusal;

    /// Tells nobody, in this build.
    pub(crate) struct Teller<'a>(PhantomData<&'a str>);

    impl<'a> Teller<'a> {
        #[inline(always)]
        pub(crate) const fn of(_name: Option<&'a str>) -> Self {
            Self(PhantomData)
        }

        #[inline(always)]
        pub(crate) fn begins(&self, _need: u32) {}

        #[inline(always)]
        pub(crate) fn has_begun(&self) -> bool {
            false
        }

        #[inline(always)]
        pub(crate) fn enters(&self, _need: u32) {}

        #[inline(always)]
        pub(crate) fn is_refused(&self, _need: u32, _refusal: Refusal) {}

        #[inline(always)]
        pub(crate) fn gives_up(&self, _need: u32) {}

        #[inline(always)]
        pub(crate) fn closes(&self) {}
    }
}

#[cfg(all(feature = "tracing", not(loom)))]
mod present {
    use std::cell::Cell;

    use tracing::{debug, trace};

    use crate::local::gate::Refusal;

    /// Tells of one attempt to enter.
    pub(crate) struct Teller<'a> {
        name: Option<&'a str>,
        /// Whether its wait has begun and not ended.
        begun: Cell<bool>,
    }

    impl<'a> Teller<'a> {
        pub(crate) const fn of(name: Option<&'a str>) -> Self {
            Self { name, begun: Cell::new(false) }
        }

        pub(crate) fn begins(&self, need: u32) {
            if !self.begun.replace(true) {
                trace!(name = self.name, need, "begins to wait");
            }
        }

        pub(crate) fn has_begun(&self) -> bool {
            self.begun.get()
        }

        pub(crate) fn enters(&self, need: u32) {
            if self.begun.replace(false) {
                trace!(name = self.name, need, "has waited and enters");
            }
        }

        pub(crate) fn is_refused(&self, need: u32, refusal: Refusal) {
            if self.begun.replace(false) {
                match refusal {
                    Refusal::Closed => debug!(name = self.name, need, "is dismissed: closed"),
                    Refusal::TooMany { max } => {
                        debug!(name = self.name, need, max, "is dismissed: fewer permits in all");
                    }
                    Refusal::Unavailable => trace!(name = self.name, need, "gives up"),
                }
            }
        }

        pub(crate) fn gives_up(&self, need: u32) {
            self.is_refused(need, Refusal::Unavailable);
        }

        pub(crate) fn closes(&self) {
            debug!(name = self.name, "is closed");
        }
    }
}
