//! Requests as commands, and answers as the client reads them: the one place that knows in which
//! order the scripts take and give things.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Script, Value};

use super::client::{Attempt, Extension, Place, Reply, Request, Status, Swept, Terms};
use super::error::RedisError;
use super::keys::Keys;

static ACQUIRE: LazyLock<Text> = LazyLock::new(|| {
    Text::new(concat!(include_str!("scripts/_queue.lua"), include_str!("scripts/acquire.lua")))
});
static ACQUIRE_ALL: LazyLock<Text> = LazyLock::new(|| {
    Text::new(concat!(include_str!("scripts/_queue.lua"), include_str!("scripts/acquire_all.lua")))
});
static RELEASE: LazyLock<Text> = LazyLock::new(|| {
    Text::new(concat!(include_str!("scripts/_queue.lua"), include_str!("scripts/release.lua")))
});
static EXTEND: LazyLock<Text> = LazyLock::new(|| Text::new(include_str!("scripts/extend.lua")));
static SWEEP: LazyLock<Text> = LazyLock::new(|| {
    Text::new(concat!(include_str!("scripts/_queue.lua"), include_str!("scripts/sweep.lua")))
});
static STATUS: LazyLock<Text> = LazyLock::new(|| Text::new(include_str!("scripts/status.lua")));
static WRITE: LazyLock<Text> =
    LazyLock::new(|| Text::new(include_str!("scripts/fenced_write.lua")));
static READ: LazyLock<Text> = LazyLock::new(|| Text::new(include_str!("scripts/fenced_read.lua")));

/// How many keys the server looks at for one SCAN: few enough that nobody waits for it.
const SCAN_COUNT: u32 = 250;

/// A script and its digest.
struct Text {
    text: &'static str,
    sha: String,
}

impl Text {
    fn new(text: &'static str) -> Self {
        Self { text, sha: Script::new(text).get_hash().to_owned() }
    }
}

/// How a script is named to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By its digest: the server has seen it before.
    Digest,
    /// In full.
    Text,
}

impl Request {
    /// What it is called in messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Acquire { .. } => "acquire",
            Self::Release { .. } => "release",
            Self::Extend { .. } => "extend",
            Self::Status { .. } => "status",
            Self::Write { .. } => "a fenced write",
            Self::Read { .. } => "a fenced read",
            Self::Info => "INFO",
            Self::Scan { .. } => "SCAN",
            Self::Sweep { .. } => "a sweep",
        }
    }

    /// A key that it is about, if it is about any: they all lie in one slot of a cluster.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Acquire { attempt, .. }
            | Self::Release { attempt }
            | Self::Extend { attempt, .. } => Some(&attempt.terms.keys.lock),
            Self::Status { terms } => Some(&terms.keys.lock),
            Self::Write { key, .. } | Self::Read { key } => Some(key),
            Self::Sweep { keys } => Some(&keys.lock),
            Self::Info | Self::Scan { .. } => None,
        }
    }

    fn script(&self) -> Option<&'static Text> {
        Some(match self {
            Self::Acquire { attempt, .. } if attempt.terms.parts.is_empty() => &ACQUIRE,
            Self::Acquire { .. } => &ACQUIRE_ALL,
            Self::Release { .. } => &RELEASE,
            Self::Extend { .. } => &EXTEND,
            Self::Status { .. } => &STATUS,
            Self::Write { .. } => &WRITE,
            Self::Read { .. } => &READ,
            Self::Sweep { .. } => &SWEEP,
            Self::Info | Self::Scan { .. } => return None,
        })
    }

    /// The command that asks it. Waiters are told on `channel`.
    pub(crate) fn command(&self, form: Form, channel: &str) -> Cmd {
        // As long as most are.
        let mut cmd = Cmd::with_capacity(12, 384);
        match (self.script(), form) {
            (Some(script), Form::Digest) => cmd.arg("EVALSHA").arg(&script.sha),
            (Some(script), Form::Text) => cmd.arg("EVAL").arg(script.text),
            (None, _) => cmd.arg(self.name()),
        };
        match self {
            Self::Acquire { attempt, wait } => {
                let Attempt { terms, token, lane, stamp, .. } = &**attempt;
                let Terms { ttl, grace, owner, bypass, waiter_ttl, .. } = &**terms;
                let (ttl, grace) = (ttl.as_millis(), grace.as_millis());
                let waiter_ttl = if *wait { waiter_ttl.as_millis() } else { 0 };
                let each = terms.each();
                cmd.arg(3 * each.len());
                for Terms { keys, .. } in each.iter().map(|part| &**part) {
                    cmd.arg(&keys.lock).arg(&keys.queue).arg(&keys.waiters);
                }
                cmd.arg(token).arg(lane).arg(stamp);
                cmd.arg((ttl + grace) as u64).arg(format!("{grace} {ttl} {owner}"));
                cmd.arg(format!("{bypass} {waiter_ttl} {channel}"));
            }
            Self::Release { attempt } => {
                let Attempt { terms, token, lane, stamp, taken_over, .. } = &**attempt;
                let keys = &terms.keys;
                cmd.arg(3).arg(&keys.lock).arg(&keys.queue).arg(&keys.waiters);
                cmd.arg(token).arg(lane).arg(stamp);
                if *taken_over {
                    cmd.arg("taken over");
                }
            }
            Self::Extend { attempt, by, seq } => {
                cmd.arg(1).arg(&attempt.terms.keys.lock).arg(&attempt.token);
                match by {
                    Extension::Add(more) => cmd.arg(more.as_millis() as u64).arg("a"),
                    Extension::AtLeast(time) => {
                        cmd.arg((*time + attempt.terms.grace).as_millis() as u64).arg("s")
                    }
                };
                cmd.arg(seq);
            }
            Self::Status { terms } => {
                cmd.arg(2).arg(&terms.keys.lock).arg(&terms.keys.queue);
            }
            Self::Write { key, fence, writer, seq, value } => {
                cmd.arg(1).arg(&**key).arg(fence).arg(writer).arg(seq).arg(&**value);
            }
            Self::Read { key } => {
                cmd.arg(1).arg(&**key);
            }
            Self::Info => {}
            Self::Scan { pattern, from } => {
                cmd.arg(from.cursor).arg("MATCH").arg(&**pattern).arg("COUNT").arg(SCAN_COUNT);
            }
            Self::Sweep { keys: Keys { lock, queue, waiters } } => {
                cmd.arg(3).arg(lock).arg(queue).arg(waiters);
            }
        }
        cmd
    }

    /// What the server's answer to it means.
    pub(crate) fn read(&self, value: &Value) -> Result<Reply, RedisError> {
        self.parse(value).ok_or(RedisError::Garbled { request: self.name() })
    }

    fn parse(&self, value: &Value) -> Option<Reply> {
        if matches!(self, Self::Info) {
            return text(value).map(Reply::Info);
        }
        let Value::Array(items) = value else { return None };
        if let Self::Scan { from, .. } = self {
            let cursor = text(items.first()?)?.parse().ok()?;
            let Value::Array(keys) = items.get(1)? else { return None };
            // A key that is no text is none of ours.
            let keys = keys.iter().filter_map(text).collect();
            let next = (cursor != 0).then_some(Place { cursor, ..*from });
            return Some(Reply::Scanned { keys, next });
        }
        Some(match self {
            Self::Acquire { attempt, .. } => {
                let now = micros(items.get(3)?)?;
                match int(items.first()?)? {
                    1 => {
                        let fences = items[1..2].iter().chain(&items[4..]);
                        let fences: Vec<u64> = fences.map(micros).collect::<Option<_>>()?;
                        if fences.len() != attempt.terms.each().len() {
                            return None;
                        }
                        Reply::Granted { fences, left: millis(items.get(2)?)?, now }
                    }
                    0 => Reply::Busy { left: millis(items.get(2)?)?, now },
                    -1 => Reply::Over { now },
                    _ => return None,
                }
            }
            Self::Release { .. } => {
                let now = micros(items.get(2)?)?;
                match int(items.first()?)? {
                    1 | 2 => Reply::Released { now },
                    3 => Reply::Gone { last: micros(items.get(3)?)?, now },
                    -1 => Reply::Expired { now },
                    _ => return None,
                }
            }
            Self::Extend { .. } => {
                let now = micros(items.get(1)?)?;
                match int(items.first()?)? {
                    -1 => Reply::Expired { now },
                    -2 => Reply::Gone { last: micros(items.get(2)?)?, now },
                    _ => Reply::Extended { left: millis(items.first()?)?, now },
                }
            }
            Self::Status { .. } => Reply::Status(Status {
                now: micros(items.first()?)?,
                fence: micros(items.get(1)?)?,
                left: millis(items.get(2)?)?,
                token: text(items.get(4)?)?,
                info: text(items.get(5)?)?,
            }),
            Self::Write { .. } => {
                let now = micros(items.get(1)?)?;
                match int(items.first()?)? {
                    2 => Reply::Outnumbered { last: micros(items.get(2)?)?, now },
                    code => Reply::Written { written: code == 1, now },
                }
            }
            Self::Read { .. } => {
                let (Value::BulkString(value), now) = (items.get(2)?, micros(items.get(1)?)?)
                else {
                    return None;
                };
                let fence = int(items.first()?)?.try_into().ok();
                Reply::Read { value: fence.map(|fence| (fence, value.clone())), now }
            }
            Self::Sweep { .. } => {
                let count = |at: usize| usize::try_from(int(items.get(at)?)?).ok();
                let (lock, waiters, lanes) = (count(0)? == 1, count(1)?, count(2)?);
                Reply::Swept { swept: Swept { lock, waiters, lanes }, now: micros(items.get(3)?)? }
            }
            Self::Info | Self::Scan { .. } => return None,
        })
    }
}

fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn micros(value: &Value) -> Option<u64> {
    int(value)?.try_into().ok()
}

/// A time that is over counts as none.
fn millis(value: &Value) -> Option<Duration> {
    Some(Duration::from_millis(int(value)?.max(0).unsigned_abs()))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}
