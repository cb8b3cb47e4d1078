//! The failures of the protocol's list, by their numbers there; docs/redis.md says where each has its
//! test. 7 and 11 are in the client's own tests, where clocks can be set, 15 is in `cluster`, 23 in
//! `manager`, 26 in `waiting`, 27 in `errors`.

use std::panic;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use warded::{
    BaseLock, FencedKey, Loss, RedisError, RedisGuard, RedisLock, RedisLockBuilder, RedisSource,
    Wait,
};

use super::process::Other;
use super::proxy::{Proxy, send_again};
use super::server::{Server, until};

const MS: Duration = Duration::from_millis(1);

/// A lock through the proxy, with a source that notices quickly that nothing comes back.
fn through(proxy: &Proxy) -> RedisLockBuilder {
    let source = RedisSource::builder(proxy.client()).answer_timeout(200 * MS).build().unwrap();
    RedisLock::builder("jobs", source)
}

/// Has the server know the scripts, so that each request is one message.
fn warm_up(server: &Server) {
    let held = server.lock("jobs").lock().unwrap();
    held.extend(MS).unwrap();
    held.release().unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn failure_1_the_reply_of_an_acquire_is_lost() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    warm_up(&server);
    for wait in [Wait::Never, Wait::Forever] {
        let lock = through(&proxy).build().unwrap();
        lock.locked().unwrap();
        proxy.swallow_replies(true);
        thread::scope(|scope| {
            let taking = scope.spawn(|| lock.acquire(wait).unwrap());
            until("the server has granted it", || server.look().token("jobs").is_some());
            let fence = server.look().fence("jobs");
            proxy.swallow_replies(false);
            proxy.cut();
            assert!(taking.join().unwrap(), "it blocked itself");
            assert_eq!(server.look().fence("jobs"), fence, "it was granted twice");
        });
        assert!(lock.owned().unwrap());
        lock.release().unwrap();
    }
}

#[test]
fn failure_1_the_connection_breaks_at_every_byte_of_the_reply() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let lock = through(&proxy).build().unwrap();
    lock.locked().unwrap();
    let mut last = 0;
    for byte in 0..50 {
        proxy.cut_after(byte);
        let held = lock.lock().unwrap();
        assert!(held.is_valid() && held.fence() > last);
        last = held.fence();
        assert_eq!(server.look().fence("jobs"), last);
        held.release().unwrap();
    }
}

#[test]
fn failure_2_an_acquire_arrives_again_after_the_release() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let lock = through(&proxy).build().unwrap();
    lock.locked().unwrap();
    for wait in [Wait::Never, Wait::Forever] {
        warm_up(&server);
        proxy.take_sent();
        lock.acquire(wait).unwrap();
        let acquire = proxy.take_sent();
        lock.release().unwrap();
        send_again(server.port(), &acquire);
        assert_eq!(server.look().token("jobs"), None);
        assert_eq!(server.look().waiters("jobs"), 0);
        assert!(lock.try_lock().unwrap().is_some());
        lock.source().flush().unwrap();
    }
}

#[test]
fn failure_3_the_reply_of_a_release_is_lost() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    warm_up(&server);
    let lock = through(&proxy).build().unwrap();
    let held = lock.lock().unwrap();
    proxy.swallow_replies(true);
    thread::scope(|scope| {
        let releasing = scope.spawn(|| held.release());
        let successor = server.lock("jobs").lock().unwrap();
        proxy.swallow_replies(false);
        proxy.cut();
        // The answer to the second sending: it was over already, which is what was wanted.
        releasing.join().unwrap().unwrap();
        assert!(successor.is_valid());
        assert_eq!(server.look().fence("jobs"), successor.fence());
        successor.release().unwrap();
    });
}

#[test]
fn failure_4_old_messages_arrive_in_the_successors_time() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let lock = through(&proxy).build().unwrap();
    warm_up(&server);
    let held = lock.lock().unwrap();
    held.extend(1_000 * MS).unwrap();
    held.release().unwrap();
    let messages = proxy.take_sent();
    let successor = server.lock("jobs").lock().unwrap();
    let before = server.look().run("HGETALL warded:l:{jobs}");
    send_again(server.port(), &messages);
    assert_eq!(server.look().run("HGETALL warded:l:{jobs}"), before);
    successor.release().unwrap();
}

#[test]
fn failure_5_an_extension_arrives_twice() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let lock = through(&proxy).ttl(10_000 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    held.extend(10 * MS).unwrap();
    proxy.take_sent();
    proxy.swallow_replies(true);
    thread::scope(|scope| {
        let extending = scope.spawn(|| held.extend(5_000 * MS));
        until("it has arrived", || lock_left(&server) > 12_000);
        proxy.swallow_replies(false);
        proxy.cut();
        extending.join().unwrap().unwrap();
    });
    send_again(server.port(), &proxy.take_sent());
    assert!(lock_left(&server) <= 16_010, "{}", lock_left(&server));
    assert!(held.remaining() > 14_000 * MS && held.remaining() < 15_010 * MS);
    held.release().unwrap();
}

/// How long the server keeps the lock, in ms, by its own clock.
fn lock_left(server: &Server) -> i64 {
    let end: i64 = server.look().field("jobs", "x").unwrap().parse().unwrap();
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query(&mut server.look().0).unwrap();
    end - seconds * 1_000 - micros / 1_000
}

#[test]
fn failure_6_a_stopped_holder_resumes_in_the_middle_of_its_write() {
    let server = Server::start();
    let mut paused = Other::play("write", server.port());
    let old: u64 = paused.hear("held").parse().unwrap();
    paused.signal("STOP");
    let lock = server.lock("jobs");
    let held = lock.lock().unwrap();
    assert!(held.fence() > old);
    let balance = FencedKey::new("balance", server.client());
    assert!(balance.write(held.fence(), "90").unwrap());
    paused.signal("CONT");
    paused.tell("write now");
    assert_eq!(paused.hear("written"), "false false");
    assert_eq!(balance.read().unwrap(), Some((held.fence(), b"90".to_vec())));
}

/// Each source numbers its writes by what it knows of the server's clock, and one of them knows it late.
#[test]
fn what_two_sources_write_in_turn_is_written() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    proxy.delay(3 * MS);
    let held = server.lock("jobs").lock().unwrap();
    let keys = [server.client(), proxy.client()].map(|client| FencedKey::new("balance", client));
    for (round, key) in keys.iter().cycle().take(60).enumerate() {
        assert!(key.write(held.fence(), round.to_string()).unwrap());
        let (_, value) = keys[0].read().unwrap().unwrap();
        assert_eq!(String::from_utf8(value).unwrap(), round.to_string());
    }
}

#[test]
fn failure_8_a_holder_behind_a_partition_is_told_before_another_gets_in() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let lock = through(&proxy).ttl(1_000 * MS).renew(60_000 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    thread::sleep(500 * MS);
    let (tell, told) = mpsc::channel();
    held.on_lost(move |_| tell.send(Instant::now()).unwrap());
    proxy.partition(true);
    let next = server.lock("jobs").lock().unwrap();
    let entered = Instant::now();
    assert!(!held.is_valid());
    assert!(told.recv().unwrap() < entered);
    proxy.partition(false);
    let over = held.release();
    assert!(matches!(over, Err(RedisError::Lost { loss: Loss::TakenOver })), "{over:?}");
    assert!(next.is_valid());
}

#[test]
fn failure_9_a_half_open_connection_during_renewal() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let lock = through(&proxy).ttl(1_500 * MS).renew(60_000 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    proxy.half_open();
    let began = Instant::now();
    while began.elapsed() < 4_000 * MS {
        assert!(held.is_valid(), "lost after {:?}", began.elapsed());
        thread::sleep(10 * MS);
    }
    held.release().unwrap();
}

/// There is no client's wall clock that could be set: none is read.
#[test]
fn failure_10_the_clients_wall_clock_is_set() {
    for (file, text) in [
        ("client.rs", include_str!("../../src/redis/client.rs")),
        ("lease.rs", include_str!("../../src/redis/lease.rs")),
        ("lock.rs", include_str!("../../src/redis/lock.rs")),
        ("guard.rs", include_str!("../../src/redis/guard.rs")),
        ("driver/mod.rs", include_str!("../../src/redis/driver/mod.rs")),
        ("driver/link.rs", include_str!("../../src/redis/driver/link.rs")),
        ("driver/cell.rs", include_str!("../../src/redis/driver/cell.rs")),
        ("driver/clock.rs", include_str!("../../src/redis/driver/clock.rs")),
    ] {
        for clock in ["SystemTime", "CLOCK_REALTIME"] {
            assert!(!text.contains(clock), "{file} reads the wall clock");
        }
    }
}

#[test]
fn failure_12_the_server_restarts() {
    for aof in [false, true] {
        let args: &[&str] =
            if aof { &["--appendonly", "yes", "--appendfsync", "always"] } else { &[] };
        let mut server = Server::with(args);
        let lock = server.builder("jobs").ttl(60_000 * MS).build().unwrap();
        let held = lock.lock().unwrap();
        server.kill();
        thread::sleep(50 * MS);
        server.run();
        if aof {
            assert!(lock.locked().unwrap() && held.is_valid());
            held.extend(1_000 * MS).unwrap();
        } else {
            // The first command on the new connection is the check of what was held.
            assert!(!lock.locked().unwrap());
            assert_eq!(runtime().block_on(held.lost()), Loss::Deleted);
        }
        let fence = held.fence();
        drop(held);
        assert!(lock.lock().unwrap().fence() > fence);
    }
}

#[test]
fn failure_12_a_waiter_outlasts_a_restart() {
    let mut server = Server::start();
    let lock = server.lock("jobs");
    let held = server.lock("jobs").lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().unwrap().fence());
        until("it waits", || server.look().waiters("jobs") == 1);
        server.kill();
        thread::sleep(300 * MS);
        server.run();
        assert!(waiter.join().unwrap() > held.fence());
    });
}

#[test]
fn failure_13_flushall_del_and_eviction_are_told_within_a_third_of_the_ttl() {
    let server = Server::start();
    for command in ["FLUSHALL", "DEL warded:l:{jobs}", "UNLINK warded:l:{jobs}"] {
        let lock = server.builder("jobs").ttl(1_500 * MS).build().unwrap();
        let held = lock.lock().unwrap();
        server.look().run(command);
        let began = Instant::now();
        assert_eq!(runtime().block_on(held.lost()), Loss::Deleted);
        assert!(began.elapsed() < 600 * MS, "{command}: {:?}", began.elapsed());
        let next = lock.lock().unwrap();
        assert!(next.fence() > held.fence(), "{command}");
        // The old guard's release does not end the new hold.
        drop(held);
        lock.source().flush().unwrap();
        assert!(server.look().token("jobs").is_some());
        next.release().unwrap();
    }
    // Eviction proper: memory is short, and the lock's key may go.
    let lock = server.builder("jobs").ttl(1_500 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    let mut look = server.look();
    look.run("CONFIG SET maxmemory-policy allkeys-random");
    look.run("CONFIG SET maxmemory 1mb");
    until("it is evicted", || {
        for _ in 0..50 {
            let _: Result<(), _> = redis::cmd("SET")
                .arg(format!("key {}", rand_word()))
                .arg("x".repeat(1_000))
                .query(&mut look.0);
        }
        look.token("jobs").is_none()
    });
    let began = Instant::now();
    runtime().block_on(held.lost());
    assert!(began.elapsed() < 1_000 * MS);
}

fn rand_word() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// What a failover to a replica looks like that has not got the key yet: another server answers.
#[test]
fn failure_14_failover_to_a_server_without_the_key() {
    let (master, replica) = (Server::start(), Server::start());
    let proxy = Proxy::to(master.port());
    let lock = through(&proxy).ttl(3_000 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    proxy.turn_to(replica.port());
    proxy.cut();
    let began = Instant::now();
    assert_eq!(runtime().block_on(held.lost()), Loss::Deleted);
    assert!(began.elapsed() < 1_200 * MS, "{:?}", began.elapsed());
    assert!(lock.lock().unwrap().fence() > held.fence());
}

#[test]
fn failure_16_the_script_cache_is_flushed_before_every_command() {
    let server = Server::start();
    let lock = server.lock("jobs");
    let mut look = server.look();
    for _ in 0..10 {
        look.run("SCRIPT FLUSH");
        let held = lock.lock().unwrap();
        look.run("SCRIPT FLUSH");
        held.extend(1_000 * MS).unwrap();
        look.run("SCRIPT FLUSH");
        assert!(lock.locked().unwrap());
        look.run("SCRIPT FLUSH");
        held.release().unwrap();
    }
}

/// Requests that go out together are refused together; each has its own answer in the end.
#[test]
fn failure_16_the_script_cache_is_flushed_before_many_commands() {
    let server = Server::start();
    let source = RedisSource::from(server.client());
    let mut look = server.look();
    let names: Vec<_> = (0..100).map(|number| format!("jobs {number}")).collect();
    let lock = |name: &String| RedisLock::new(name, source.clone()).unwrap();
    let locks: Vec<_> = names.iter().map(lock).collect();
    let (some, others) = locks.split_at(50);
    let mut held = vec![];
    for _ in 0..3 {
        look.run("SCRIPT FLUSH");
        let releases = join_all(held.drain(..).map(RedisGuard::release_async));
        let acquires = join_all(some.iter().map(RedisLock::lock_async));
        let (released, acquired) = runtime().block_on(join(releases, acquires));
        assert!(released.into_iter().all(|released| released.is_ok()));
        for guard in acquired.into_iter().map(Result::unwrap) {
            assert_eq!(look.fence(guard.name()), guard.fence());
            guard.release().unwrap();
        }
        let acquires = runtime().block_on(join_all(others.iter().map(RedisLock::lock_async)));
        held.extend(acquires.into_iter().map(Result::unwrap));
    }
}

#[test]
fn failure_17_the_message_to_the_waiter_is_lost() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let lock = through(&proxy).build().unwrap();
    for _ in 0..3 {
        let held = server.lock("jobs").lock().unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| lock.lock().unwrap().release().unwrap());
            until("it waits", || server.look().waiters("jobs") == 1);
            // The subscription dies without the client's knowing, and then the lock gets free.
            proxy.half_open();
            drop(held);
            let began = Instant::now();
            waiter.join().unwrap();
            assert!(began.elapsed() < 2_000 * MS, "{:?}", began.elapsed());
        });
    }
    // A subscription that is killed is made again: messages are heard as before.
    let held = server.lock("jobs").lock().unwrap();
    let lock = server.builder("jobs").retry_delay(Duration::from_secs(1)).build().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().unwrap().release().unwrap());
        until("it waits", || server.look().waiters("jobs") == 1);
        thread::sleep(50 * MS);
        server.look().run("CLIENT KILL TYPE pubsub");
        let subscribed = || {
            let channels: Vec<String> =
                redis::cmd("PUBSUB").arg("CHANNELS").query(&mut server.look().0).unwrap();
            channels.len() == 1
        };
        until("it has subscribed again", subscribed);
        thread::sleep(20 * MS);
        let began = Instant::now();
        drop(held);
        waiter.join().unwrap();
        assert!(began.elapsed() < 300 * MS, "{:?}", began.elapsed());
    });
}

#[test]
fn failure_18_the_first_waiter_is_killed() {
    let server = Server::start();
    let strict = || server.builder("jobs").bypass(0).waiter_ttl(1_000 * MS).build().unwrap();
    let (holder, second, third) = (strict(), strict(), strict());
    let held = holder.lock().unwrap();
    let mut first = Other::play("wait", server.port());
    first.hear("waiting");
    until("the first waits", || server.look().waiters("jobs") == 1);
    thread::scope(|scope| {
        let wait = |lock: &RedisLock| {
            let held = lock.lock().unwrap();
            let fence = held.fence();
            held.release().unwrap();
            (fence, Instant::now())
        };
        let second = scope.spawn({
            let second = second.clone();
            move || wait(&second)
        });
        until("the second waits", || server.look().waiters("jobs") == 2);
        let third = scope.spawn({
            let third = third.clone();
            move || wait(&third)
        });
        until("the third waits", || server.look().waiters("jobs") == 3);
        first.kill();
        held.release().unwrap();
        let released = Instant::now();
        let (second, third) = (second.join().unwrap(), third.join().unwrap());
        assert!(second.0 < third.0, "the order is lost");
        // The dead one's own waiter_ttl counts, which is 3 s.
        assert!(second.1 - released < 4_000 * MS, "{:?}", second.1 - released);
    });
}

#[test]
fn failure_18_a_killed_holder_blocks_for_ttl_and_grace_only() {
    let server = Server::start();
    let mut holder = Other::play("hold", server.port());
    holder.hear("held");
    holder.kill();
    let began = Instant::now();
    server.lock("jobs").lock().unwrap().release().unwrap();
    assert!(began.elapsed() < 700 * MS, "{:?}", began.elapsed());
}

/// Every await of an acquire is reached by polling a number of times with pauses of all lengths.
#[test]
fn failure_19_a_future_is_dropped_at_every_await() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    proxy.delay(MS);
    let lock = through(&proxy).build().unwrap();
    let others = server.lock("jobs");
    let runtime = runtime();
    for pause in (0..12_000).step_by(400) {
        let pause = Duration::from_micros(pause);
        // Free, and held by somebody else; a new connection, and one that stands.
        for (blocked, fresh) in [(false, false), (true, false), (false, true), (true, true)] {
            let lock = if fresh { through(&proxy).build().unwrap() } else { lock.clone() };
            let held = blocked.then(|| others.lock().unwrap());
            runtime.block_on(async {
                let _ = tokio::time::timeout(pause, lock.lock_async()).await;
                let _ = tokio::time::timeout(pause, lock.try_lock_async()).await;
            });
            drop(held);
            others.source().flush().unwrap();
            lock.source().flush().unwrap();
            assert_eq!(server.look().token("jobs"), None, "leaked after {pause:?}");
            assert_eq!(server.look().waiters("jobs"), 0, "queued still after {pause:?}");
        }
    }
}

#[test]
fn failure_19_a_release_is_dropped_before_it_is_answered() {
    let server = Server::start();
    let lock = server.lock("jobs");
    runtime().block_on(async {
        for polls in 0..3 {
            let held = lock.lock_async().await.unwrap();
            {
                let mut release = std::pin::pin!(held.release_async());
                for _ in 0..polls {
                    if futures_poll(release.as_mut()).await.is_ready() {
                        break;
                    }
                }
            }
            lock.source().flush_async().await.unwrap();
            assert_eq!(server.look().token("jobs"), None);
        }
    });
}

/// Polls once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
}

#[test]
fn failure_19_the_runtime_is_shut_down_and_a_guard_is_dropped_in_a_panic() {
    let server = Server::start();
    let lock = server.lock("jobs");
    // A runtime that ends while tasks hold and wait.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for _ in 0..3 {
        let lock = lock.clone();
        runtime.spawn(async move {
            let held = lock.lock_async().await.unwrap();
            std::future::pending::<()>().await;
            drop(held);
        });
    }
    until("it is held", || server.look().token("jobs").is_some());
    drop(runtime);
    lock.source().flush().unwrap();
    assert_eq!(server.look().token("jobs"), None);
    assert_eq!(server.look().waiters("jobs"), 0);
    // A panic while it is held.
    let panicking = lock.clone();
    let died = thread::spawn(move || {
        let _held = panicking.lock().unwrap();
        panic::resume_unwind(Box::new("as planned"));
    });
    assert!(died.join().is_err());
    lock.source().flush().unwrap();
    assert_eq!(server.look().token("jobs"), None);
}

#[test]
fn failure_20_a_release_races_a_renewal() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    proxy.delay(2 * MS);
    // Renewed every 10 ms or so, released at every phase of that.
    let lock = through(&proxy).ttl(30 * MS).grace(30 * MS).renew(60_000 * MS).build().unwrap();
    let other = server.lock("jobs");
    for round in 0..60_u64 {
        let held = lock.lock().unwrap();
        thread::sleep(Duration::from_micros(5_000 + round * 350));
        drop(held);
        lock.source().flush().unwrap();
        let next = other.try_lock().unwrap().expect("a renewal outlived the release");
        thread::sleep(15 * MS);
        assert!(next.is_valid());
        assert_eq!(server.look().fence("jobs"), next.fence());
        next.release().unwrap();
    }
}
