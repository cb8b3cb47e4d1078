//! The libraries that are compared, each behind the same few traits, so that a scenario is written
//! once.

mod async_lock;
mod parking_lot;
mod saa;
mod std;
mod tokio;
mod warded;

use ::std::future::Future;

/// How a primitive is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Make {
    /// The bypass budget, for those who have one and take it.
    pub budget: Option<u16>,
}

/// A lock around a number, on which threads block.
pub trait Lock: Sync {
    /// What the tables call it.
    const NAME: &'static str;

    /// A free one.
    fn make(make: Make) -> Self;

    /// Runs the section while holding the lock.
    fn with<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R;
}

/// A read-write lock around a number, on which threads block.
pub trait ReadWrite: Sync {
    /// What the tables call it.
    const NAME: &'static str;

    /// A free one.
    fn make(make: Make) -> Self;

    /// Runs the section beside other readers.
    fn read<R>(&self, section: impl FnOnce(&u64) -> R) -> R;

    /// Runs the section alone.
    fn write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R;
}

/// A semaphore, on which threads block.
pub trait Semaphore: Sync {
    /// What the tables call it.
    const NAME: &'static str;

    /// One with all permits free.
    fn make(permits: u32, make: Make) -> Self;

    /// Runs the section while holding one permit.
    fn with<R>(&self, section: impl FnOnce() -> R) -> R;
}

/// A lock around a number that tasks await.
pub trait AsyncLock: Send + Sync + 'static {
    /// What the tables call it.
    const NAME: &'static str;

    /// A free one.
    fn make(make: Make) -> Self;

    /// Runs the section while holding the lock.
    fn with<R: Send>(
        &self,
        section: impl FnOnce(&mut u64) -> R + Send,
    ) -> impl Future<Output = R> + Send;
}

/// A read-write lock that tasks await.
pub trait AsyncReadWrite: Send + Sync + 'static {
    /// What the tables call it.
    const NAME: &'static str;

    /// A free one.
    fn make(make: Make) -> Self;

    /// Runs the section beside other readers.
    fn read<R: Send>(
        &self,
        section: impl FnOnce(&u64) -> R + Send,
    ) -> impl Future<Output = R> + Send;

    /// Runs the section alone.
    fn write<R: Send>(
        &self,
        section: impl FnOnce(&mut u64) -> R + Send,
    ) -> impl Future<Output = R> + Send;
}

pub use self::{
    async_lock::{AsyncLockLock, AsyncLockReadWrite, AsyncLockSemaphore},
    parking_lot::{
        ParkingLot12Lock, ParkingLot12ReadWrite, ParkingLotLock, ParkingLotReadWrite, UsyncLock,
        UsyncReadWrite,
    },
    saa::{SaaLock, SaaReadWrite, SaaSemaphore},
    std::{StdLock, StdReadWrite, StdSemaphore},
    tokio::{TokioLock, TokioReadWrite, TokioSemaphore},
    warded::{WardedLock, WardedReadWrite, WardedSemaphore},
};

/// Every rival of one kind, as pairs of its name and a scenario's function for it. Ours is the
/// first.
#[macro_export]
macro_rules! every {
    (Lock, $run:ident) => {
        $crate::every!(@ Lock, $run; WardedLock StdLock ParkingLotLock ParkingLot12Lock UsyncLock
            TokioLock AsyncLockLock SaaLock)
    };
    (ReadWrite, $run:ident) => {
        $crate::every!(@ ReadWrite, $run; WardedReadWrite StdReadWrite ParkingLotReadWrite
            ParkingLot12ReadWrite UsyncReadWrite TokioReadWrite AsyncLockReadWrite SaaReadWrite)
    };
    (Semaphore, $run:ident) => {
        $crate::every!(@ Semaphore, $run; WardedSemaphore StdSemaphore TokioSemaphore
            AsyncLockSemaphore SaaSemaphore)
    };
    (AsyncLock, $run:ident) => {
        $crate::every!(@ AsyncLock, $run; WardedLock TokioLock AsyncLockLock SaaLock)
    };
    (AsyncReadWrite, $run:ident) => {
        $crate::every!(@ AsyncReadWrite, $run; WardedReadWrite TokioReadWrite AsyncLockReadWrite
            SaaReadWrite)
    };
    (@ $kind:ident, $run:ident; $($rival:ident)*) => {
        [$((
            <$crate::rivals::$rival as $crate::rivals::$kind>::NAME,
            $run::<$crate::rivals::$rival> as _,
        )),*]
    };
}
