//! Whose thread does the work: that of a caller who blocks, or the keeper's.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;
use std::{future::Future, pin::pin};

use warded::RedisLock;

use super::server::{Server, until};

const MS: Duration = Duration::from_millis(1);
/// So long that a test which waits for it has failed.
const AGES: Duration = Duration::from_secs(20);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn who_gives_up_leaves_the_others_to_somebody() {
    let server = Server::start();
    let source = server.source();
    let ours = |name: &str| RedisLock::new(name, source.clone()).unwrap();
    for _ in 0..3 {
        let [first, second, third] =
            ["first", "second", "third"].map(|name| server.lock(name).lock().unwrap());
        thread::scope(|scope| {
            // The first one to wait leads, and ends with its thread.
            let leader = scope.spawn(|| ours("first").try_lock_for(100 * MS).unwrap().is_none());
            until("it waits", || server.look().waiters("first") == 1);
            let blocked = scope.spawn(|| ours("second").lock().unwrap().release());
            let task = scope.spawn(|| {
                pollster::block_on(async {
                    ours("third").lock_async().await.unwrap().release_async().await
                })
            });
            until("they wait", || {
                server.look().waiters("second") + server.look().waiters("third") == 2
            });
            assert!(leader.join().unwrap());
            // Blocked, with nobody but itself or the keeper to wake it.
            second.release().unwrap();
            blocked.join().unwrap().unwrap();
            // A task, with nobody but the keeper.
            third.release().unwrap();
            task.join().unwrap().unwrap();
        });
        first.release().unwrap();
    }
}

/// Panics when it is woken, and tells by which thread.
struct Panics(mpsc::Sender<thread::ThreadId>);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.send(thread::current().id()).unwrap();
        panic!("somebody's waker");
    }
}

#[test]
fn a_waker_that_panics_does_not_harm_who_leads() {
    let server = Server::start();
    let source = server.source();
    let ours = |name: &str| RedisLock::new(name, source.clone()).unwrap();
    let [leads, asks] = ["leads", "asks"].map(|name| server.lock(name).lock().unwrap());
    thread::scope(|scope| {
        let leader = scope.spawn(|| ours("leads").lock().unwrap().release());
        until("it leads", || server.look().waiters("leads") == 1);
        let (tell, told) = mpsc::channel();
        let panics = Waker::from(Arc::new(Panics(tell)));
        let asking = ours("asks");
        let mut asked = pin!(asking.lock_async());
        assert!(asked.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
        until("it waits", || server.look().waiters("asks") == 1);
        asks.release().unwrap();
        assert_eq!(told.recv_timeout(AGES).unwrap(), leader.thread().id());
        leads.release().unwrap();
        leader.join().unwrap().unwrap();
    });
}

#[test]
fn a_drop_releases_though_nobody_waits() {
    let server = Server::start();
    let lock = server.lock("jobs");
    for round in 0..20 {
        // At once, and after everything has gone to sleep.
        let held = lock.lock().unwrap();
        thread::sleep(round % 2 * 30 * MS);
        drop(held);
        until("it is free", || server.look().token("jobs").is_none());
    }
}

#[test]
fn it_may_be_waited_for_in_any_thread_of_a_runtime() {
    let server = Server::start();
    for _ in 0..5 {
        // The last handle goes where a runtime must not be dropped.
        let lock = server.lock("jobs");
        runtime().block_on(async move {
            lock.lock().unwrap().release().unwrap();
            let blocking = lock.clone();
            let released = tokio::task::spawn_blocking(move || blocking.lock().unwrap().release());
            released.await.unwrap().unwrap();
            drop(lock.lock_async().await.unwrap());
        });
        until("it is free", || server.look().token("jobs").is_none());
    }
}

/// Not to be touched by two at once.
struct Alone(Cell<usize>);

// SAFETY: only whoever holds the lock of the test touches it.
unsafe impl Sync for Alone {}

#[test]
fn threads_and_tasks_share_a_source() {
    const TURNS: usize = 40;
    let server = Server::start();
    let lock = server.lock("jobs");
    let alone = Alone(Cell::new(0));
    let alone = &alone;
    let count = move || {
        let before = alone.0.get();
        thread::yield_now();
        alone.0.set(before + 1);
    };
    let dropped = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..4 {
            let (lock, dropped) = (lock.clone(), &dropped);
            scope.spawn(move || {
                for turn in 0..TURNS {
                    let held = lock.lock().unwrap();
                    count();
                    if (turn + number) % 3 == 0 {
                        dropped.fetch_add(1, Ordering::Relaxed);
                        drop(held);
                    } else {
                        held.release().unwrap();
                    }
                }
            });
        }
        let lock = lock.clone();
        scope.spawn(move || {
            let task = |lock: RedisLock| async move {
                for _ in 0..TURNS {
                    let held = lock.lock_async().await.unwrap();
                    count();
                    held.release_async().await.unwrap();
                }
            };
            runtime().block_on(futures::future::join_all((0..4).map(|_| task(lock.clone()))));
        });
    });
    assert_eq!(alone.0.get(), 8 * TURNS);
    lock.source().flush().unwrap();
    assert!(dropped.into_inner() > 0 && server.look().token("jobs").is_none());
}
