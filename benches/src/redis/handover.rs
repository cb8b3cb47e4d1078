//! The way from a release to the next holder.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use redlock::RedLock;
use rslock::LockManager;
use tokio::runtime::Runtime;
use warded::RedisLock;

use super::pairs::TTL;
use super::server::{client, reset, stat, url};
use crate::figures::Median;
use crate::rows::Rival;

/// Long enough for a waiter to have come to rest.
const REST: Duration = Duration::from_millis(5);

/// Takes a lock, and gives what releases it.
type Take = Box<dyn Fn() -> Box<dyn FnOnce()> + Send>;

/// From a release to the waiter's having the lock, each side with a connection of its own: the
/// median of so many. Beside it a round trip on a connection that is in use, and on one that has
/// rested as long as the waiter has.
pub fn times(port: u16, handovers: usize) -> Vec<Rival<f64>> {
    let trip = |rest: Duration| {
        let connection = RefCell::new(client(port).get_connection().expect("the server runs"));
        move || {
            thread::sleep(rest);
            let began = Instant::now();
            let ping = redis::cmd("PING").exec(&mut *connection.borrow_mut());
            ping.expect("the server runs");
            began.elapsed()
        }
    };
    // Those who only ask again and again take so long that a few will do. distributed-lock-redis
    // does not wait.
    let few = handovers.div_ceil(5);
    vec![
        rival("warded", handovers, handover([warded(port), warded(port)])),
        rival("bare round trip", 10 * handovers, trip(Duration::ZERO)),
        rival("bare round trip, rested", handovers, trip(REST)),
        rival("rslock", few, handover([rslock(port), rslock(port)])),
        rival("redlock", few, handover([redlock(port), redlock(port)])),
    ]
}

fn handover([ours, theirs]: [Take; 2]) -> impl Fn() -> Duration {
    let (ask, asked) = mpsc::channel();
    let (enter, entered) = mpsc::channel();
    thread::spawn(move || {
        while asked.recv().is_ok() {
            let release = theirs();
            enter.send(Instant::now()).expect("somebody wants to know");
            release();
        }
    });
    move || {
        let release = ours();
        ask.send(()).expect("the waiter is there");
        thread::sleep(REST);
        let began = Instant::now();
        release();
        entered.recv().expect("the waiter is there") - began
    }
}

fn warded(port: u16) -> Take {
    let lock = RedisLock::new("handover", client(port)).expect("the name is one");
    Box::new(move || {
        let held = lock.lock().expect("its turn comes");
        Box::new(|| held.release().expect("it was held"))
    })
}

fn rslock(port: u16) -> Take {
    let runtime = runtime();
    let manager = LockManager::new(vec![url(port)]);
    Box::new(move || {
        let held = runtime.block_on(manager.acquire("rslock handover", TTL));
        let (held, runtime) = (held.expect("its turn comes"), runtime.clone());
        Box::new(move || runtime.block_on(held.release()))
    })
}

fn redlock(port: u16) -> Take {
    // Its guards borrow it.
    let manager: &'static RedLock = Box::leak(Box::new(RedLock::new(vec![url(port)])));
    Box::new(move || {
        let held = manager.acquire(b"redlock handover", TTL.as_millis() as usize);
        let held = held.expect("its turn comes");
        Box::new(|| drop(held))
    })
}

fn runtime() -> Arc<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Arc::new(runtime.expect("a runtime can be made"))
}

fn rival(name: &str, times: usize, run: impl Fn() -> Duration + 'static) -> Rival<f64> {
    let run = move || Median::of((0..times).map(|_| run().as_nanos() as f64)).value;
    Rival { name: name.to_owned(), run: Box::new(run) }
}

/// How many commands a handover takes, by how many wait in one process.
pub fn commands(port: u16) -> Vec<Rival<f64>> {
    let runtime = runtime();
    let connection = client(port).get_connection().expect("the server runs");
    let connection = Rc::new(RefCell::new(connection));
    let lock = RedisLock::new("commands", client(port)).expect("the name is one");
    let rival = |waiters: u32| {
        let (runtime, connection, lock) = (runtime.clone(), connection.clone(), lock.clone());
        let run = move || {
            let connection = &mut *connection.borrow_mut();
            let handovers = async {
                let held = lock.lock_async().await.expect("it is free");
                let tasks: Vec<_> =
                    (0..waiters).map(|_| tokio::spawn(turn(lock.clone()))).collect();
                tokio::time::sleep(REST).await;
                reset(connection);
                held.release_async().await.expect("it was held");
                for task in tasks {
                    task.await.expect("no task has failed");
                }
            };
            runtime.block_on(handovers);
            stat(connection, "evalsha", "calls") / f64::from(waiters)
        };
        Rival { name: format!("{waiters} waiters"), run: Box::new(run) }
    };
    [2, 10, 100, 1_000].map(rival).into()
}

async fn turn(lock: RedisLock) {
    let held = lock.lock_async().await.expect("its turn comes");
    held.release_async().await.expect("it was held");
}
