//! saa. Its lock is exclusive and shared in one, and carries no data, so they stand beside it here.

use std::cell::UnsafeCell;

use ::saa::{Lock as Raw, Semaphore as Permits};

use super::{AsyncLock, AsyncReadWrite, Lock, Make, ReadWrite, Semaphore};

const NAME: &str = "saa";
const SOUND: &str = "the lock is never poisoned";

/// saa's `Lock`, used exclusively.
#[derive(Default)]
pub struct SaaLock(Guarded);

/// saa's `Lock`, used as a read-write lock.
#[derive(Default)]
pub struct SaaReadWrite(Guarded);

#[derive(Default)]
struct Guarded {
    lock: Raw,
    data: UnsafeCell<u64>,
}

// SAFETY: the data are reached under the lock only.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// The caller has the lock, and gives it up here, even if the section panics.
    #[inline]
    fn finish_write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        let _held = Held(|| self.lock.release_lock());
        // SAFETY: the lock is held exclusively.
        section(unsafe { &mut *self.data.get() })
    }

    /// The caller shares the lock, and gives its share up here, even if the section panics.
    #[inline]
    fn finish_read<R>(&self, section: impl FnOnce(&u64) -> R) -> R {
        let _held = Held(|| self.lock.release_share());
        // SAFETY: the lock is held, and not exclusively by anybody.
        section(unsafe { &*self.data.get() })
    }

    #[inline]
    fn write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        assert!(self.lock.lock_sync(), "{SOUND}");
        self.finish_write(section)
    }

    async fn write_async<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        assert!(self.lock.lock_async().await, "{SOUND}");
        self.finish_write(section)
    }
}

/// Releases when it goes.
struct Held<F: Fn() -> bool>(F);

impl<F: Fn() -> bool> Drop for Held<F> {
    #[inline]
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Lock for SaaLock {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self::default()
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        self.0.write(section)
    }
}

impl AsyncLock for SaaLock {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self::default()
    }

    async fn with<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        self.0.write_async(section).await
    }
}

impl ReadWrite for SaaReadWrite {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self::default()
    }

    #[inline]
    fn read<R>(&self, section: impl FnOnce(&u64) -> R) -> R {
        assert!(self.0.lock.share_sync(), "{SOUND}");
        self.0.finish_read(section)
    }

    #[inline]
    fn write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
        self.0.write(section)
    }
}

impl AsyncReadWrite for SaaReadWrite {
    const NAME: &'static str = NAME;

    fn make(_: Make) -> Self {
        Self::default()
    }

    async fn read<R: Send>(&self, section: impl FnOnce(&u64) -> R + Send) -> R {
        assert!(self.0.lock.share_async().await, "{SOUND}");
        self.0.finish_read(section)
    }

    async fn write<R: Send>(&self, section: impl FnOnce(&mut u64) -> R + Send) -> R {
        self.0.write_async(section).await
    }
}

/// saa's `Semaphore`, of at most 63 permits.
pub struct SaaSemaphore(Permits);

impl Semaphore for SaaSemaphore {
    const NAME: &'static str = NAME;

    fn make(permits: u32, _: Make) -> Self {
        Self(Permits::with_permits(permits as usize))
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        self.0.acquire_sync();
        let _held = Held(|| self.0.release());
        section()
    }
}
