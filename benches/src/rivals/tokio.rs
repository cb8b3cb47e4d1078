//! tokio: its locks awaited, and as threads outside a runtime can use them.

use ::tokio::sync::{Mutex, RwLock, Semaphore as Permits};

use super::{AsyncLock, AsyncReadWrite, Lock, Make, ReadWrite, Semaphore};

const NAME: &str = "tokio";

/// [`Mutex`].
pub struct TokioLock(Mutex<u64>);

impl Lock for TokioLock {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self(Mutex::new(0))
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        section(&mut self.0.blocking_lock())
    }
}

impl AsyncLock for TokioLock {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self(Mutex::new(0))
    }

    async fn with<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        section(&mut *self.0.lock().await)
    }
}

/// [`RwLock`].
pub struct TokioReadWrite(RwLock<u64>);

impl ReadWrite for TokioReadWrite {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self(RwLock::new(0))
    }

    #[inline]
    fn read<R>(&self, section: impl FnOnce(&u64) -> R) -> R {
        section(&self.0.blocking_read())
    }

    #[inline]
    fn write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        section(&mut self.0.blocking_write())
    }
}

impl AsyncReadWrite for TokioReadWrite {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        // The default maximum of readers is above any scenario's.
        Self(RwLock::new(0))
    }

    async fn read<R: Send>(&self, section: impl FnOnce(&u64) -> R + Send) -> R {
        section(&*self.0.read().await)
    }

    async fn write<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        section(&mut *self.0.write().await)
    }
}

/// tokio's `Semaphore`. It has no blocking use of its own.
pub struct TokioSemaphore(Permits);

impl Semaphore for TokioSemaphore {
    const NAME: &'static str = NAME;

    fn make(permits: u32, _: Make) -> Self {
        Self(Permits::new(permits as usize))
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        let _permit = match self.0.try_acquire() {
            Ok(permit) => permit,
            Err(_) => pollster::block_on(self.0.acquire()).expect("never closed"),
        };
        section()
    }
}
