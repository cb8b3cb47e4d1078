//! What the guarantees come down to on a given server.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::client::{Answer, Event};
use super::driver::slot::Outcome;
use super::error::RedisError;
use super::lock::RedisLock;
use super::source::{RedisSource, failure};

/// What a server is and what the guarantees of [`RedisLock`] come down to on it. `to_string` says
/// it in words.
///
/// ```no_run
/// # #[cfg(not(loom))] {
/// let source = warded::RedisSource::from(redis::Client::open("redis://127.0.0.1")?);
/// println!("{}", source.preflight()?);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preflight {
    /// "Redis", "Valkey", or what the server calls itself.
    pub kind: String,
    /// Its version.
    pub version: String,
    /// What it does when memory is full, if that may ever be: `maxmemory-policy`.
    pub eviction: Option<String>,
    /// Whether it writes an append-only file.
    pub aof: bool,
    /// How many replicas follow it.
    pub replicas: u32,
    /// How much its clock is ahead of this machine's, in ms. Nothing depends on it but what people
    /// read in [`LockInfo::acquired_at`](crate::LockInfo::acquired_at).
    pub clock_offset_ms: i64,
    /// What is to be known, one sentence each.
    pub notes: Vec<String>,
}

impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.version)?;
        for note in &self.notes {
            write!(f, "\n- {note}")?;
        }
        Ok(())
    }
}

impl RedisSource {
    /// Looks at the server, takes and releases a lock of its own there, and says what the
    /// guarantees come down to.
    ///
    /// # Errors
    /// Why the server cannot be used: it cannot be reached, the user lacks a right, it is a replica,
    /// or it cannot run the scripts.
    pub fn preflight(&self) -> Result<Preflight, RedisError> {
        self.wait(self.preflight_async())
    }

    /// As [`preflight`](Self::preflight). Cancel-safe.
    ///
    /// # Errors
    /// As [`preflight`](Self::preflight).
    pub async fn preflight_async(&self) -> Result<Preflight, RedisError> {
        let name = "warded preflight";
        let trial = RedisLock::builder(name, self.clone()).ttl(Duration::from_secs(1)).build()?;
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut clock_offset_ms = 0;
        // Somebody else's trial may be under way; then it has shown that locks can be taken.
        if let Some(held) = trial.try_lock_async().await? {
            clock_offset_ms = held.fence() as i64 / 1_000 - ours.as_millis() as i64;
            held.release_async().await?;
        }
        let text = match self.ask(|ask| Event::Info { ask }).await? {
            Outcome::Other(Answer::Info(text)) => text,
            other => return Err(failure(other)),
        };
        Ok(read(&text, clock_offset_ms))
    }
}

fn read(text: &str, clock_offset_ms: i64) -> Preflight {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default()
    };
    let (kind, version) = match (field("server_name"), field("valkey_version")) {
        ("valkey", version) => ("Valkey", version),
        ("", _) => ("Redis", field("redis_version")),
        (other, _) => (other, field("redis_version")),
    };
    let eviction = (field("maxmemory") != "0" && !field("maxmemory_policy").is_empty())
        .then(|| field("maxmemory_policy").to_owned());
    let aof = field("aof_enabled") == "1";
    let replicas = field("connected_slaves").parse().unwrap_or(0);
    let mut notes = vec![
        "at most one holder is valid as long as the server loses no data and its clock is not set \
         forward; fencing tokens grow always"
            .to_owned(),
    ];
    match eviction.as_deref() {
        None | Some("noeviction") => {}
        Some(policy) => notes.push(format!(
            "maxmemory-policy is {policy}: a lock may be evicted while it is held, and another \
             holder enter; its holder is told within a third of the ttl. Use noeviction"
        )),
    }
    if aof {
        notes.push(
            "it writes an append-only file: with appendfsync always a restart keeps the locks, with \
             everysec those of the last second may be granted twice"
                .to_owned(),
        );
    } else {
        notes.push(
            "it writes no append-only file: after a restart every lock is free, also those that are \
             held; holders are told when they are connected again"
                .to_owned(),
        );
    }
    if replicas > 0 {
        notes.push(format!(
            "{replicas} replicas follow it: a failover can lose the locks that were not copied yet, \
             and their holders are told when they are connected again"
        ));
    }
    if field("cluster_enabled") == "1" {
        notes.push(
            "it is one node of a cluster, and what is said here is true of this one: while a slot \
             moves to another node, its locks can be neither taken nor released, and a failover can \
             lose those that were not copied yet"
                .to_owned(),
        );
    }
    if clock_offset_ms.abs() > 1_000 {
        notes.push(format!(
            "its clock differs from this machine's by about {clock_offset_ms} ms, which no decision \
             depends on"
        ));
    }
    Preflight {
        kind: kind.to_owned(),
        version: version.to_owned(),
        eviction,
        aof,
        replicas,
        clock_offset_ms,
        notes,
    }
}
