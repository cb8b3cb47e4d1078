//! Ours.

use warded::{LocalLock, LocalSemaphore, ReadWriteLock};

use super::{AsyncLock, AsyncReadWrite, Lock, Make, ReadWrite, Semaphore};

const NAME: &str = "warded";

/// [`LocalLock`].
pub struct WardedLock(LocalLock<u64>);

impl WardedLock {
    fn new(make: Make) -> Self {
        let lock = LocalLock::new(0);
        Self(match make.budget {
            Some(budget) => lock.with_bypass(budget),
            None => lock,
        })
    }
}

impl Lock for WardedLock {
    const NAME: &'static str = NAME;

    fn make(make: Make) -> Self {
        Self::new(make)
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        section(&mut self.0.lock())
    }
}

impl AsyncLock for WardedLock {
    const NAME: &'static str = NAME;

    fn make(make: Make) -> Self {
        Self::new(make)
    }

    async fn with<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        section(&mut *self.0.lock_async().await)
    }
}

/// [`ReadWriteLock`].
pub struct WardedReadWrite(ReadWriteLock<u64>);

impl WardedReadWrite {
    fn new(make: Make) -> Self {
        let lock = ReadWriteLock::new(0);
        Self(match make.budget {
            Some(budget) => lock.with_bypass(budget),
            None => lock,
        })
    }
}

impl ReadWrite for WardedReadWrite {
    const NAME: &'static str = NAME;

    fn make(make: Make) -> Self {
        Self::new(make)
    }

    #[inline]
    fn read<R>(&self, section: impl FnOnce(&u64) -> R) -> R {
        section(&self.0.read())
    }

    #[inline]
    fn write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        section(&mut self.0.write())
    }
}

impl AsyncReadWrite for WardedReadWrite {
    const NAME: &'static str = NAME;

    fn make(make: Make) -> Self {
        Self::new(make)
    }

    async fn read<R: Send>(&self, section: impl FnOnce(&u64) -> R + Send) -> R {
        section(&*self.0.read_async().await)
    }

    async fn write<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        section(&mut *self.0.write_async().await)
    }
}

/// [`LocalSemaphore`].
pub struct WardedSemaphore(LocalSemaphore);

impl Semaphore for WardedSemaphore {
    const NAME: &'static str = NAME;

    fn make(permits: u32, make: Make) -> Self {
        let semaphore = LocalSemaphore::new(permits);
        Self(match make.budget {
            Some(budget) => semaphore.with_bypass(budget),
            None => semaphore,
        })
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        let _permit = self.0.permit().expect("never closed");
        section()
    }
}
