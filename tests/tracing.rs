//! What a `tracing` subscriber is told, and that it may do as it likes.
#![cfg(not(loom))]

mod hand;

use std::cell::Cell;
use std::fmt::{Debug, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, subscriber};
use warded::{LocalLock, LocalSemaphore, PermitError, ReadWriteLock};

use crate::hand::Task;

/// Keeps each event as a line, and then does something.
struct Listener<Then> {
    lines: Arc<Mutex<Vec<String>>>,
    then: Then,
}

impl<Then: Fn(&str) + Send + Sync + 'static> Subscriber for Listener<Then> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if field.name() == "message" {
                    self.0.insert_str(0, &format!("{value:?}"));
                } else {
                    write!(self.0, " {}={value:?}", field.name()).unwrap();
                }
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0.clone());
        (self.then)(&line.0);
    }
}

/// What is told while `work` runs in this thread.
fn told(then: impl Fn(&str) + Send + Sync + 'static, work: impl FnOnce()) -> Vec<String> {
    let lines = Arc::default();
    let listener = Listener { lines: Arc::clone(&lines), then };
    subscriber::with_default(listener, work);
    let lines = lines.lock().unwrap();
    lines.clone()
}

fn quietly(_: &str) {}

#[test]
fn whoever_enters_at_once_tells_nothing() {
    let lines = told(quietly, || {
        let lock = LocalLock::named("jobs");
        drop(lock.lock());
        drop(pollster::block_on(lock.lock_async()));
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        let index = ReadWriteLock::new(());
        drop((index.read(), index.upgradable()));
        drop(LocalSemaphore::new(3).permits(2).unwrap());
    });
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn a_wait_begins_and_ends() {
    let lines = told(quietly, || {
        let lock = LocalLock::named("jobs");
        let guard = lock.lock();
        let mut task = Task::waiting(lock.lock_async());
        assert!(task.poll().is_none());
        drop(guard);
        drop(task.poll().expect("called"));
    });
    let expected =
        [r#"begins to wait name="jobs" need=1"#, r#"has waited and enters name="jobs" need=1"#];
    assert_eq!(lines, expected);
}

#[test]
fn giving_up() {
    let lines = told(quietly, || {
        let lock = LocalLock::named("jobs");
        let _guard = lock.lock();
        assert!(lock.try_lock_for(Duration::from_millis(1)).is_none());
        drop(Task::waiting(lock.lock_async()));
    });
    let pair = [r#"begins to wait name="jobs" need=1"#, r#"gives up name="jobs" need=1"#];
    assert_eq!(lines, [pair, pair].concat());
}

#[test]
fn dismissals() {
    let lines = told(quietly, || {
        let semaphore = LocalSemaphore::new(3).with_bypass(0);
        let permit = semaphore.permit().unwrap();
        let mut all = Task::waiting(semaphore.permits_async(3));
        let mut two = Task::waiting(semaphore.permits_async(2));
        drop(two.poll());
        assert_eq!(semaphore.forget_permits(1), 1);
        let too_many = PermitError::TooMany { asked: 3, max: 2 };
        assert_eq!(all.poll().unwrap().err(), Some(too_many));
        semaphore.close();
        assert_eq!(two.poll().unwrap().err(), Some(PermitError::Closed));
        drop(permit);
    });
    assert_eq!(
        lines,
        [
            "begins to wait need=3",
            "begins to wait need=2",
            "is dismissed: fewer permits in all need=3 max=2",
            "is closed",
            "is dismissed: closed need=2",
        ]
    );
}

/// A subscriber that comes back into the lock that it is told of, at every event.
#[test]
fn a_subscriber_that_uses_the_lock() {
    thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
    let semaphore = Arc::new(LocalSemaphore::new(2).with_bypass(0));
    let again = Arc::clone(&semaphore);
    let lines = told(
        move |_| {
            if !INSIDE.replace(true) {
                drop(again.try_permit());
                drop(Task::new(again.permit_async()).poll());
                assert_eq!(again.total_permits(), 2);
                INSIDE.set(false);
            }
        },
        || {
            let one = semaphore.permit().unwrap();
            let mut two = Task::waiting(semaphore.permits_async(2));
            drop(Task::waiting(semaphore.permits_async(2)));
            drop(one);
            drop(two.poll().expect("called").unwrap());
        },
    );
    assert!(lines.iter().any(|line| line.starts_with("has waited")), "{lines:?}");
    assert_eq!(semaphore.available_permits(), 2);
}

/// A subscriber that panics, at each kind of event: no permit is lost, and nobody stays in the queue.
#[test]
fn a_subscriber_that_panics() {
    for at in ["begins", "has waited", "gives up"] {
        let semaphore = LocalSemaphore::new(2).with_bypass(0);
        let lines = told(
            move |line| assert!(!line.starts_with(at), "the subscriber's panic"),
            || {
                let one = semaphore.permit().unwrap();
                let result = catch_unwind(AssertUnwindSafe(|| {
                    drop(Task::waiting(semaphore.permits_async(2)));
                    let mut task = Task::waiting(semaphore.permits_async(2));
                    drop(one);
                    drop(task.poll());
                }));
                assert!(result.is_err(), "{at}: it was never told");
            },
        );
        assert!(lines.last().is_some_and(|line| !line.is_empty()));
        assert_eq!(semaphore.available_permits(), 2, "{at}: a permit is lost");
        drop(semaphore.try_permits(2).expect("the queue is empty"));
    }
}
