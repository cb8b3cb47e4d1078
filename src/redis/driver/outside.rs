//! Code that is not ours, on a thread that others depend on: wakers, and what is to be called at a
//! loss.

use std::mem;
use std::panic::{self, AssertUnwindSafe};

/// Runs it. A panic of it, which the panic hook has reported, goes no further.
pub(super) fn contain(run: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(run)) {
        // Its own drop may panic in turn.
        mem::forget(payload);
    }
}
