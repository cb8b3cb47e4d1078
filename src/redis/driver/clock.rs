//! The lease clock: monotonic, and it also runs while the machine is suspended.
//!
//! A lease goes on while this machine sleeps, so validity must too. `Instant` stops during a
//! suspend on Linux, where CLOCK_BOOTTIME does not. On macOS CLOCK_MONOTONIC goes on, and on
//! Windows `Instant` does, so these are used there. Elsewhere it is `Instant`, whatever that does.

use crate::redis::lease::Moment;

/// Now, on the lease clock.
pub(crate) fn now() -> Moment {
    Moment(read())
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn read() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    #[cfg(target_vendor = "apple")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that lives throughout the call, which writes to it only.
    let done = unsafe { libc::clock_gettime(CLOCK, &raw mut time) };
    // It fails for an unknown clock only. Linux has this one since 2.6.39.
    assert_eq!(done, 0, "the system has no clock that runs during suspend");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn read() -> u64 {
    use std::sync::LazyLock;
    use std::time::Instant;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // One, so that no moment is zero, which stands for "never".
    1 + START.elapsed().as_nanos() as u64
}
