//! What the threads of one execution did, for a person who has to understand why it failed.

use std::cell::RefCell;
use std::panic::Location;

use loom::thread::{self, ThreadId};

/// One thing that one thread did.
#[derive(Clone)]
pub struct Event {
    /// Who did it.
    pub thread: ThreadId,
    /// What it did.
    pub deed: Deed,
}

/// What a thread can do that others may see.
#[derive(Clone)]
pub enum Deed {
    /// A step of the model itself.
    Step(String),
    /// An access to an atomic.
    Access {
        /// Where.
        place: &'static Location<'static>,
        /// What it found.
        found: u64,
        /// What it left there, if it wrote.
        left: Option<u64>,
        /// Whether it is an exchange that failed.
        failed: bool,
    },
    /// It goes to sleep until it is woken.
    Sleep,
    /// It has woken up.
    Awake,
    /// It wakes a thread.
    Wake,
}

// Loom runs all threads of a model on the one that checks it.
thread_local! {
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

/// Forgets what was logged: another execution begins.
pub fn begin() {
    EVENTS.with_borrow_mut(Vec::clear);
}

/// Logs a step of a model.
pub fn step(text: &str) {
    add(Deed::Step(text.to_owned()));
}

/// What the execution has done so far.
pub fn events() -> Vec<Event> {
    EVENTS.with_borrow(Clone::clone)
}

pub(super) fn add(deed: Deed) {
    let event = Event { thread: thread::current().id(), deed };
    EVENTS.with_borrow_mut(|events| events.push(event));
}

#[track_caller]
pub(super) fn access(found: u64, left: Option<u64>) {
    add(Deed::Access { place: Location::caller(), found, left, failed: false });
}

#[track_caller]
pub(super) fn failed_exchange(found: u64) {
    add(Deed::Access { place: Location::caller(), found, left: None, failed: true });
}
