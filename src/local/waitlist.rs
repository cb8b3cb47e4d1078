//! The wait list of a gate: intrusive, doubly linked, in order of arrival.
//!
//! ```text
//!              called: their turn has come          not called yet
//!            ┌──────────────┴──────────────┐   ┌───────────┴───────────┐
//!   head ──▶ [need 1] ⇄ [need 1] ⇄ [need 2] ⇄ [need 5] ⇄ [need 1]
//!               ▲                               ▲            │
//!               └──────── prev of the head ─────┼────────────┘
//!                                       next ───┘
//! ```
//!
//! A node stands on the waiting thread's stack or in the pinned future, and the list belongs to
//! whoever set QLOCK (invariants I1 and I2 of docs/design.md), so all functions here that follow a
//! pointer are unsafe, and their contract is the same: *the caller has QLOCK, and every node in the
//! list is alive.*

use std::marker::PhantomPinned;
use std::sync::atomic::Ordering::Relaxed;
use std::{mem, ptr};

use super::parker::{Batch, WakeHandle};
use crate::sys::{AtomicU8, UnsafeCell};

/// Its wake handle is registered.
pub(crate) const ASLEEP: u8 = 0;
/// Its turn has come: it is to take its permits itself.
pub(crate) const CALLED: u8 = 1;
/// It was called, was overtaken, and its handle is gone: it must register again.
pub(crate) const RECALLED: u8 = 2;
/// It is to leave with an error: the gate is closed, or will never have what it needs.
pub(crate) const DISMISSED: u8 = 3;

/// A node's state as a person reads it.
#[cfg(loom)]
pub(crate) fn describe(state: u64) -> &'static str {
    const NAMES: [&str; 4] = ["ASLEEP", "CALLED", "RECALLED", "DISMISSED"];
    NAMES[state as usize]
}

/// A waiter's place in the list.
pub(crate) struct Node {
    links: UnsafeCell<Links>,
    need: u32,
    /// Changes under QLOCK only. Its owner reads it without: a stale value delays it, since whoever
    /// changes it wakes the owner afterwards.
    state: AtomicU8,
    handle: UnsafeCell<Option<WakeHandle>>,
    _pinned: PhantomPinned,
}

struct Links {
    prev: *const Node,
    next: *const Node,
}

impl Node {
    pub(crate) fn new(need: u32) -> Self {
        Self {
            links: UnsafeCell::new(Links { prev: ptr::null(), next: ptr::null() }),
            need,
            state: AtomicU8::new(ASLEEP),
            handle: UnsafeCell::new(None),
            _pinned: PhantomPinned,
        }
    }

    pub(crate) fn state(&self) -> u8 {
        self.state.load(Relaxed)
    }

    /// Registers what wakes the owner; gives back what was registered before, to be dropped when
    /// QLOCK is free.
    ///
    /// # Safety
    /// The caller has QLOCK.
    pub(crate) unsafe fn fall_asleep(&self, handle: Option<WakeHandle>) -> Option<WakeHandle> {
        self.state.store(ASLEEP, Relaxed);
        // SAFETY: handles are accessed under QLOCK only (I1).
        self.handle.with_mut(|slot| unsafe { mem::replace(&mut *slot, handle) })
    }

    /// # Safety
    /// The caller has QLOCK.
    pub(crate) unsafe fn take_handle(&self) -> Option<WakeHandle> {
        // SAFETY: handles are accessed under QLOCK only (I1).
        self.handle.with_mut(|slot| unsafe { (*slot).take() })
    }

    /// # Safety
    /// The caller has QLOCK.
    unsafe fn prev(&self) -> *const Node {
        // SAFETY: links are accessed under QLOCK only (I1).
        self.links.with(|links| unsafe { (*links).prev })
    }

    /// # Safety
    /// The caller has QLOCK.
    unsafe fn next(&self) -> *const Node {
        // SAFETY: links are accessed under QLOCK only (I1).
        self.links.with(|links| unsafe { (*links).next })
    }

    /// # Safety
    /// The caller has QLOCK.
    unsafe fn set_prev(&self, prev: *const Node) {
        // SAFETY: links are accessed under QLOCK only (I1).
        self.links.with_mut(|links| unsafe { (*links).prev = prev });
    }

    /// # Safety
    /// The caller has QLOCK.
    unsafe fn set_next(&self, next: *const Node) {
        // SAFETY: links are accessed under QLOCK only (I1).
        self.links.with_mut(|links| unsafe { (*links).next = next });
    }
}

/// Where the list begins, and where the called end.
pub(crate) struct Ends {
    /// Its `prev` is the last node.
    head: *const Node,
    /// The first waiter that is not called. Those before it are the called (I3).
    next: *const Node,
}

impl Ends {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null(), next: ptr::null() }
    }
}

/// The list, in the hands of whoever has QLOCK. The gate keeps its two parts apart, and saves the
/// padding.
pub(crate) struct WaitList<'a> {
    pub(crate) ends: &'a mut Ends,
    /// What the called need, in all. The dismissed need nothing.
    pub(crate) called: &'a mut u32,
}

/// What calling left behind.
pub(crate) struct Standing {
    /// Whether anybody is in the list.
    pub(crate) queued: bool,
    /// With how many free permits the next turn comes; none comes if nobody is left to call.
    pub(crate) due: Option<u32>,
}

impl WaitList<'_> {
    /// Links `node` in behind everybody.
    ///
    /// # Safety
    /// The list's contract; `node` is in no list, and stays where it is until it is unlinked (I2).
    pub(crate) unsafe fn push_back(&mut self, node: *const Node) {
        // SAFETY: the contract; the head's `prev` is the last node, so it is alive.
        unsafe {
            (*node).set_next(ptr::null());
            if self.ends.head.is_null() {
                (*node).set_prev(node);
                self.ends.head = node;
            } else {
                let last = (*self.ends.head).prev();
                (*last).set_next(node);
                (*node).set_prev(last);
                (*self.ends.head).set_prev(node);
            }
        }
        if self.ends.next.is_null() {
            self.ends.next = node;
        }
    }

    /// Links `node` in before everybody. Whoever was called is recalled, so that the called stay a
    /// prefix, and those in front of it cannot wait for what its owner holds.
    ///
    /// # Safety
    /// As [`push_back`](Self::push_back).
    pub(crate) unsafe fn push_front(&mut self, node: *const Node) {
        // SAFETY: the contract; the head's `prev` is the last node, so it is alive.
        unsafe {
            self.recall_all();
            (*node).set_next(self.ends.head);
            if self.ends.head.is_null() {
                (*node).set_prev(node);
            } else {
                (*node).set_prev((*self.ends.head).prev());
                (*self.ends.head).set_prev(node);
            }
        }
        self.ends.head = node;
        self.ends.next = node;
    }

    /// Takes `node` out. `true` if it was the head: the next head begins with a budget of its own.
    ///
    /// # Safety
    /// The list's contract; `node` is in this list.
    pub(crate) unsafe fn unlink(&mut self, node: *const Node) -> bool {
        // SAFETY: the contract; the neighbours of a node in the list are in the list.
        unsafe {
            let (prev, next) = ((*node).prev(), (*node).next());
            if (*node).state() == CALLED {
                *self.called -= (*node).need;
            }
            if self.ends.next == node {
                self.ends.next = next;
            }
            let was_head = self.ends.head == node;
            if was_head {
                self.ends.head = next;
            } else {
                (*prev).set_next(next);
            }
            // The last node is the head's `prev`, wherever the gap was.
            let behind = if next.is_null() { self.ends.head } else { next };
            if !behind.is_null() {
                (*behind).set_prev(prev);
            }
            was_head
        }
    }

    /// Calls everybody whose turn has come, while the batch has room: a waiter's turn has come when
    /// the needs of all up to and including it fit into the free permits. Whoever needs more than
    /// there will ever be, and everybody at a closed gate, is dismissed instead.
    ///
    /// # Safety
    /// The list's contract.
    pub(crate) unsafe fn call(
        &mut self,
        free: u32,
        max: u32,
        closed: bool,
        batch: &mut Batch,
    ) -> Standing {
        // SAFETY: the contract; `next` is null or in the list.
        unsafe {
            while !self.ends.next.is_null() && !batch.is_full() {
                let waiter = &*self.ends.next;
                if closed || waiter.need > max {
                    waiter.state.store(DISMISSED, Relaxed);
                } else if *self.called + waiter.need <= free {
                    waiter.state.store(CALLED, Relaxed);
                    *self.called += waiter.need;
                } else {
                    break;
                }
                if let Some(handle) = waiter.take_handle() {
                    batch.push(handle);
                }
                self.ends.next = waiter.next();
            }
            Standing {
                queued: !self.ends.head.is_null(),
                due: (!self.ends.next.is_null()).then(|| *self.called + (*self.ends.next).need),
            }
        }
    }

    /// Recalls the last of the called until what is called fits into the free permits.
    ///
    /// # Safety
    /// The list's contract.
    pub(crate) unsafe fn recall(&mut self, free: u32) {
        while *self.called > free {
            // SAFETY: the contract; more than nothing is called, so somebody stands before `next`.
            unsafe { self.recall_last() };
        }
    }

    /// # Safety
    /// The list's contract.
    unsafe fn recall_all(&mut self) {
        while self.ends.next != self.ends.head {
            // SAFETY: the contract; somebody stands before `next`.
            unsafe { self.recall_last() };
        }
    }

    /// # Safety
    /// The list's contract; somebody stands before `next`.
    unsafe fn recall_last(&mut self) {
        // SAFETY: the contract; the node before the end is the head's `prev`.
        unsafe {
            let behind = if self.ends.next.is_null() { self.ends.head } else { self.ends.next };
            let last = &*(*behind).prev();
            if last.state() == CALLED {
                *self.called -= last.need;
            }
            last.state.store(RECALLED, Relaxed);
            self.ends.next = last;
        }
    }
}
