//! One name in use: its gate, and who holds it.

use std::sync::atomic::AtomicU64 as Clock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::order;
use super::owner::Holder;
use super::table::{Links, Shard};
use crate::local::{Gate, Request};
use crate::sys::{self, AtomicU64, Tracked, UnsafeCell};

/// The only permit.
const PERMIT: u32 = 1;
pub(super) const LOCK: Request = Request::of_all(PERMIT);

/// What a name stands for while it is in use.
pub(super) struct Entry {
    pub(super) gate: Gate,
    /// Who holds the gate; nobody while it is free, and for an instant after somebody has entered.
    holder: AtomicU64,
    /// When that one entered, in nanoseconds of the wall clock. For people to read: nothing is
    /// decided by it, so it is none of the atomics that loom follows.
    since: Clock,
    /// The shard that the name belongs to, which lives as long as the entry (M4).
    pub(super) shard: *const Shard,
    /// Constant while somebody counts the entry (M2).
    key: UnsafeCell<Key>,
    /// Accessed under the shard's latch only (M1).
    pub(super) links: UnsafeCell<Links>,
    _tracked: Tracked,
}

/// What an entry is found by, and sorted by where several are taken.
pub(super) struct Key {
    pub(super) hash: u64,
    pub(super) name: String,
}

impl Entry {
    pub(super) fn new(budget: u16, shard: *const Shard) -> Self {
        Self {
            gate: Gate::new(PERMIT, budget),
            holder: AtomicU64::new(Holder::NOBODY.0),
            since: Clock::new(0),
            shard,
            key: UnsafeCell::new(Key { hash: 0, name: String::new() }),
            links: UnsafeCell::new(Links::new()),
            _tracked: Tracked::new(),
        }
    }

    /// # Safety
    /// The caller counts the entry, or has the shard's latch.
    #[inline]
    pub(super) unsafe fn key(&self) -> &Key {
        // SAFETY: the contract; nobody changes the key then (M2).
        self.key.with(|key| unsafe { &*key })
    }

    /// # Safety
    /// Nobody but the caller knows the entry.
    #[inline]
    pub(super) unsafe fn change_key<R>(&self, change: impl FnOnce(&mut Key) -> R) -> R {
        // SAFETY: the contract.
        self.key.with_mut(|key| change(unsafe { &mut *key }))
    }

    /// The caller has entered the gate.
    #[inline]
    pub(super) fn record(&self, holder: Holder) {
        self.since.store(sys::wall_clock(), Relaxed);
        self.holder.store(holder.0, order::RECORD.get());
    }

    /// The caller, who holds the gate as `holder`, gives the hold up to whoever calls
    /// [`end_acquired`](Self::end_acquired) first. Until here nobody else changes the record.
    pub(super) fn record_acquired(&self, holder: Holder) {
        self.holder.store(holder.acquiring().0, order::RECORD.get());
    }

    /// Ends a hold that somebody owns: a guard, or a call that wants more locks than it has yet.
    #[inline]
    pub(super) fn leave(&self) {
        // Before the permit: the next holder records itself after it has entered.
        self.holder.store(Holder::NOBODY.0, Relaxed);
        self.gate.release(PERMIT);
    }

    /// Ends a hold that belongs to no guard. `false` if there is none.
    pub(super) fn end_acquired(&self) -> bool {
        let mut holder = self.holder.load(Relaxed);
        while Holder(holder).has_acquired() {
            let order = order::END_ACQUIRED.get();
            match self.holder.compare_exchange_weak(holder, Holder::NOBODY.0, order, Relaxed) {
                Ok(_) => {
                    self.gate.release(PERMIT);
                    return true;
                }
                Err(now) => holder = now,
            }
        }
        false
    }

    /// Who holds the gate, if that is on record.
    pub(super) fn holder(&self) -> Option<Holder> {
        let holder = Holder(self.holder.load(order::WHO_HOLDS.get()));
        (holder != Holder::NOBODY).then_some(holder)
    }

    /// Who holds the gate, and since when.
    pub(super) fn hold(&self) -> Option<(Holder, SystemTime)> {
        loop {
            let holder = self.holder()?;
            let since = self.since.load(Relaxed);
            // Another holder's time may have been read else.
            if self.holder() == Some(holder) {
                return Some((holder, SystemTime::UNIX_EPOCH + Duration::from_nanos(since)));
            }
        }
    }
}
