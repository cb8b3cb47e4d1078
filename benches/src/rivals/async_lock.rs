//! async-lock: awaited, and blocking.

use ::async_lock::{Mutex, RwLock, Semaphore as Permits};

use super::{AsyncLock, AsyncReadWrite, Lock, Make, ReadWrite, Semaphore};

const NAME: &str = "async-lock";

/// [`Mutex`].
pub struct AsyncLockLock(Mutex<u64>);

impl Lock for AsyncLockLock {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self(Mutex::new(0))
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        section(&mut self.0.lock_blocking())
    }
}

impl AsyncLock for AsyncLockLock {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self(Mutex::new(0))
    }

    async fn with<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        section(&mut *self.0.lock().await)
    }
}

/// [`RwLock`].
pub struct AsyncLockReadWrite(RwLock<u64>);

impl ReadWrite for AsyncLockReadWrite {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self(RwLock::new(0))
    }

    #[inline]
    fn read<R>(&self, section: impl FnOnce(&u64) -> R) -> R {
        section(&self.0.read_blocking())
    }

    #[inline]
    fn write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        section(&mut self.0.write_blocking())
    }
}

impl AsyncReadWrite for AsyncLockReadWrite {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self(RwLock::new(0))
    }

    async fn read<R: Send>(&self, section: impl FnOnce(&u64) -> R + Send) -> R {
        section(&*self.0.read().await)
    }

    async fn write<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        section(&mut *self.0.write().await)
    }
}

/// async-lock's `Semaphore`.
pub struct AsyncLockSemaphore(Permits);

impl Semaphore for AsyncLockSemaphore {
    const NAME: &'static str = NAME;

    fn make(permits: u32, _: Make) -> Self {
        Self(Permits::new(permits as usize))
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        let _permit = self.0.acquire_blocking();
        section()
    }
}
