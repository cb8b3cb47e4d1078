//! Waiters: how they are woken, in which order, and at what cost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use warded::RedisLock;

use super::proxy::Proxy;
use super::server::{Server, lock_key, until};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_waiter_is_woken_by_the_release_long_before_it_would_ask_again() {
    let server = Server::start();
    let slow = |lock: warded::RedisLockBuilder| lock.retry_delay(Duration::from_secs(1));
    let (ours, theirs) = (server.builder("jobs"), server.builder("jobs"));
    let (ours, theirs) = (slow(ours).build().unwrap(), slow(theirs).build().unwrap());
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let held = ours.lock().unwrap();
        let waiter = thread::spawn({
            let theirs = theirs.clone();
            move || {
                let held = theirs.lock().unwrap();
                (Instant::now(), held)
            }
        });
        until("it waits", || server.look().waiters("jobs") == 1);
        thread::sleep(20 * MS);
        let released = Instant::now();
        drop(held);
        let (entered, held) = waiter.join().unwrap();
        slowest = slowest.max(entered - released);
        held.release().unwrap();
    }
    assert!(slowest < 100 * MS, "{slowest:?}");
}

#[test]
fn waiters_that_only_poll_get_in_too() {
    let server = Server::start();
    let polling = server.builder("jobs").polling().retry_delay(20 * MS).build().unwrap();
    let held = server.lock("jobs").lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| polling.lock().unwrap().fence());
        until("it waits", || server.look().waiters("jobs") == 1);
        drop(held);
        let began = Instant::now();
        waiter.join().unwrap();
        assert!(began.elapsed() < 150 * MS);
    });
    assert_eq!(server.look().calls("subscribe"), 0);
}

/// Strictly first come, first served without a budget for newcomers, across sources.
#[test]
fn without_bypass_the_order_is_that_of_arrival() {
    let server = Server::start();
    let lock = || server.builder("jobs").bypass(0).build().unwrap();
    let held = lock().lock().unwrap();
    let locks: Vec<_> = (0..5).map(|_| lock()).collect();
    let mut waiters = Vec::new();
    for (number, lock) in locks.iter().cloned().enumerate() {
        waiters.push(thread::spawn(move || {
            let held = lock.lock().unwrap();
            let fence = held.fence();
            held.release().unwrap();
            (fence, number)
        }));
        until("it waits", || server.look().waiters("jobs") == number + 1);
    }
    drop(held);
    let mut order: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
    order.sort_unstable();
    let order: Vec<_> = order.into_iter().map(|(_, number)| number).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

/// Newcomers that never rest cannot keep the head out.
#[test]
fn a_waiter_is_overtaken_no_more_often_than_the_budget_allows() {
    let server = Server::start();
    let budget = 3;
    let greedy = server.builder("jobs").bypass(budget).build().unwrap();
    let patient = server.builder("jobs").bypass(budget).polling().retry_delay(300 * MS);
    let patient = patient.build().unwrap();
    let held = greedy.lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| patient.lock().unwrap().release().unwrap());
        until("it waits", || server.look().waiters("jobs") == 1);
        drop(held);
        greedy.source().flush().unwrap();
        let mut overtakings = 0;
        while server.look().waiters("jobs") == 1 {
            if let Some(held) = greedy.try_lock().unwrap() {
                overtakings += 1;
                held.release().unwrap();
            }
        }
        waiter.join().unwrap();
        assert!(overtakings <= budget + 1, "{overtakings} overtakings");
        assert!(overtakings >= 1);
    });
}

#[test]
fn the_waiters_of_a_source_are_one_waiter_to_the_server() {
    let server = Server::start();
    let source = server.source();
    let lock = RedisLock::new("jobs", source).unwrap();
    let held = lock.lock().unwrap();
    let entered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let held = lock.lock().unwrap();
                entered.fetch_add(1, Ordering::Relaxed);
                held.release().unwrap();
            });
        }
        until("somebody waits", || server.look().waiters("jobs") == 1);
        thread::sleep(50 * MS);
        assert_eq!(server.look().waiters("jobs"), 1);
        drop(held);
    });
    assert_eq!(entered.into_inner(), 20);
    assert_eq!(server.look().waiters("jobs"), 0);
}

/// 26: what a release costs the server does not grow with the waiters.
#[test]
fn failure_26_ten_thousand_waiters_cost_no_more_commands_than_two() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let per_handover = |waiters: usize, handovers: usize| {
        let lock = server.lock(&format!("jobs {waiters}"));
        runtime.block_on(async {
            let held = lock.lock_async().await.unwrap();
            let queue: Vec<_> = (0..waiters)
                .map(|_| {
                    let lock = lock.clone();
                    tokio::spawn(
                        async move { lock.lock_async().await.unwrap().release_async().await },
                    )
                })
                .collect();
            // All have asked, and the waiter has done with its first tries.
            tokio::time::sleep(300 * MS).await;
            let before = server.look().calls("evalsha");
            let began = Instant::now();
            held.release_async().await.unwrap();
            let mut done = 0;
            for waiter in queue {
                waiter.await.unwrap().unwrap();
                done += 1;
                if done == handovers {
                    break;
                }
            }
            let commands = server.look().calls("evalsha") - before;
            (commands as f64 / handovers as f64, began.elapsed())
        })
    };
    let (few, _) = per_handover(2, 2);
    let (some, _) = per_handover(100, 100);
    let (many, took) = per_handover(10_000, 5_000);
    println!("commands a handover: {few} with 2, {some} with 100, {many} with 10,000 ({took:?})");
    // A release, the next waiter's try, the one after it joining the queue; tries that the server's
    // message leads to as well as the release, when they cross.
    assert!(few <= 4.0 && some <= 4.0 && many <= 4.0, "{few} {some} {many}");
}

#[test]
fn a_slow_network_makes_waiting_slow_and_nothing_else() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    proxy.delay(30 * MS);
    let lock = RedisLock::new("jobs", proxy.client()).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let held = lock.lock().unwrap();
                    assert!(held.is_valid());
                    held.release().unwrap();
                }
            });
        }
    });
}

/// Each client that waited leaves a field in the lock. Under a long lease nobody is granted who could
/// clear them away.
#[test]
fn cancelled_waits_clear_away_what_others_left() {
    let server = Server::start();
    let _held = server.lock("jobs").lock().unwrap();
    let old = server.look().fence("jobs") - 120_000_000;
    let lanes: Vec<String> = (0..10).map(|number| format!("gone{number}:0")).collect();
    for lane in &lanes {
        server.look().run(&format!("HSET {} {lane} -{old}", lock_key("jobs")));
    }
    until("the old fields are gone", || {
        let client = server.lock("jobs");
        // On a slow machine the time may be over before the server is asked.
        assert!(!matches!(client.try_lock_for(50 * MS), Ok(Some(_))));
        client.source().flush().unwrap();
        lanes.iter().all(|lane| server.look().field("jobs", lane).is_none())
    });
}
