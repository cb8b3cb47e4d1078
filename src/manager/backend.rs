//! Where the locks of a manager are.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// Where the locks of a manager are, as a configuration would say it: `local` or `redis`.
///
/// ```
/// # #[cfg(not(loom))] {
/// use warded::Backend;
///
/// assert_eq!("local".parse(), Ok(Backend::Local));
/// assert_eq!(Backend::Redis.to_string(), "redis");
/// let error = "etcd".parse::<Backend>().unwrap_err();
/// assert_eq!(error.to_string(), r#""etcd" is no backend for locks; choose "local" or "redis""#);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backend {
    /// In this process.
    #[default]
    Local,
    /// In a Redis server, for all processes that use it.
    Redis,
}

impl Backend {
    const ALL: [Self; 2] = [Self::Local, Self::Redis];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Redis => "redis",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        let known = Self::ALL.into_iter().find(|backend| backend.as_str() == text);
        known.ok_or_else(|| UnknownBackend { text: text.to_owned() })
    }
}

/// The text names no [`Backend`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownBackend {
    /// The text.
    pub text: String,
}

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = Backend::ALL.map(Backend::as_str);
        write!(f, "{:?} is no backend for locks; choose {first:?} or {second:?}", self.text)
    }
}

impl Error for UnknownBackend {}

/// Why a [`LockManager`](crate::LockManager) could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManagerError {
    /// This build of warded knows no Redis: its feature `redis` is off.
    RedisNotBuilt,
    /// The backend is Redis, and there is no client for it.
    NoClient,
    /// An option has a value that cannot work.
    Option {
        /// The option's name in the builder.
        option: &'static str,
        /// What is wrong with the value, with the limits.
        why: String,
    },
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RedisNotBuilt => f.write_str(
                "this build of warded has no Redis; switch its feature \"redis\" on, or choose the \
                 backend \"local\"",
            ),
            Self::NoClient => f.write_str(
                "the backend \"redis\" needs a client: give one to LockManager::redis, or to the \
                 builder's redis; or choose the backend \"local\"",
            ),
            Self::Option { option, why } => write!(f, "the option {option} cannot be used: {why}"),
        }
    }
}

impl Error for ManagerError {}
