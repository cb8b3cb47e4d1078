//! The standard library. It has no semaphore, so the one that everybody writes stands in: a mutex
//! and a condition variable.

use std::sync::{Condvar, Mutex, RwLock};

use super::{Lock, Make, ReadWrite, Semaphore};

const UNPOISONED: &str = "no section panics";

/// [`Mutex`].
pub struct StdLock(Mutex<u64>);

impl Lock for StdLock {
    const NAME: &'static str = "std";

    fn make(_: Make) -> Self {
        Self(Mutex::new(0))
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        section(&mut self.0.lock().expect(UNPOISONED))
    }
}

/// [`RwLock`].
pub struct StdReadWrite(RwLock<u64>);

impl ReadWrite for StdReadWrite {
    const NAME: &'static str = "std";

    fn make(_: Make) -> Self {
        Self(RwLock::new(0))
    }

    #[inline]
    fn read<R>(&self, section: impl FnOnce(&u64) -> R) -> R {
        section(&self.0.read().expect(UNPOISONED))
    }

    #[inline]
    fn write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        section(&mut self.0.write().expect(UNPOISONED))
    }
}

/// A [`Mutex`] around the free permits, and a [`Condvar`].
pub struct StdSemaphore {
    free: Mutex<u32>,
    freed: Condvar,
}

impl Semaphore for StdSemaphore {
    const NAME: &'static str = "std Mutex + Condvar";

    fn make(permits: u32, _: Make) -> Self {
        Self { free: Mutex::new(permits), freed: Condvar::new() }
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        let free = self.free.lock().expect(UNPOISONED);
        *self.freed.wait_while(free, |free| *free == 0).expect(UNPOISONED) -= 1;
        let result = section();
        *self.free.lock().expect(UNPOISONED) += 1;
        self.freed.notify_one();
        result
    }
}
