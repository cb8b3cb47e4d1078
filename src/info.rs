//! What is known about a lock from outside.

use std::time::{Duration, SystemTime};

/// Who holds a lock, since when, and for how long still.
///
/// Redis locks and the locks of a lock manager know this. A bare [`LocalLock`](crate::LocalLock)
/// records no owner and reads no clock: it pays for nothing that it does not use.
///
/// With the feature `serde` it can be serialised.
///
/// ```
/// # #[cfg(not(loom))] {
/// let unknown = warded::LockInfo::unheld("jobs");
/// assert_eq!(unknown.name, "jobs");
/// assert!(unknown.owner.is_none() && unknown.acquired_at.is_none() && unknown.ttl.is_none());
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LockInfo {
    /// The name of the lock.
    pub name: String,
    /// Who holds it, or `None` if nobody does.
    pub owner: Option<String>,
    /// When it was acquired, by the wall clock of whoever granted it. For people to read; nothing
    /// is decided by it.
    pub acquired_at: Option<SystemTime>,
    /// How much of the lease is left, or `None` for a lock that is held until it is released.
    pub ttl: Option<Duration>,
}

impl LockInfo {
    /// What is known about a lock that nobody holds.
    pub fn unheld(name: impl Into<String>) -> Self {
        Self { name: name.into(), owner: None, acquired_at: None, ttl: None }
    }
}
