//! How long a caller is ready to wait.

use std::time::{Duration, Instant};

use crate::LockError;

/// How long an acquisition may wait: the specification's pair of `blocking` and `timeout` as one
/// value that cannot express nonsense.
///
/// A [`Duration`], an `Option<Duration>` (`None` waits for ever) and an [`Instant`] convert into it.
///
/// ```
/// # #[cfg(not(loom))] {
/// use std::time::Duration;
/// use warded::Wait;
///
/// assert_eq!(Wait::from(Duration::from_secs(1)), Wait::For(Duration::from_secs(1)));
/// assert_eq!(Wait::from(None), Wait::Forever);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Do not wait: take what is free now, or nothing.
    Never,
    /// Wait until it is there.
    Forever,
    /// Give up when this much time has passed. A time beyond the clock's range waits for ever.
    For(Duration),
    /// Give up at this instant. One that has passed already behaves as [`Wait::Never`].
    Until(Instant),
}

impl Wait {
    /// The specification's pair: `blocking` says whether to wait at all, `timeout` for how long
    /// (`None` for ever).
    ///
    /// # Errors
    /// [`LockError::InvalidWait`] for a timeout without blocking, which is a contradiction.
    ///
    /// ```
    /// # #[cfg(not(loom))] {
    /// use std::time::Duration;
    /// use warded::Wait;
    ///
    /// assert_eq!(Wait::new(true, None)?, Wait::Forever);
    /// assert_eq!(Wait::new(false, None)?, Wait::Never);
    /// assert!(Wait::new(false, Some(Duration::ZERO)).is_err());
    /// # }
    /// # Ok::<(), warded::LockError>(())
    /// ```
    pub const fn new(blocking: bool, timeout: Option<Duration>) -> Result<Self, LockError> {
        match (blocking, timeout) {
            (true, None) => Ok(Self::Forever),
            (true, Some(time)) => Ok(Self::For(time)),
            (false, None) => Ok(Self::Never),
            (false, Some(_)) => Err(LockError::InvalidWait),
        }
    }

    /// The same with its end fixed, for several waits that share it and begin now.
    pub(crate) fn begun(self) -> Self {
        match self.begin() {
            Patience::None => Self::Never,
            Patience::Endless => Self::Forever,
            Patience::Until(deadline) => Self::Until(deadline),
        }
    }

    /// Whether there is no time left for another attempt, if the end is [fixed](Self::begun).
    pub(crate) fn is_over(self) -> bool {
        match self.begin() {
            Patience::None => true,
            Patience::Endless => false,
            Patience::Until(deadline) => deadline <= Instant::now(),
        }
    }

    /// What this means to a wait that begins now.
    pub(crate) fn begin(self) -> Patience {
        match self {
            Self::Never => Patience::None,
            Self::Forever => Patience::Endless,
            Self::For(time) => {
                Instant::now().checked_add(time).map_or(Patience::Endless, Patience::Until)
            }
            Self::Until(deadline) => Patience::Until(deadline),
        }
    }
}

/// A [`Wait`] that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    Endless,
    Until(Instant),
}

impl From<Duration> for Wait {
    fn from(time: Duration) -> Self {
        Self::For(time)
    }
}

impl From<Option<Duration>> for Wait {
    fn from(time: Option<Duration>) -> Self {
        time.map_or(Self::Forever, Self::For)
    }
}

impl From<Instant> for Wait {
    fn from(deadline: Instant) -> Self {
        Self::Until(deadline)
    }
}
