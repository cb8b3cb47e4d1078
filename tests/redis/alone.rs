//! Who finds nothing under way asks the server itself. Others must not suffer from that.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use warded::{FencedKey, RedisLock};

use super::server::{Server, until};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_task_that_asks_again_and_again_gives_way_to_others() {
    gives_way(Duration::ZERO);
}

#[test]
fn so_does_one_that_computes_in_between() {
    gives_way(Duration::from_micros(60));
}

fn gives_way(computing: Duration) {
    let server = Server::start();
    let lock = RedisLock::new("hot", server.source()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (turns, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let longest = runtime.block_on(async {
        let other = tokio::spawn({
            let (turns, done) = (turns.clone(), done.clone());
            async move {
                while !done.load(Ordering::Relaxed) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        });
        let (mut longest, mut since, mut last) = (0, 0, 0);
        for _ in 0..2_000 {
            lock.lock_async().await.unwrap().release_async().await.unwrap();
            let began = Instant::now();
            while began.elapsed() < computing {
                hint::spin_loop();
            }
            let now = turns.load(Ordering::Relaxed);
            since = if now == last { since + 1 } else { 0 };
            (last, longest) = (now, longest.max(since));
        }
        done.store(true, Ordering::Relaxed);
        other.await.unwrap();
        longest
    });
    // After sixteen requests it gives way.
    assert!(longest < 16, "the other task had no turn during {longest} pairs");
}

#[test]
fn a_release_whose_future_is_dropped_after_one_look_happens() {
    let server = Server::start();
    let lock = RedisLock::new("dropped", server.source()).unwrap();
    let elsewhere = RedisLock::new("dropped", server.client()).unwrap();
    // Whatever way the release goes, and whether it gives way to others or not.
    for _ in 0..200 {
        let held = pollster::block_on(lock.lock_async()).unwrap();
        let released = held.release_async().now_or_never();
        assert!(released.is_none_or(|released| released.is_ok()));
    }
    until("it is free", || elsewhere.try_lock().unwrap().is_some());
}

#[test]
fn who_waits_is_served_while_a_task_asks_again_and_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    who_waits_is_served(move |hot| {
        runtime.block_on(async { hot.lock_async().await.unwrap().release_async().await.unwrap() });
    });
}

#[test]
fn who_waits_is_served_while_a_thread_asks_again_and_again() {
    who_waits_is_served(|hot| hot.lock().unwrap().release().unwrap());
}

fn who_waits_is_served(take_and_release: impl Fn(&RedisLock) + Send + 'static) {
    let server = Server::start();
    let source = server.source();
    let hot = RedisLock::new("hot", source.clone()).unwrap();
    let calm = RedisLock::new("calm", source).unwrap();
    // Another source, so that its releases come as messages of the server.
    let elsewhere = RedisLock::new("calm", server.client()).unwrap();
    let (pairs, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let asks = thread::spawn({
        let (pairs, done) = (pairs.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                take_and_release(&hot);
                pairs.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut meanwhile = 0;
    for _ in 0..50 {
        let held = elsewhere.lock().unwrap();
        let waits = thread::spawn({
            let calm = calm.clone();
            // It leaves the driving to others.
            move || drop(pollster::block_on(calm.lock_async()).unwrap())
        });
        thread::sleep(2 * MS);
        let before = pairs.load(Ordering::Relaxed);
        held.release().unwrap();
        waits.join().unwrap();
        meanwhile += pairs.load(Ordering::Relaxed) - before;
    }
    done.store(true, Ordering::Relaxed);
    asks.join().unwrap();
    assert!(meanwhile < 50 * 100, "{meanwhile} pairs were taken in 50 handovers");
}

#[test]
fn a_loss_is_told_while_nobody_asks_anything_more() {
    let server = Server::start();
    let lock = RedisLock::builder("lease", server.source()).ttl(300 * MS).build().unwrap();
    for _ in 0..20 {
        lock.lock().unwrap().release().unwrap();
    }
    let held = lock.lock().unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let tell = told.clone();
    held.on_lost(move |_| tell.store(true, Ordering::Relaxed));
    until("it is told", || told.load(Ordering::Relaxed));
    assert!(!held.is_valid());
}

#[test]
fn connections_that_are_killed_cost_nobody_the_lock() {
    let server = Server::start();
    let source = server.source();
    let lock = RedisLock::new("killed", source.clone()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let kills = thread::spawn({
        let (done, server) = (done.clone(), server.client());
        move || {
            let mut connection = server.get_connection().unwrap();
            while !done.load(Ordering::Relaxed) {
                thread::sleep(20 * MS);
                let skip = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
                redis::cmd("CLIENT").arg(&skip).exec(&mut connection).unwrap();
                redis::cmd("SCRIPT").arg("FLUSH").exec(&mut connection).unwrap();
            }
        }
    });
    let inside = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (lock, inside) = (lock.clone(), inside.clone());
            thread::spawn(move || {
                let mut fence = 0;
                while began.elapsed() < Duration::from_secs(2) {
                    let held = lock.lock().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                    assert!(held.fence() > fence);
                    fence = held.fence();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    held.release().unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    done.store(true, Ordering::Relaxed);
    kills.join().unwrap();
    source.flush().unwrap();
    // Nobody is left in the way.
    lock.try_lock().unwrap().expect("it is free").release().unwrap();
}

#[test]
fn a_value_that_is_long_is_written_all_the_same() {
    let server = Server::start();
    let source = server.source();
    let lock = RedisLock::new("long", source.clone()).unwrap();
    // The source finds that the server is near.
    (0..20).for_each(|_| lock.lock().unwrap().release().unwrap());
    let held = lock.lock().unwrap();
    let key = FencedKey::new("long value", source);
    let value = vec![7; 3_000_000];
    for _ in 0..3 {
        assert!(key.write(held.fence(), value.clone()).unwrap());
        assert_eq!(key.read().unwrap().unwrap().1, value);
    }
}

/// A connection that something on its way forgets while it is idle would cost its next user an
/// `answer_timeout`, and messages would not be missed. That there is a timer for each can be seen only on
/// Linux.
#[cfg(target_os = "linux")]
#[test]
fn all_connections_are_kept_alive() {
    let server = Server::start();
    let lock = RedisLock::new("jobs", server.source()).unwrap();
    until("both are kept alive", || {
        lock.lock().unwrap().release().unwrap();
        kept_alive(server.port()) == 2
    });
    let held = lock.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| lock.lock().unwrap().release().unwrap());
        until("so is that for messages", || kept_alive(server.port()) == 3);
        held.release().unwrap();
    });
}

/// How many connections of this machine to that port have a timer of this kind.
#[cfg(target_os = "linux")]
fn kept_alive(port: u16) -> usize {
    let to = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let has_timer = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Its remote address, its state, which is established, and its timer.
        fields[2].ends_with(&to) && fields[3] == "01" && fields[5].starts_with("02:")
    };
    table.lines().skip(1).filter(has_timer).count()
}
