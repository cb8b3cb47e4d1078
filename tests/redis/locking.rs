//! Taking, holding, extending, releasing, passing on: what the methods do when nothing fails.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use warded::{BaseLock, FencedKey, LockError, RedisError, RedisLock, Wait};

use super::process::Other;
use super::server::{Server, until};

const MS: Duration = Duration::from_millis(1);

#[test]
fn guards_exclude_one_another_and_fences_grow() {
    let server = Server::start();
    let source = server.source();
    let locks: Vec<_> = (0..3).map(|_| RedisLock::new("jobs", source.clone()).unwrap()).collect();
    let mut last = 0;
    for lock in locks.iter().cycle().take(30) {
        let held = lock.try_lock().unwrap().expect("it is free");
        assert!(held.is_valid() && held.fence() > last);
        assert!(held.remaining() > 29 * 1_000 * MS && held.remaining() < 30 * 1_000 * MS);
        for other in &locks {
            assert!(other.try_lock().unwrap().is_none());
        }
        last = held.fence();
        held.release().unwrap();
    }
    assert!(locks[0].try_lock_until(Instant::now()).unwrap().is_some());
    assert!(locks[0].try_lock_for(Duration::MAX).unwrap().is_some());
}

#[test]
fn a_counter_survives_threads_and_sources() {
    let server = Server::start();
    let shared = server.source();
    let counter = FencedKey::new("counter", shared.clone());
    counter.write(0, "0").unwrap();
    thread::scope(|scope| {
        for number in 0..6 {
            // Half of them share a source, half have their own.
            let lock = if number % 2 == 0 {
                RedisLock::new("count", shared.clone()).unwrap()
            } else {
                server.lock("count")
            };
            let counter = counter.clone();
            scope.spawn(move || {
                for _ in 0..50 {
                    let held = lock.lock().unwrap();
                    let (_, value) = counter.read().unwrap().unwrap();
                    let value: u32 = String::from_utf8(value).unwrap().parse().unwrap();
                    assert!(counter.write(held.fence(), (value + 1).to_string()).unwrap());
                    if value.is_multiple_of(3) {
                        held.release().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(counter.read().unwrap().unwrap().1, b"300");
}

#[test]
fn async_forms_work_without_any_runtime_and_in_one() {
    let server = Server::start();
    let lock = server.lock("jobs");
    // On no runtime: an executor that only knows how to poll.
    let held = by_polling(lock.lock_async()).unwrap();
    assert!(by_polling(lock.try_lock_async()).unwrap().is_none());
    by_polling(held.extend_async(5_000 * MS)).unwrap();
    assert!(held.remaining() > 34_000 * MS);
    by_polling(held.release_async()).unwrap();
    // On tokio's, with all of it on one thread, blocking calls from within it too.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(lock.acquire_async(Wait::Never).await.unwrap());
        assert!(lock.owned_async().await.unwrap() && lock.locked_async().await.unwrap());
        assert!(lock.extend_async(1_000 * MS).await.unwrap());
        assert_eq!(lock.info_async().await.unwrap().name, "jobs");
        lock.release_async().await.unwrap();
        assert!(matches!(lock.release_async().await, Err(LockError::NotHeld { .. })));
        let held = lock.try_lock_for_async(MS * 500).await.unwrap().unwrap();
        assert!(lock.try_lock_until_async(Instant::now() + 20 * MS).await.unwrap().is_none());
        assert!(lock.try_lock().unwrap().is_none());
        drop(held);
        lock.source().flush_async().await.unwrap();
    });
    assert!(!lock.locked().unwrap());
}

fn by_polling<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::sleep(MS),
        }
    }
}

#[test]
fn a_timed_wait_ends_when_it_should() {
    let server = Server::start();
    let _held = server.lock("jobs").lock().unwrap();
    let other = server.lock("jobs");
    other.locked().unwrap();
    let began = Instant::now();
    assert!(other.try_lock_for(150 * MS).unwrap().is_none());
    let took = began.elapsed();
    assert!(took >= 150 * MS && took < 400 * MS, "{took:?}");
    until("the waiter left the queue", || server.look().waiters("jobs") == 0);
}

#[test]
fn dropping_a_guard_releases_and_flush_waits_for_it() {
    let server = Server::start();
    let lock = server.lock("jobs");
    for _ in 0..20 {
        drop(lock.lock().unwrap());
        lock.source().flush().unwrap();
        assert_eq!(server.look().token("jobs"), None);
    }
    // The last handle goes before its release is sent: it is sent all the same.
    drop((lock.lock().unwrap(), lock));
    until("the release came", || server.look().token("jobs").is_none());
}

/// The release goes first, also if the server knows the script of the acquire only.
#[test]
fn who_drops_a_guard_and_tries_at_once_has_the_lock() {
    let server = Server::start();
    let lock = server.lock("jobs");
    let mut look = server.look();
    for round in 0..20 {
        look.run("SCRIPT FLUSH");
        drop(lock.try_lock().unwrap().expect("it is free"));
        assert!(lock.try_lock().unwrap().is_some(), "round {round}, as a thread");
        look.run("SCRIPT FLUSH");
        pollster::block_on(async {
            drop(lock.try_lock_async().await.unwrap().expect("it is free"));
            assert!(lock.try_lock_async().await.unwrap().is_some(), "round {round}, as a task");
        });
    }
}

#[test]
fn the_trait_object_holds_and_releases() {
    let server = Server::start();
    let lock: Box<dyn BaseLock> = Box::new(server.lock("jobs"));
    let held = lock.hold(Wait::Forever).unwrap().unwrap();
    assert!(lock.hold(Wait::Never).unwrap().is_none());
    // `release` ends what `acquire` began, never a guard.
    assert!(matches!(lock.release(), Err(LockError::NotHeld { .. })));
    assert!(lock.locked().unwrap());
    held.release().unwrap();
    assert!(!lock.locked().unwrap());
}

/// The first grant is looked at only after its lease is over and the lock was acquired anew.
#[test]
fn an_acquire_that_is_looked_at_too_late_ends_no_later_hold() {
    let server = Server::start();
    let lock = server.builder("jobs").ttl(500 * MS).build().unwrap();
    let mut late = pin!(lock.acquire_async(Wait::Forever));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(late.as_mut().poll(&mut cx).is_pending());
    until("it is granted", || server.look().token("jobs").is_some());
    until("its lease is over", || !lock.locked().unwrap());
    assert!(lock.acquire(Wait::Never).unwrap());
    assert!(lock.extend(Duration::from_secs(30)).unwrap());
    assert!(matches!(late.as_mut().poll(&mut cx), Poll::Ready(Ok(true))));
    lock.source().flush().unwrap();
    assert!(lock.owned().unwrap());
}

#[test]
fn a_second_lock_by_the_same_thread_waits_for_the_first_lease_to_end() {
    let server = Server::start();
    let lock = server.builder("jobs").ttl(200 * MS).build().unwrap();
    assert!(lock.acquire(Wait::Never).unwrap());
    let began = Instant::now();
    assert!(lock.acquire(Wait::Forever).unwrap());
    assert!(began.elapsed() >= 180 * MS);
    assert!(lock.owned().unwrap());
    lock.release().unwrap();
    assert!(!lock.locked().unwrap());
}

#[test]
fn a_leaked_lock_ends_with_its_lease() {
    let server = Server::start();
    let lock = server.builder("jobs").ttl(300 * MS).renew(60_000 * MS).build().unwrap();
    lock.lock().unwrap().leak();
    assert!(lock.locked().unwrap());
    let waited = until("its lease ended", || !lock.locked().unwrap());
    assert!(waited > 200 * MS && waited < 600 * MS, "{waited:?}");
}

#[test]
fn a_lock_goes_to_another_process_and_back() {
    let server = Server::start();
    let mut other = Other::play("pass", server.port());
    let text = other.hear("passed");
    let lock = server.lock("jobs");
    assert!(lock.try_lock().unwrap().is_none());
    let held = lock.take_over(text.parse().unwrap()).unwrap();
    assert!(held.is_valid() && held.remaining() > 25_000 * MS);
    held.extend(10_000 * MS).unwrap();
    assert!(held.remaining() > 36_000 * MS);
    let fence = held.fence();
    other.tell(&held.hand_over().unwrap().to_string());
    assert_eq!(other.hear("back"), fence.to_string());
    until("the other process released it", || lock.try_lock().unwrap().is_some());
    // What is over cannot be taken over.
    let late = lock.take_over(text.parse().unwrap());
    assert!(matches!(late, Err(RedisError::Lost { .. })), "{late:?}");
}

#[test]
fn a_take_over_that_is_dropped_leaves_the_lock_to_whoever_has_its_text() {
    let server = Server::start();
    let (giver, taker) = (server.lock("jobs"), server.lock("jobs"));
    let handover = giver.lock().unwrap().hand_over().unwrap();
    {
        let mut taking = pin!(taker.take_over_async(handover.clone()));
        let polled = taking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it has to connect first");
        // It is answered, and nobody looks.
        thread::sleep(200 * MS);
    }
    taker.source().flush().unwrap();
    assert!(giver.try_lock().unwrap().is_none());
    let held = taker.take_over(handover).unwrap();
    assert!(held.is_valid());
    held.release().unwrap();
}

/// Long after its lease the giver's lane is in use again.
#[test]
fn a_hold_that_was_taken_over_and_lost_is_not_released() {
    let server = Server::start();
    let lock = || server.builder("jobs").ttl(200 * MS).grace(MS).build().unwrap();
    let (giver, taker) = (lock(), lock());
    let held = taker.take_over(giver.lock().unwrap().hand_over().unwrap()).unwrap();
    until("the lease is over", || !taker.locked().unwrap());
    thread::sleep(1_500 * MS);
    let other = giver.lock().unwrap();
    let released = held.release();
    assert!(matches!(released, Err(RedisError::Lost { .. })), "{released:?}");
    assert!(other.is_valid() && giver.locked().unwrap());
}

#[test]
fn the_builder_refuses_what_cannot_work() {
    let server = Server::start();
    let refused = |option: &str, lock: Result<RedisLock, RedisError>| match lock {
        Err(RedisError::Option { option: named, why }) => assert_eq!(named, option, "{why}"),
        other => panic!("{option} was not refused: {other:?}"),
    };
    let with = || server.builder("jobs");
    assert!(matches!(RedisLock::new("", server.client()), Err(RedisError::EmptyName)));
    refused("ttl", with().ttl(9 * MS).build());
    refused("ttl", with().ttl(Duration::from_secs(30 * 24 * 3600 + 1)).build());
    refused("retry_delay", with().retry_delay(Duration::ZERO).build());
    refused("retry_delay", with().retry_delay(Duration::MAX).build());
    refused("prefix", with().prefix("a{b").build());
    refused("group", with().group("").build());
    refused("grace", with().grace(31_000 * MS).build());
    refused("waiter_ttl", with().waiter_ttl(MS).build());
    refused("renew", with().renew(30_000 * MS).build());
    refused("owner", with().owner("x".repeat(257)).build());
    let write = FencedKey::new("key", server.client()).write(1 << 53, "");
    assert!(matches!(write, Err(RedisError::Option { option: "fence", .. })), "{write:?}");
    let limits = with().ttl(MS).build().unwrap_err().to_string();
    assert!(limits.contains("10 ms") && limits.contains("30 days"), "{limits}");
}

#[test]
fn names_prefixes_and_groups_are_kept_apart() {
    let server = Server::start();
    let source = server.source();
    let with = |name: &str| RedisLock::builder(name, source.clone());
    let locks = [
        with("a").build(),
        with("a:b").build(),
        with("{a}").build(),
        with("a").prefix("other").build(),
        with("a").group("a").build(),
        with("ä/空 %").build(),
    ];
    let held: Vec<_> =
        locks.iter().map(|lock| lock.as_ref().unwrap().try_lock().unwrap().unwrap()).collect();
    assert_eq!(held.len(), 6);
}

#[test]
fn info_tells_who_since_when_and_how_long() {
    let server = Server::start();
    let lock = server.builder("jobs").owner("importer 7 at work").build().unwrap();
    let free = lock.info().unwrap();
    assert!(free.owner.is_none() && free.acquired_at.is_none() && free.ttl.is_none());
    let held = lock.lock().unwrap();
    let info = server.lock("jobs").info().unwrap();
    assert_eq!(info.owner.as_deref(), Some("importer 7 at work"));
    let age = info.acquired_at.unwrap().elapsed().unwrap();
    assert!(age < Duration::from_secs(5), "{age:?}");
    assert!(info.ttl.unwrap() > 29_000 * MS && info.ttl.unwrap() <= 30_000 * MS);
    drop(held);
}
