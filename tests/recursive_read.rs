//! A second read behind a waiting writer is told on standard error, with both places.
#![cfg(all(not(loom), debug_assertions))]

use std::env;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Waker};

use warded::ReadWriteLock;

const CHILD: &str = "WARDED_TEST_SECOND_READ";

/// What a child process of this very test, told to do `what`, prints on standard error.
fn told(what: &str) -> String {
    let output = Command::new(env::current_exe().expect("a test has a program"))
        .args(["--exact", "--nocapture", "child"])
        .env(CHILD, what)
        .output()
        .expect("the test can be started again");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).expect("what is told is text")
}

#[test]
fn child() {
    let Ok(what) = env::var(CHILD) else { return };
    let lock = ReadWriteLock::named("index");
    let first = lock.read();
    let mut writer = pin!(lock.write_async());
    if what != "nobody waits" {
        assert!(writer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    match &*what {
        "recursive" => drop(lock.read_recursive()),
        "first is over" => {
            drop(first);
            drop(lock.try_read());
            return;
        }
        "other thread" => std::thread::scope(|scope| {
            scope.spawn(|| drop(lock.read()));
        }),
        _ => drop(lock.read()),
    }
    drop(first);
}

#[test]
fn a_second_read_behind_a_writer_names_both_places() {
    let told = told("second read");
    assert!(told.contains("\"index\""), "{told}");
    assert_eq!(told.matches("recursive_read.rs:").count(), 2, "{told}");
    assert!(told.contains("read_recursive"), "{told}");
}

#[test]
fn what_cannot_deadlock_is_not_told() {
    for what in ["nobody waits", "recursive", "first is over", "other thread"] {
        assert_eq!(told(what), "", "{what}");
    }
}
