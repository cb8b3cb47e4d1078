//! Several locks of one source at once: one script takes all of them or none.

use std::collections::BTreeSet;

use super::client::{Answer, Event, Patience, Terms};
use super::driver::slot::Outcome;
use super::error::RedisError;
use super::guard::RedisGuard;
use super::keys::slot;
use super::lock::RedisLock;
use super::source::failure;

/// Takes all locks, of which none may be there twice and which must be of one source, for a guard of
/// each. Cancel-safe.
pub(crate) async fn lock_all(
    locks: &[&RedisLock],
    patience: Patience,
) -> Result<Option<Vec<RedisGuard>>, RedisError> {
    let [first, ..] = locks else { return Ok(Some(Vec::new())) };
    let source = first.source();
    if source.has_slots() {
        one_slot(locks)?;
    }
    let terms = Terms::all(locks.iter().map(|lock| lock.terms().clone()).collect());
    match source.ask(|ask| Event::Lock { ask, terms, patience }).await? {
        Outcome::Granted(grants) => {
            Ok(Some(locks.iter().zip(grants).map(|(lock, grant)| lock.guard(grant)).collect()))
        }
        Outcome::Other(Answer::Busy) => Ok(None),
        other => Err(failure(other)),
    }
}

/// Refuses what a cluster's node would refuse, before anything is sent.
fn one_slot(locks: &[&RedisLock]) -> Result<(), RedisError> {
    let slot = |lock: &&RedisLock| slot(&lock.terms().keys.lock);
    let slots: BTreeSet<u16> = locks.iter().map(slot).collect();
    if slots.len() == 1 {
        return Ok(());
    }
    let names = locks.iter().map(|lock| (lock.name().to_owned(), slot(lock))).collect();
    Err(RedisError::SeveralSlots { names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_several_slots_are_told_apart_without_a_server() {
        let source = crate::RedisSource::from(redis::Client::open("redis://127.0.0.1:1").unwrap());
        let lock = |name: &str| RedisLock::builder(name, source.clone());
        let (foo, bar) = (lock("foo").build().unwrap(), lock("bar").build().unwrap());
        let Err(RedisError::SeveralSlots { names }) = one_slot(&[&foo, &bar]) else { panic!() };
        assert_eq!(names, [("foo".to_owned(), 12_182), ("bar".to_owned(), 5_061)]);
        assert!(one_slot(&[&foo]).is_ok());
        let grouped = |name| lock(name).group("g").build().unwrap();
        assert!(one_slot(&[&grouped("foo"), &grouped("bar")]).is_ok());
    }
}
