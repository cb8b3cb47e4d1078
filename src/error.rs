//! Every error of the in-process primitives and of the specification's traits.

use std::error::Error;
use std::fmt;

use crate::Deadlock;

/// Why an operation of [`BaseLock`](crate::BaseLock), [`BaseSemaphore`](crate::BaseSemaphore) or
/// [`BaseReadWriteLock`](crate::BaseReadWriteLock) failed.
///
/// A lock that is merely held by somebody else is no error: `acquire` answers `false` then.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// `release` without an `acquire` that it could end. A guard is ended by dropping it.
    NotHeld {
        /// The name of the lock, if it has one.
        name: Option<String>,
    },
    /// The semaphore is closed: it gives out no permit any more.
    Closed {
        /// The name of the semaphore, if it has one.
        name: Option<String>,
    },
    /// The semaphore has no permits in all, free or taken, so waiting would have no end.
    NoPermits {
        /// The name of the semaphore, if it has one.
        name: Option<String>,
    },
    /// A timeout was given to an acquisition that must not block.
    InvalidWait,
    /// A lock of a manager needs a name of at least one character.
    EmptyName,
    /// Some of these names were not held through `acquire` or `acquire_all`. The others are
    /// released.
    NotAllHeld {
        /// Those that were not.
        names: Vec<String>,
    },
    /// Waiting would have had no end.
    Deadlock(Deadlock),
    /// What a lock in Redis could not do.
    #[cfg(all(feature = "redis", not(loom)))]
    Redis(crate::RedisError),
}

/// `lock "jobs"`, or `this lock` where there is no name.
fn named(what: &str, name: Option<&str>) -> String {
    name.map_or_else(|| format!("this {what}"), |name| format!("{what} {name:?}"))
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHeld { name } => write!(
                f,
                "{} is not held through `acquire`, so there is nothing to release; \
                 a guard is ended by dropping it",
                named("lock", name.as_deref())
            ),
            Self::Closed { name } => {
                write!(f, "{} is closed: it gives out no permits", named("semaphore", name.as_deref()))
            }
            Self::NoPermits { name } => write!(
                f,
                "{} has no permits in all, free or taken; add some with add_permits",
                named("semaphore", name.as_deref())
            ),
            Self::InvalidWait => f.write_str(
                "a timeout needs blocking = true; use Wait::Never for an attempt that does not wait",
            ),
            Self::EmptyName => f.write_str("a lock needs a name of at least one character"),
            Self::NotAllHeld { names } => write!(
                f,
                "{names:?} are not held through `acquire` or `acquire_all`, so there is nothing to \
                 release; all other names of the call are released"
            ),
            Self::Deadlock(deadlock) => deadlock.fmt(f),
            #[cfg(all(feature = "redis", not(loom)))]
            Self::Redis(error) => error.fmt(f),
        }
    }
}

impl Error for LockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Its message is this one's, so the next in the chain is its cause.
            #[cfg(all(feature = "redis", not(loom)))]
            Self::Redis(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(all(feature = "redis", not(loom)))]
impl From<crate::RedisError> for LockError {
    fn from(error: crate::RedisError) -> Self {
        Self::Redis(error)
    }
}

/// Why permits of a [`LocalSemaphore`](crate::LocalSemaphore) were not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermitError {
    /// The permits were not free: at once, or until the time was over. Never the outcome of a wait
    /// without a deadline.
    Unavailable,
    /// The semaphore was closed, before or during the wait.
    Closed,
    /// More permits were asked for than the semaphore can ever give, so waiting would have no end.
    TooMany {
        /// How many were asked for.
        asked: u32,
        /// How many there are in all, free or taken.
        max: u32,
    },
}

impl fmt::Display for PermitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => f.write_str("the permits are not free"),
            Self::Closed => f.write_str("the semaphore is closed: it gives out no permits"),
            Self::TooMany { asked, max } => write!(
                f,
                "{asked} permits were asked for, but the semaphore has {max} in all; \
                 ask for fewer, or add some with add_permits"
            ),
        }
    }
}

impl Error for PermitError {}

/// A semaphore would have more than [`MAX_PERMITS`](crate::LocalSemaphore::MAX_PERMITS) permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermitOverflow {
    /// How many permits there are, free or taken.
    pub max: u32,
    /// How many were to be added.
    pub added: u32,
}

impl fmt::Display for PermitOverflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max, added } = self;
        let most = crate::LocalSemaphore::MAX_PERMITS;
        write!(f, "{max} permits and {added} more exceed the most a semaphore can have, {most}")
    }
}

impl Error for PermitOverflow {}
