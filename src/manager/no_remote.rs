//! In a build without Redis no lock is anywhere but in this process, and the compiler knows: nothing
//! of these types can be made.

use super::backend::{Backend, ManagerError};
use super::owner::LockOwner;
use crate::{LockError, LockInfo, Wait};

/// Options for Redis: none.
#[derive(Debug, Clone, Default)]
pub(super) struct Options;

impl Options {
    pub(super) fn backend(&self) -> Backend {
        Backend::Local
    }

    pub(super) fn build(
        self,
        _owner: Option<&str>,
        _bypass: Option<u16>,
    ) -> Result<Remote, ManagerError> {
        Err(ManagerError::RedisNotBuilt)
    }
}

/// Locks in Redis.
pub(super) enum Remote {}

impl Remote {
    pub(super) fn get(&self, _name: &str) -> Result<RemoteHandle, LockError> {
        match *self {}
    }

    pub(super) fn release_all<'n>(
        &self,
        _names: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<String>, LockError> {
        match *self {}
    }

    pub(super) fn names(&self) -> Vec<String> {
        match *self {}
    }

    pub(super) fn len(&self) -> usize {
        match *self {}
    }

    pub(super) fn info(&self, _name: &str) -> Result<LockInfo, LockError> {
        match *self {}
    }

    pub(super) fn infos(&self) -> Result<Vec<LockInfo>, LockError> {
        match *self {}
    }

    pub(super) fn cleanup(&self) -> Result<super::Swept, LockError> {
        match *self {}
    }

    pub(super) async fn info_async(&self, _name: &str) -> Result<LockInfo, LockError> {
        match *self {}
    }

    pub(super) async fn infos_async(&self) -> Result<Vec<LockInfo>, LockError> {
        match *self {}
    }

    pub(super) async fn cleanup_async(&self) -> Result<super::Swept, LockError> {
        match *self {}
    }
}

/// A handle of a lock in Redis.
#[derive(Clone)]
pub(super) enum RemoteHandle {}

impl RemoteHandle {
    pub(super) fn belong_to(&mut self, _owner: &LockOwner) {
        match *self {}
    }

    pub(super) fn name(&self) -> &str {
        match *self {}
    }

    pub(super) fn takes_one_by_one(&self) -> bool {
        match *self {}
    }

    pub(super) fn enter(&self, _wait: Wait) -> Result<Option<Lease>, LockError> {
        match *self {}
    }

    pub(super) fn enter_patiently(&self) -> Result<Lease, LockError> {
        match *self {}
    }

    pub(super) async fn enter_async(&self) -> Result<Lease, LockError> {
        match *self {}
    }

    pub(super) async fn try_enter_async(&self) -> Result<Option<Lease>, LockError> {
        match *self {}
    }

    pub(super) fn keep(&self, lease: Lease) {
        match lease {}
    }

    pub(super) fn end_acquired(&self) -> Result<bool, LockError> {
        match *self {}
    }

    pub(super) fn is_locked(&self) -> Result<bool, LockError> {
        match *self {}
    }
}

pub(super) fn enter_all(
    _locks: &[&RemoteHandle],
    _wait: Wait,
) -> Result<Option<Vec<Lease>>, LockError> {
    Ok(None)
}

pub(super) async fn enter_all_async(_locks: &[&RemoteHandle]) -> Result<Vec<Lease>, LockError> {
    Ok(Vec::new())
}

pub(super) fn end_all(_leases: Vec<Lease>) -> Result<(), LockError> {
    Ok(())
}

pub(super) async fn end_all_async(_leases: Vec<Lease>) -> Result<(), LockError> {
    Ok(())
}

/// A hold in Redis.
pub(super) enum Lease {}

impl Lease {
    pub(super) fn fence(&self) -> u64 {
        match *self {}
    }

    pub(super) fn is_valid(&self) -> bool {
        match *self {}
    }

    pub(super) fn release(self) -> Result<(), LockError> {
        match self {}
    }

    pub(super) async fn release_async(self) -> Result<(), LockError> {
        match self {}
    }
}
