//! Code that is not ours where the driver meets it: wakers and callbacks that panic or come back,
//! a thread that ends, and a system that has nothing left to give.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use warded::{BaseLock, Loss, RedisGuard, RedisLock};

use super::process::Other;
use super::server::{Server, until};

const MS: Duration = Duration::from_millis(1);
/// So long that a test which waits for it has failed.
const AGES: Duration = Duration::from_secs(20);

/// Panics when it is woken, and tells before.
struct Panics(mpsc::Sender<()>);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.send(()).unwrap();
        panic!("somebody's waker");
    }
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    let server = Server::start();
    let source = server.source();
    let lock = |name: &str| RedisLock::new(name, source.clone()).unwrap();
    let other = lock("other");
    let held = other.lock().unwrap();
    let (tell, told) = mpsc::channel();
    let panics = Waker::from(Arc::new(Panics(tell)));
    let mut cx = Context::from_waker(&panics);
    // At a grant.
    let (holds, waits) = (lock("asked for"), lock("asked for"));
    let in_the_way = holds.lock().unwrap();
    let mut waiting = pin!(waits.lock_async());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    in_the_way.release().unwrap();
    told.recv_timeout(AGES).unwrap();
    assert!(held.is_valid() && other.locked().unwrap());
    // At a loss, along with another who is to be told.
    let short = RedisLock::builder("short", source.clone()).ttl(100 * MS).build().unwrap();
    let short = short.lock().unwrap();
    let mut lost = pin!(short.lost());
    assert!(lost.as_mut().poll(&mut cx).is_pending());
    assert_eq!(pollster::block_on(short.lost()), Loss::Expired);
    told.recv_timeout(AGES).unwrap();
    assert!(held.is_valid() && other.locked().unwrap());
    held.release().unwrap();
}

#[test]
fn a_callback_that_panics_keeps_no_other_from_being_called() {
    let server = Server::start();
    let held = server.builder("jobs").ttl(100 * MS).build().unwrap().lock().unwrap();
    let (tell, told) = mpsc::channel();
    held.on_lost(|_| panic!("somebody's callback"));
    held.on_lost(move |loss| tell.send(loss).unwrap());
    assert_eq!(told.recv_timeout(AGES).unwrap(), Loss::Expired);
}

/// Speaks to the guard's hold when it is dropped.
struct ComesBack(Arc<RedisGuard>, mpsc::Sender<()>);

impl Wake for ComesBack {
    fn wake(self: Arc<Self>) {}
}

impl Drop for ComesBack {
    fn drop(&mut self) {
        self.0.on_lost(|_| {});
        self.1.send(()).unwrap();
    }
}

#[test]
fn a_waker_may_come_back_when_it_is_dropped() {
    let server = Server::start();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let held = Arc::new(server.lock("jobs").lock().unwrap());
        let mut lost = Box::pin(held.lost());
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(ComesBack(held.clone(), tell.clone())));
            assert!(lost.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(lost);
    });
    for _ in 0..2 {
        told.recv_timeout(AGES).unwrap();
    }
}

/// Releases when the thread's locals are dropped.
struct AtTheEnd(RedisGuard, mpsc::Sender<bool>);

struct Local(Option<AtTheEnd>);

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(AtTheEnd(guard, tell)) = self.0.take() {
            tell.send(guard.release().is_ok()).unwrap();
        }
    }
}

#[test]
fn a_guard_may_be_released_by_a_thread_that_ends() {
    thread_local! {
        static LOCAL: RefCell<Local> = const { RefCell::new(Local(None)) };
    }
    let server = Server::start();
    let (tell, told) = mpsc::channel();
    let lock = server.lock("jobs");
    let ending = thread::spawn(move || {
        // The thread's locals are dropped in the reverse order of their first use.
        LOCAL.with(|local| local.borrow_mut().0 = None);
        let guard = lock.lock().unwrap();
        LOCAL.with(|local| local.borrow_mut().0 = Some(AtTheEnd(guard, tell)));
    });
    assert!(told.recv_timeout(AGES).unwrap());
    ending.join().unwrap();
    until("it is free", || server.lock("jobs").try_lock().unwrap().is_some());
}

#[test]
fn a_task_is_told_that_the_driver_cannot_start() {
    let server = Server::start();
    let mut alone = Other::play_without_threads("alone", server.port());
    assert_eq!(alone.hear("alone"), "true");
}

#[test]
fn a_driver_that_could_not_start_is_started_at_the_next_use() {
    let server = Server::start();
    let mut starving = Other::play_with_few_files("starve", server.port());
    assert_eq!(starving.hear("starved"), "true true");
}
