//! Locks by name in Redis: one of several names, all or none, what is on record, what is swept; and
//! the state machine of both backends.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use warded::{
    Backend, BaseLock, LockError, LockManager, LockManagerBuilder, LockOwner, ManagerError,
    RedisError, RedisServer, RedisSource, Wait,
};

use super::names;
use super::proxy::{Proxy, send_again};
use super::server::{Server, client, free_port, until};

const MS: Duration = Duration::from_millis(1);

fn manager(server: &Server) -> LockManager {
    LockManager::redis(server.client()).unwrap()
}

/// A manager through the proxy, with a source that notices quickly that nothing comes back.
fn through(proxy: &Proxy) -> LockManagerBuilder {
    let source = RedisSource::builder(proxy.client()).answer_timeout(200 * MS).build().unwrap();
    LockManager::builder().redis(source)
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Whether none of these is held, as the server says.
fn free(server: &Server, names: &[&str]) -> bool {
    names.iter().all(|name| server.look().token(name).is_none())
}

#[test]
fn handles_and_guards_are_those_of_the_local_backend() {
    let server = Server::start();
    let locks = manager(&server);
    let lock = locks.get_lock("jobs").unwrap();
    let guard = lock.lock().unwrap();
    let first = guard.fence().unwrap();
    assert!(guard.is_valid() && guard.lease().unwrap().remaining() > 29_000 * MS);
    assert!(lock.try_lock().unwrap().is_none());
    assert!(lock.try_lock_for(20 * MS).unwrap().is_none());
    guard.release().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let guard = lock.lock_async().await.unwrap();
        assert!(guard.fence().unwrap() > first);
        assert!(lock.try_lock_async().await.unwrap().is_none());
        guard.release_async().await.unwrap();
        drop(lock.clone().lock_owned_async().await.unwrap());
    });
    let object: &dyn BaseLock = &lock;
    assert!(object.acquire(Wait::Forever).unwrap() && object.locked().unwrap());
    assert!(object.hold(Wait::Never).unwrap().is_none());
    // Another handle of the name ends it, as in this process.
    locks.get_lock("jobs").unwrap().release().unwrap();
    assert!(matches!(object.release(), Err(LockError::NotHeld { .. })));
    drop(object.hold(Wait::Never).unwrap().unwrap());
    assert_eq!(locks.names(), ["jobs"]);
    drop(lock);
    assert!(locks.is_empty());
}

#[test]
fn handles_and_guards_outlive_the_manager_and_what_is_acquired_ends_with_the_last() {
    let server = Server::start();
    let locks = manager(&server);
    assert!(locks.acquire_all(&["a", "b"], Wait::Never).unwrap());
    let lock = locks.get_lock("c").unwrap();
    drop(locks);
    assert!(lock.try_lock().unwrap().is_some());
    assert!(!free(&server, &["a"]) && !free(&server, &["b"]));
    drop(lock);
    until("what nobody can release any more is released", || free(&server, &["a", "b"]));
}

#[test]
fn the_builder_says_what_is_wrong() {
    let server = Server::start();
    let with = || LockManager::builder().redis(server.client());
    let refused = |option: &str, manager: Result<LockManager, ManagerError>| match manager {
        Err(ManagerError::Option { option: named, why }) => assert_eq!(named, option, "{why}"),
        other => panic!("{option} was not refused: {other:?}"),
    };
    refused("ttl", with().ttl(MS).build());
    refused("retry_delay", with().retry_delay(Duration::ZERO).build());
    refused("retry_delay", with().retry_delay(Duration::MAX).build());
    refused("prefix", with().prefix("a{b").build());
    refused("group", with().group("").build());
    refused("owner", with().owner("x".repeat(257)).build());
    refused("detect_deadlocks", with().detect_deadlocks(true).build());
    let nobody = LockManager::new(Backend::Redis, None);
    assert!(matches!(nobody, Err(ManagerError::NoClient)), "{nobody:?}");
    let nobody = LockManager::builder().backend(Backend::Redis).build().unwrap_err();
    assert!(nobody.to_string().contains("needs a client"), "{nobody}");
    // A client alone means Redis; a configuration may still say otherwise.
    let here = with().backend(Backend::Local).build().unwrap();
    assert!(here.acquire_all(&["a"], Wait::Never).unwrap());
    let there = LockManager::new(Backend::Redis, Some(server.source())).unwrap();
    assert!(there.acquire_all(&["a"], Wait::Never).unwrap());
    assert!(matches!(there.get_lock(""), Err(LockError::EmptyName)));
}

#[test]
fn the_record_names_owners_of_all_processes() {
    let server = Server::start();
    let locks = LockManager::builder().redis(server.client()).owner("billing").build().unwrap();
    let others = manager(&server);
    let guard = locks.get_lock("a").unwrap().lock_owned().unwrap();
    let job = LockOwner::new("job 17");
    let lock = locks.get_lock("b").unwrap().with_owner(&job);
    assert!(lock.acquire(Wait::Never).unwrap());
    let owner = |name: &str| others.info(name).unwrap().owner;
    assert_eq!(owner("a").as_deref(), Some("billing"));
    assert_eq!(owner("b").as_deref(), Some("job 17"));
    let info = others.info("a").unwrap();
    assert!(info.acquired_at.is_some() && info.ttl.is_some_and(|left| left > 29_000 * MS));
    // What others hold is no name in use here.
    assert!(others.is_empty() && others.infos().unwrap().is_empty());
    let mut infos = locks.infos().unwrap();
    infos.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(infos.iter().map(|info| &*info.name).collect::<Vec<_>>(), ["a", "b"]);
    assert!(infos.iter().all(|info| info.owner.is_some()));
    drop(guard);
    // The hold is the name's, not the owner's.
    locks.release_all(&["b"]).unwrap();
    assert_eq!(others.info("b").unwrap(), warded::LockInfo::unheld("b"));
    // A label that is too long for the server is cut, between two letters.
    let long = LockOwner::new("ä".repeat(200));
    let guard = lock.with_owner(&long).lock_owned().unwrap();
    assert_eq!(owner("b"), Some("ä".repeat(128)));
    drop(guard);
}

#[test]
fn all_or_nothing_by_one_script() {
    let server = Server::start();
    let locks = manager(&server);
    let names = ["e", "a", "d", "b", "c"];
    assert!(locks.acquire_all(&names, Wait::Never).unwrap());
    locks.release_all(&names).unwrap();
    let before = server.look().calls("evalsha");
    let all = locks.lock_all(&["e", "a", "d", "b", "c", "a"], Wait::Never).unwrap().unwrap();
    assert_eq!(server.look().calls("evalsha"), before + 1);
    assert_eq!(all.names().count(), 5);
    assert!(all.is_valid() && all.leases().count() == 5);
    for (name, fence) in all.fences() {
        assert_eq!(fence, Some(server.look().fence(name)));
    }
    let others = manager(&server);
    assert!(others.lock_all(&["z", "c", "y"], Wait::Never).unwrap().is_none());
    assert!(!others.acquire_all(&["z", "c", "y"], (50 * MS).into()).unwrap());
    assert!(free(&server, &["y", "z"]) && others.is_empty());
    until("it left the queue", || server.look().waiters("c") == 0);
    all.release().unwrap();
    assert!(free(&server, &names));
    assert!(locks.acquire_all::<&str>(&[], Wait::Never).unwrap());
    locks.release_all::<&str>(&[]).unwrap();
    assert!(locks.is_empty());
}

#[test]
fn release_all_releases_what_is_held_and_names_the_rest() {
    let server = Server::start();
    let locks = LockManager::builder().redis(server.client()).ttl(200 * MS).build().unwrap();
    assert!(locks.acquire_all(&["gone"], Wait::Never).unwrap());
    until("its lease ended", || !locks.get_lock("gone").unwrap().locked().unwrap());
    let held = manager(&server);
    let guard = held.get_lock("g").unwrap().lock_owned().unwrap();
    assert!(locks.acquire_all(&["a", "b"], Wait::Never).unwrap());
    let released = locks.release_all(&["x", "b", "g", "a", "x", "b", "gone"]);
    let Err(LockError::NotAllHeld { names }) = released else { panic!("{released:?}") };
    assert_eq!(names, ["g", "gone", "x"]);
    assert!(free(&server, &["a", "b"]) && !free(&server, &["g"]));
    assert!(locks.is_empty());
    drop(guard);
}

/// Two processes want sets that overlap, said in opposite orders, along with single names: everybody
/// gets through, and nobody meets another. The script itself is searched with its keys in opposite
/// orders in tests/redis-check.
#[test]
fn failure_23_overlapping_sets_in_opposite_orders() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let server = Server::start();
    let processes = [manager(&server), manager(&server)];
    let inside = [const { AtomicUsize::new(0) }; 4];
    thread::scope(|scope| {
        for number in 0..6 {
            let (locks, inside) = (&processes[number % 2], &inside);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(number as u64);
                for _ in 0..60 {
                    let count = random.usize(1..=3);
                    let mut set = random.choose_multiple(0..4_usize, count);
                    set.sort_unstable();
                    if number % 2 == 1 {
                        set.reverse();
                    }
                    let names: Vec<_> = set.iter().map(|place| NAMES[*place]).collect();
                    let guard = match random.u8(..3) {
                        0 => locks.lock_all(&names, Wait::Never).unwrap(),
                        1 => Some(pollster::block_on(locks.lock_all_async(&names)).unwrap()),
                        _ => locks.lock_all(&names, Wait::Forever).unwrap(),
                    };
                    let Some(guard) = guard else { continue };
                    for &place in &set {
                        assert_eq!(inside[place].fetch_add(1, Ordering::SeqCst), 0);
                    }
                    assert!(guard.is_valid());
                    for &place in &set {
                        inside[place].fetch_sub(1, Ordering::SeqCst);
                    }
                    drop(guard);
                }
            });
        }
    });
    for locks in &processes {
        locks.cleanup().unwrap();
        assert!(locks.is_empty());
    }
    assert!(free(&server, &NAMES));
    assert!(NAMES.iter().all(|name| server.look().waiters(name) == 0));
}

/// Each of those at the head of one queue wants the other's name, too, and nobody may overtake.
#[test]
fn failure_23_sets_do_not_make_way_for_one_another_for_ever() {
    let server = Server::start();
    let locks = LockManager::builder().redis(server.client()).bypass(0).build().unwrap();
    let hold = |name: &str| locks.get_lock(name).unwrap().lock_owned().unwrap();
    let queued = |name, count| until("they wait", || server.look().waiters(name) == count);
    thread::scope(|scope| {
        let wait = |number: u32| {
            let names = ["a".to_owned(), "b".to_owned(), format!("c {number}")];
            let locks = &locks;
            scope.spawn(move || {
                let held = locks.lock_all(&names, Wait::For(20_000 * MS)).unwrap();
                drop(held.expect("its turn comes"));
            })
        };
        let (a, b) = (hold("a"), hold("b"));
        let mut waits = vec![wait(0), wait(1)];
        queued("a", 2);
        drop(a);
        queued("b", 2);
        let a = hold("a");
        waits.extend([wait(2), wait(3)]);
        queued("a", 2);
        drop((a, b));
        waits.into_iter().for_each(|wait| wait.join().unwrap());
    });
}

#[test]
fn the_reply_to_an_acquire_of_all_is_lost() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    // The server knows the scripts, so that each request is one message.
    drop(manager(&server).lock_all(&["a", "b"], Wait::Never).unwrap());
    for wait in [Wait::Never, Wait::Forever] {
        let locks = through(&proxy).build().unwrap();
        locks.info("a").unwrap();
        until("it is free", || free(&server, &["a", "b"]));
        proxy.swallow_replies(true);
        thread::scope(|scope| {
            let taking = scope.spawn(|| locks.lock_all(&["a", "b"], wait).unwrap().unwrap());
            until("the server has granted it", || !free(&server, &["b"]));
            let fences = ["a", "b"].map(|name| Some(server.look().fence(name)));
            proxy.swallow_replies(false);
            proxy.cut();
            let all = taking.join().unwrap();
            let told: Vec<_> = all.fences().map(|(_, fence)| fence).collect();
            assert_eq!(told, fences, "it was granted twice");
            all.release().unwrap();
        });
    }
}

#[test]
fn an_acquire_of_all_arrives_again_after_the_release() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let locks = through(&proxy).build().unwrap();
    for wait in [Wait::Never, Wait::Forever] {
        drop(locks.lock_all(&["a", "b"], wait).unwrap());
        locks.cleanup().unwrap();
        proxy.take_sent();
        let all = locks.lock_all(&["a", "b"], wait).unwrap().unwrap();
        let acquire = proxy.take_sent();
        all.release().unwrap();
        send_again(server.port(), &acquire);
        assert!(free(&server, &["a", "b"]));
        assert!(locks.lock_all(&["a", "b"], Wait::Never).unwrap().is_some());
        locks.cleanup().unwrap();
    }
}

#[test]
fn a_cancelled_lock_all_leaves_nothing() {
    let server = Server::start();
    let locks = manager(&server);
    for held in ["a", "b", "c"] {
        let guard = locks.get_lock(held).unwrap().lock_owned().unwrap();
        let mut all = Box::pin(locks.lock_all_async(&["c", "a", "b"]));
        assert!(poll(all.as_mut()).is_pending());
        until("it waits", || server.look().waiters(held) == 1);
        drop(all);
        locks.cleanup().unwrap();
        assert_eq!(server.look().waiters(held), 0);
        assert_eq!(locks.len(), 1);
        guard.release().unwrap();
        assert!(free(&server, &["a", "b", "c"]));
    }
    // The grant is on its way, or has come and is not fetched: wherever it is just then.
    for pause in 0..20 {
        let mut all = Box::pin(locks.lock_all_async(&["a", "b", "c"]));
        let _ = poll(all.as_mut());
        thread::sleep(Duration::from_micros(50 * pause));
        drop(all);
        locks.cleanup().unwrap();
        assert!(free(&server, &["a", "b", "c"]) && locks.is_empty());
    }
}

#[test]
fn one_by_one_gives_back_what_it_took() {
    let server = Server::start();
    let locks = LockManager::builder().redis(server.client()).one_by_one().build().unwrap();
    let others = manager(&server);
    let guard = others.get_lock("b").unwrap().lock_owned().unwrap();
    assert!(!locks.acquire_all(&["c", "b", "a"], Wait::Never).unwrap());
    assert!(locks.lock_all(&["c", "b", "a"], (50 * MS).into()).unwrap().is_none());
    locks.cleanup().unwrap();
    assert!(free(&server, &["a", "c"]) && locks.is_empty());
    let mut all = Box::pin(locks.lock_all_async(&["c", "b", "a"]));
    until("it has the first, and waits for the second", || {
        assert!(poll(all.as_mut()).is_pending());
        server.look().waiters("b") == 1 && !free(&server, &["a"])
    });
    drop(all);
    locks.cleanup().unwrap();
    assert!(free(&server, &["a", "c"]) && locks.is_empty());
    assert_eq!(server.look().waiters("b"), 0);
    guard.release().unwrap();
    assert!(locks.acquire_all(&["c", "b", "a"], Wait::Never).unwrap());
    assert!(others.lock_all(&["a", "z"], Wait::Never).unwrap().is_none());
    locks.release_all(&["a", "b", "c"]).unwrap();
    assert!(free(&server, &["a", "b", "c"]) && locks.is_empty());
}

/// The first name's lease ends while the second is waited for, and somebody else takes the first.
#[test]
fn one_by_one_begins_anew_when_a_lease_has_ended() {
    type Call = fn(&LockManager) -> bool;
    let server = Server::start();
    let with = || LockManager::builder().redis(server.client()).one_by_one();
    let locks = with().ttl(400 * MS).build().unwrap();
    let others = with().build().unwrap();
    let take = |name: &str| others.get_lock(name).unwrap().lock_owned().unwrap();
    let calls: [(Call, bool); 4] = [
        (|locks| locks.acquire_all(&["a", "b"], Wait::Forever).unwrap(), true),
        (|locks| locks.lock_all(&["a", "b"], Wait::Forever).unwrap().is_some(), true),
        (|locks| pollster::block_on(locks.lock_all_async(&["a", "b"])).is_ok(), true),
        (|locks| locks.acquire_all(&["a", "b"], (2_000 * MS).into()).unwrap(), false),
    ];
    for (call, in_the_end) in calls {
        let second = take("b");
        thread::scope(|scope| {
            let calling = scope.spawn(|| call(&locks));
            until("it waits for the second", || server.look().waiters("b") == 1);
            let first = take("a");
            second.release().unwrap();
            until("it waits for the first again, and holds nothing", || {
                calling.is_finished() || server.look().waiters("a") == 1 && free(&server, &["b"])
            });
            assert!(first.is_valid());
            if in_the_end {
                assert!(!calling.is_finished(), "it was told that it holds both");
                first.release().unwrap();
            }
            assert_eq!(calling.join().unwrap(), in_the_end);
        });
        let _ = locks.release_all(&["a", "b"]);
        // What was dropped on either side has been released, too.
        locks.cleanup().unwrap();
        others.cleanup().unwrap();
        assert!(free(&server, &["a", "b"]) && locks.is_empty());
    }
}

/// Two names take longer than a lease lasts, and there is no time for another attempt. On a busy
/// machine one may take so long, which is a timeout.
#[test]
fn one_by_one_gives_up_when_a_lease_has_ended_and_the_time_is_over() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let locks = through(&proxy).ttl(160 * MS).one_by_one().build().unwrap();
    // The server knows the scripts, so that each name takes one round trip.
    assert!(locks.acquire_all(&["a", "b"], Wait::Never).unwrap());
    locks.release_all(&["a", "b"]).unwrap();
    proxy.delay(45 * MS);
    let taken = locks.acquire_all(&["a", "b"], Wait::Never);
    assert!(
        matches!(taken, Ok(false) | Err(LockError::Redis(RedisError::Timeout { .. }))),
        "{taken:?}"
    );
    proxy.delay(Duration::ZERO);
    locks.cleanup().unwrap();
    assert!(free(&server, &["a", "b"]) && locks.is_empty());
}

/// Nobody listens at the address of this cluster.
#[test]
fn names_of_several_slots_are_refused_before_anything_is_sent() {
    let nowhere = || RedisServer::cluster([client(free_port())]);
    let locks = LockManager::redis(nowhere()).unwrap();
    for refused in [
        locks.acquire_all(&["foo", "bar"], Wait::Forever).map(drop),
        locks.lock_all(&["foo", "bar"], Wait::Never).map(drop),
        pollster::block_on(locks.lock_all_async(&["foo", "bar"])).map(drop),
    ] {
        let Err(LockError::Redis(RedisError::SeveralSlots { names })) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(names, [("bar".to_owned(), 5_061), ("foo".to_owned(), 12_182)]);
    }
    assert!(locks.is_empty());
    // One group is one slot, so that the cluster is asked.
    let source = RedisSource::builder(nowhere()).patience(50 * MS).build().unwrap();
    let locks = LockManager::builder().redis(source).group("g").build().unwrap();
    let refused = locks.acquire_all(&["foo", "bar"], Wait::Never);
    assert!(matches!(refused, Err(LockError::Redis(RedisError::Unreachable(_)))), "{refused:?}");
}

#[test]
fn a_lease_that_ends_is_told() {
    let server = Server::start();
    let locks = LockManager::builder().redis(server.client()).ttl(150 * MS).build().unwrap();
    let all = locks.lock_all(&["a", "b"], Wait::Never).unwrap().unwrap();
    let guard = locks.get_lock("c").unwrap().lock_owned().unwrap();
    until("validity ended", || !all.is_valid() && !guard.is_valid());
    for name in ["a", "c"] {
        until("the leases ended", || !locks.get_lock(name).unwrap().locked().unwrap());
    }
    let lost = |error| matches!(error, Err(LockError::Redis(RedisError::Lost { .. })));
    assert!(lost(all.release()) && lost(guard.release()));
}

#[test]
fn cleanup_sweeps_what_has_expired_and_says_how_much() {
    let server = Server::start();
    let locks = LockManager::builder().redis(server.client()).ttl(100 * MS).build().unwrap();
    assert!(locks.acquire_all(&["a", "b"], Wait::Never).unwrap());
    assert_eq!(locks.cleanup().unwrap().expired, 0);
    assert_eq!(locks.len(), 2);
    until("the leases ended", || {
        ["a", "b"].iter().all(|name| locks.info(name).unwrap().owner.is_none())
    });
    assert_eq!(locks.cleanup().unwrap().expired, 2);
    assert!(locks.is_empty());
}

#[test]
fn cleanup_waits_for_releases_that_nobody_has_confirmed() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let locks = through(&proxy).build().unwrap();
    let all = locks.lock_all(&["a", "b", "c"], Wait::Never).unwrap().unwrap();
    proxy.partition(true);
    drop(all);
    thread::scope(|scope| {
        let cleaning = scope.spawn(|| locks.cleanup());
        thread::sleep(300 * MS);
        assert!(!cleaning.is_finished() && !free(&server, &["a"]));
        proxy.partition(false);
        proxy.cut();
        assert_eq!(cleaning.join().unwrap().unwrap().releases, 3);
    });
    assert!(free(&server, &["a", "b", "c"]));
}

#[test]
fn it_does_what_the_reference_does() {
    static CASES: AtomicU32 = AtomicU32::new(0);
    let server = Server::start();
    let source = server.source();
    // The server knows the scripts, so that what is dropped is released before the next question.
    let locks = LockManager::builder().redis(source.clone()).build().unwrap();
    drop(locks.lock_all(&["a", "b"], Wait::Never).unwrap());
    drop(locks.get_lock("a").unwrap().lock_owned().unwrap());
    locks.info("a").unwrap();
    locks.cleanup().unwrap();
    let config = ProptestConfig::with_cases(60);
    proptest!(config, |(steps in names::steps())| {
        let case = CASES.fetch_add(1, Ordering::Relaxed);
        let with = LockManager::builder().redis(source.clone()).bypass(2);
        let locks = with.prefix(format!("case {case}")).build().unwrap();
        names::run(locks, &steps, true);
    });
}
