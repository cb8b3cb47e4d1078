//! What a cleanup takes away on the server, and what it leaves.

use std::thread;
use std::time::Duration;

use warded::{BaseLock, LockManager, Loss, RedisError, RedisLock};

use super::process::Other;
use super::server::{Look, Server, lock_key, until};

const MS: Duration = Duration::from_millis(1);

/// As if `key` had last been used three minutes ago: what is remembered of attempts, and the fence of
/// a lock that is free now, are set back. A test cannot wait for as long as a cleanup does.
const AGE: &str = "
    local ago, t = 180000000, redis.call('TIME')
    local all = redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
        local mark = tonumber(all[i + 1])
        if #all[i] > 1 then
            mark = mark > 0 and mark - ago or mark + ago
            redis.call('HSET', KEYS[1], all[i], string.format('%d', mark))
        end
    end
    local h = redis.call('HMGET', KEYS[1], 'x', 'n')
    if h[2] and tonumber(h[1] or 0) <= t[1] * 1000 + t[2] / 1000 then
        redis.call('HSET', KEYS[1], 'n', string.format('%d', h[2] - ago))
    end";

impl Look {
    pub fn age(&mut self, name: &str) {
        redis::cmd("EVAL").arg(AGE).arg(1).arg(lock_key(name)).exec(&mut self.0).unwrap();
    }

    fn keys(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut self.0).unwrap();
        keys.sort_unstable();
        keys
    }
}

#[test]
fn what_a_killed_process_leaves_is_swept() {
    let server = Server::start();
    let locks = LockManager::redis(server.client()).unwrap();
    let mut holder = Other::play("hold", server.port());
    let fence: u64 = holder.hear("held").parse().unwrap();
    let mut waiter = Other::play("wait", server.port());
    waiter.hear("waiting");
    until("it waits", || server.look().waiters("jobs") == 1);
    holder.kill();
    waiter.kill();
    // The lease of 500 ms, its grace, and the 3 s for which a dead waiter keeps its place.
    until("the waiter is over", || {
        let before = locks.cleanup().unwrap();
        assert_eq!(before.locks, 0, "it was used a moment ago");
        before.waiters == 1
    });
    assert_eq!(server.look().keys(), [lock_key("jobs")], "the queue is gone");
    server.look().age("jobs");
    let swept = locks.cleanup().unwrap();
    assert_eq!((swept.locks, swept.waiters), (1, 0));
    assert!(swept.marks >= 1, "{swept:?}");
    assert_eq!(server.look().keys(), [""; 0]);
    assert_eq!(locks.cleanup().unwrap(), warded::Swept::default());
    assert!(server.lock("jobs").lock().unwrap().fence() > fence, "fences go on");
}

#[test]
fn holders_and_waiters_survive_a_cleanup() {
    let server = Server::start();
    let locks = LockManager::redis(server.client()).unwrap();
    let lock = server.builder("jobs").ttl(60_000 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    let fence = held.fence();
    let waiting = thread::spawn({
        let other = server.builder("jobs").waiter_ttl(60_000 * MS).build().unwrap();
        move || other.lock().unwrap()
    });
    until("it waits", || server.look().waiters("jobs") == 1);
    server.look().age("jobs");
    let swept = locks.cleanup().unwrap();
    assert_eq!((swept.locks, swept.waiters), (0, 0));
    assert!(held.is_valid() && lock.info().unwrap().owner.is_some());
    held.extend(1_000 * MS).unwrap();
    assert_eq!(server.look().waiters("jobs"), 1);
    held.release().unwrap();
    let next = waiting.join().unwrap();
    assert!(next.fence() > fence);
    next.release().unwrap();
}

/// A holder whose lock was swept after its lease is told that the lease ran out, not that somebody
/// deleted the lock.
#[test]
fn a_swept_lock_had_expired() {
    let server = Server::start();
    let locks = LockManager::redis(server.client()).unwrap();
    let held = server.builder("jobs").ttl(100 * MS).build().unwrap().lock().unwrap();
    until("its lease is over", || !server.lock("jobs").locked().unwrap());
    server.look().age("jobs");
    assert_eq!(locks.cleanup().unwrap().locks, 1);
    assert!(matches!(held.release(), Err(RedisError::Lost { loss: Loss::Expired })));
}

/// Only what is of the manager's prefix and group.
#[test]
fn a_cleanup_keeps_to_its_prefix_and_group() {
    let server = Server::start();
    let leave = |prefix: &str, group: Option<&str>, name: &str| {
        let lock = server.builder(name).prefix(prefix);
        let lock = if let Some(group) = group { lock.group(group) } else { lock };
        lock.build().unwrap().lock().unwrap().release().unwrap();
    };
    let strange = "a*[b]?\\-^:{%}";
    let groups = [None, Some("jobs"), Some("job*"), Some(strange)];
    for prefix in ["warded", "w*"] {
        for group in groups {
            leave(prefix, group, "jobs");
            leave(prefix, group, strange);
        }
    }
    let mut look = server.look();
    look.run("SET warded:l:stranger {x}");
    let keys = look.keys();
    assert_eq!(keys.len(), 17);
    for key in keys.iter().filter(|key| !key.contains("stranger")) {
        redis::cmd("EVAL").arg(AGE).arg(1).arg(key).exec(&mut look.0).unwrap();
    }
    for prefix in ["w*", "warded"] {
        for group in groups {
            let locks = LockManager::builder().redis(server.client()).prefix(prefix);
            let locks = if let Some(group) = group { locks.group(group) } else { locks };
            let before = look.keys().len();
            let locks = locks.build().unwrap();
            let swept = pollster::block_on(locks.cleanup_async()).unwrap();
            assert_eq!(swept.locks, 2, "{prefix} {group:?}");
            assert_eq!(look.keys().len(), before - 2);
        }
    }
    assert_eq!(look.keys(), ["warded:l:stranger"]);
}

/// More keys than one SCAN looks at, with those of others among them.
#[test]
fn a_cleanup_finds_what_lies_among_many_keys() {
    let server = Server::start();
    let mut look = server.look();
    let fill = "for i = 1, 5000 do redis.call('SET', 'key' .. i, i) end";
    redis::cmd("EVAL").arg(fill).arg(0).exec(&mut look.0).unwrap();
    let source = server.source();
    for number in 0..300 {
        let name = format!("job {number}");
        let lock = RedisLock::new(&name, source.clone()).unwrap();
        lock.lock().unwrap().release().unwrap();
        look.age(&name);
    }
    let locks = LockManager::builder().redis(source).build().unwrap();
    assert_eq!(locks.cleanup().unwrap().locks, 300);
    assert_eq!(look.keys().len(), 5_000);
}
