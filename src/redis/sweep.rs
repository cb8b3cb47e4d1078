//! Taking away what is over of all locks of a prefix or a group.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::client::{Answer, Event, Place};
use super::driver::slot::Outcome;
use super::error::RedisError;
use super::keys::{Keys, pattern};
use super::source::{RedisSource, failure};

/// What was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Total {
    pub(crate) locks: usize,
    pub(crate) waiters: usize,
    pub(crate) marks: usize,
}

/// Walks through all keys of the server, or of each server of a cluster, some at a time, and sweeps
/// the locks among them that are of this prefix and group. Cancel-safe: what was swept is.
pub(crate) async fn sweep(
    source: &RedisSource,
    prefix: &str,
    group: Option<&str>,
) -> Result<Total, RedisError> {
    let pattern: Arc<str> = pattern(prefix, group).into();
    let mut total = Total::default();
    let mut next = Some(Place::default());
    while let Some(from) = next {
        let scan = source.ask(|ask| Event::Scan { ask, pattern: pattern.clone(), from });
        let found = match scan.await? {
            Outcome::Other(Answer::Scanned { keys, next: more }) => {
                next = more;
                keys
            }
            other => return Err(failure(other)),
        };
        // A lock and its queue are two keys of one name.
        let found: BTreeSet<Keys> = found.iter().filter_map(|key| Keys::of(prefix, key)).collect();
        let sweeps = found.into_iter().map(|keys| source.ask(|ask| Event::Sweep { ask, keys }));
        for swept in join_all(sweeps).await {
            match swept? {
                Outcome::Other(Answer::Swept(swept)) => {
                    total.locks += usize::from(swept.lock);
                    total.waiters += swept.waiters;
                    total.marks += swept.lanes;
                }
                other => return Err(failure(other)),
            }
        }
    }
    Ok(total)
}
