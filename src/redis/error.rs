//! Why an operation of a lock in Redis failed, told apart so that a program can act on it.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why an operation of a [`RedisLock`](crate::RedisLock) failed.
///
/// That somebody else holds the lock is no error. Where an error has a cause, it is kept:
/// [`source`](Error::source) gives the `redis` crate's error.
///
/// Errors that pass by themselves (a server that restarts, loads its data, fails over or runs a
/// long script) are retried for the source's
/// [`patience`](crate::RedisSourceBuilder::patience) before they are reported.
///
/// ```
/// # #[cfg(not(loom))] {
/// use std::time::Duration;
/// use warded::{RedisError, RedisLock};
///
/// let client = redis::Client::open("redis://127.0.0.1").unwrap();
/// let refused = RedisLock::builder("jobs", client).ttl(Duration::from_millis(1)).build();
/// assert!(matches!(refused, Err(RedisError::Option { option: "ttl", .. })));
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RedisError {
    /// A lock needs a name of at least one character.
    EmptyName,
    /// An option has a value that cannot work.
    Option {
        /// The option's name in the builder.
        option: &'static str,
        /// What is wrong with the value, with the limits.
        why: String,
    },
    /// The text is not one that [`Handover`](crate::Handover) was written as.
    BadHandover,
    /// The thread that talks to Redis could not be started, or it is gone.
    Driver(Arc<io::Error>),

    /// There is no server at the address, it cannot be reached, or the connection broke.
    Unreachable(redis::RedisError),
    /// The server did not answer in time.
    Timeout {
        /// For how long the operation was tried.
        after: Duration,
    },
    /// The server refuses the user name or the password.
    Auth(redis::RedisError),
    /// The user has no right to a command or to a key (NOPERM).
    NoPermission(redis::RedisError),
    /// The key is in use for something else (WRONGTYPE).
    WrongType(redis::RedisError),
    /// The server's memory is full and nothing may be evicted (OOM).
    OutOfMemory(redis::RedisError),
    /// The server is a replica (READONLY).
    ReadOnly(redis::RedisError),
    /// The server is still reading its data from disk (LOADING).
    Loading(redis::RedisError),
    /// The server does not know the script, even after it was sent in full (NOSCRIPT).
    NoScript(redis::RedisError),
    /// The server refuses writes because it cannot save (MISCONF).
    Misconfigured(redis::RedisError),
    /// The server refuses writes because too few replicas follow it (NOREPLICAS).
    NoReplicas(redis::RedisError),
    /// The server is running a script that does not end (BUSY).
    Busy(redis::RedisError),
    /// The cluster does not serve this slot (CLUSTERDOWN).
    ClusterDown(redis::RedisError),
    /// The slot is being moved to another node (TRYAGAIN), or its whereabouts are in dispute.
    Moving(redis::RedisError),
    /// Another node of a cluster serves this slot (MOVED, ASK), and the source knows this one only.
    Elsewhere(redis::RedisError),
    /// The server cannot run the scripts: it replicates them verbatim
    /// (`lua-replicate-commands no`, Redis 6.2 and older).
    VerbatimScripts(redis::RedisError),
    /// The server answered something else that was not expected.
    Server(redis::RedisError),
    /// The server's answer has not the form that the script gives it.
    Garbled {
        /// What the answer was to.
        request: &'static str,
    },

    /// The names lie in several slots of the cluster, and were to be taken at once. Nothing was sent.
    SeveralSlots {
        /// Each name and its slot.
        names: Vec<(String, u16)>,
    },
    /// The server's clock is set again and again, so that no attempt is in time.
    UnsteadyClock,

    /// The lock was lost before this operation.
    Lost {
        /// How.
        loss: Loss,
    },
    /// The release was sent, but no answer came: the lock is released, or it ends with its lease. Or
    /// the answer came to a repeat, so late that the server had forgotten the first sending.
    Unconfirmed(Box<RedisError>),
}

/// How a lock was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// The lease ran out: it was not extended in time, the process was paused for too long, or the
    /// server could not be reached.
    Expired,
    /// Another holder was granted the lock since: the lease ran out, or the lock was deleted, before
    /// that.
    TakenOver,
    /// The lock is gone from the server before its lease ended: deleted, flushed, evicted, or not
    /// yet copied to the replica that is the master now, where an earlier holder may still be known.
    Deleted,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its lease ran out",
            Self::TakenOver => "another holds or held it since",
            Self::Deleted => "it is gone from the server before its lease ended",
        })
    }
}

impl RedisError {
    /// An option's value is refused.
    pub(crate) fn option(option: &'static str, why: impl Into<String>) -> Self {
        Self::Option { option, why: why.into() }
    }

    /// What an error of the `redis` crate means here.
    ///
    /// Redis 6.2 wraps what went wrong inside a script into an ERR of its own, so the code is
    /// looked for in the text, too.
    pub(crate) fn classify(error: redis::RedisError) -> Self {
        use redis::ErrorKind;
        if error.is_io_error() || error.is_connection_dropped() {
            return Self::Unreachable(error);
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => return Self::Auth(error),
            // A reply that breaks off in the middle, or what is no reply at all; and a master that is
            // not one any more while Sentinel looks for the next.
            ErrorKind::Parse | ErrorKind::MasterNameNotFoundBySentinel => {
                return Self::Unreachable(error);
            }
            _ => {}
        }
        let text = format!("{} {}", error.code().unwrap_or_default(), error);
        let says = |code: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == code)
        };
        let variant: fn(redis::RedisError) -> Self = if says("WRONGPASS") || says("NOAUTH") {
            Self::Auth
        } else if says("NOPERM") || text.contains("The user executing the script") {
            Self::NoPermission
        } else if says("WRONGTYPE") || text.contains("wrong kind of value") {
            Self::WrongType
        } else if says("OOM") || text.contains("command not allowed when used memory") {
            Self::OutOfMemory
        } else if says("READONLY") || text.contains("against a read only replica") {
            Self::ReadOnly
        } else if says("LOADING") || says("MASTERDOWN") {
            Self::Loading
        } else if says("NOSCRIPT") {
            Self::NoScript
        } else if says("MISCONF") || text.contains("unable to persist to disk") {
            Self::Misconfigured
        } else if says("NOREPLICAS") || text.contains("Not enough good replicas") {
            Self::NoReplicas
        } else if says("BUSY") {
            Self::Busy
        } else if says("CLUSTERDOWN") {
            Self::ClusterDown
        } else if says("TRYAGAIN") {
            Self::Moving
        } else if says("MOVED") || says("ASK") {
            Self::Elsewhere
        } else if text.contains("Write commands not allowed after non deterministic commands") {
            Self::VerbatimScripts
        } else {
            Self::Server
        };
        variant(error)
    }

    /// Whether it is about the connection, and not about what was asked.
    pub(crate) fn is_about_the_link(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout { .. } | Self::Auth(_))
    }

    /// Whether the server takes no writes now, of which it may recover: by a replica that comes back,
    /// or by an administrator.
    pub(crate) fn refuses_writes(&self) -> bool {
        matches!(self, Self::OutOfMemory(_) | Self::Misconfigured(_) | Self::NoReplicas(_))
    }

    /// Whether trying again may help without anybody doing anything.
    pub(crate) fn passes(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Timeout { .. }
                | Self::ReadOnly(_)
                | Self::Loading(_)
                | Self::Busy(_)
                | Self::ClusterDown(_)
                | Self::Moving(_)
        )
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyName => f.write_str("a lock needs a name of at least one character"),
            Self::Option { option, why } => write!(f, "the option {option} cannot be used: {why}"),
            Self::BadHandover => f.write_str(
                "this is not the text of a handover; pass on what Handover::to_string gave, unchanged",
            ),
            Self::Driver(_) => f.write_str(
                "the thread that talks to Redis is not there; see the cause for why it could not be started",
            ),
            Self::Unreachable(cause) => {
                write!(f, "Redis cannot be reached ({cause}); check that it runs at this address")
            }
            Self::Timeout { after } => write!(
                f,
                "Redis did not answer within {after:?}; check its load and the network, or raise the \
                 source's patience"
            ),
            Self::Auth(cause) => {
                write!(f, "Redis refuses the login ({cause}); check user name and password")
            }
            Self::NoPermission(cause) => write!(
                f,
                "the Redis user lacks a right ({cause}); it needs +@scripting +@hash +@sortedset +@pubsub \
                 +time +pexpire +pttl on the lock's keys, and its channels; preflight also +info, and a \
                 cleanup +scan"
            ),
            Self::WrongType(cause) => write!(
                f,
                "a key of the lock, or of a protected value, holds something else ({cause}); choose \
                 another prefix or name"
            ),
            Self::OutOfMemory(cause) => {
                write!(f, "Redis has no memory left ({cause}); free some, or raise maxmemory")
            }
            Self::ReadOnly(cause) => write!(
                f,
                "this Redis is a replica ({cause}); connect to the master, or through Sentinel"
            ),
            Self::Loading(cause) => {
                write!(f, "Redis is not ready yet ({cause}); try again when it has read its data")
            }
            Self::NoScript(cause) => {
                write!(f, "Redis does not keep scripts ({cause}); is there a proxy in between?")
            }
            Self::Misconfigured(cause) => write!(
                f,
                "Redis refuses writes because it cannot save ({cause}); look at its log and its disk"
            ),
            Self::NoReplicas(cause) => write!(
                f,
                "Redis refuses writes because replicas are missing ({cause}); see min-replicas-to-write"
            ),
            Self::Busy(cause) => {
                write!(f, "Redis is busy with a script that does not end ({cause}); see SCRIPT KILL")
            }
            Self::ClusterDown(cause) => {
                write!(f, "the cluster does not serve this lock ({cause}); see CLUSTER INFO")
            }
            Self::Moving(cause) => {
                write!(f, "the lock's slot is on its way to another node ({cause}); try again")
            }
            Self::Elsewhere(cause) => write!(
                f,
                "another node of the cluster serves this lock ({cause}); make the source of \
                 RedisServer::cluster"
            ),
            Self::VerbatimScripts(cause) => write!(
                f,
                "this Redis copies scripts verbatim to its replicas ({cause}); set \
                 lua-replicate-commands to yes"
            ),
            Self::Server(cause) => write!(f, "Redis answered with an error: {cause}"),
            Self::Garbled { request } => write!(
                f,
                "Redis answered {request} in a form that is not the script's; is there a proxy in \
                 between, or another version of this crate on the same prefix?"
            ),
            Self::SeveralSlots { names } => {
                f.write_str("the names lie in several slots of the cluster (")?;
                for (place, (name, slot)) in names.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{name:?} in {slot}")?;
                }
                f.write_str(
                    "), which one script cannot reach; put them into one group, or have the manager \
                     take them one by one",
                )
            }
            Self::UnsteadyClock => f.write_str(
                "the clock of the Redis server is set again and again; have its time service look at it",
            ),
            Self::Lost { loss } => write!(
                f,
                "the lock was lost: {loss}; what was done under it since may overlap with another holder"
            ),
            Self::Unconfirmed(cause) => write!(
                f,
                "the release is not confirmed ({cause}); the lock is released already or ends with its lease"
            ),
        }
    }
}

impl Error for RedisError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Driver(cause) => Some(cause),
            Self::Unreachable(cause)
            | Self::Auth(cause)
            | Self::NoPermission(cause)
            | Self::WrongType(cause)
            | Self::OutOfMemory(cause)
            | Self::ReadOnly(cause)
            | Self::Loading(cause)
            | Self::NoScript(cause)
            | Self::Misconfigured(cause)
            | Self::NoReplicas(cause)
            | Self::Busy(cause)
            | Self::ClusterDown(cause)
            | Self::Moving(cause)
            | Self::Elsewhere(cause)
            | Self::VerbatimScripts(cause)
            | Self::Server(cause) => Some(cause),
            Self::Unconfirmed(cause) => Some(cause),
            Self::EmptyName
            | Self::Option { .. }
            | Self::BadHandover
            | Self::Timeout { .. }
            | Self::Garbled { .. }
            | Self::SeveralSlots { .. }
            | Self::UnsteadyClock
            | Self::Lost { .. } => None,
        }
    }
}
