//! Which servers there are: protocols, Sentinel, and what a preflight says about them.

use std::time::{Duration, Instant};

use redis::sentinel::{SentinelClient, SentinelServerType};
use warded::{Loss, RedisError, RedisLock, RedisSource};

use super::proxy::Proxy;
use super::server::{Network, Server, until};

const MS: Duration = Duration::from_millis(1);

#[test]
fn resp3_does_all_that_resp2_does() {
    let server = Server::start();
    let url = format!("redis://127.0.0.1:{}/?protocol=resp3", server.port());
    let lock = RedisLock::new("jobs", redis::Client::open(url).unwrap()).unwrap();
    let held = lock.lock().unwrap();
    assert!(lock.info().unwrap().owner.is_some());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().unwrap().release().unwrap());
        until("it waits", || server.look().waiters("jobs") == 1);
        held.extend(MS).unwrap();
        held.release().unwrap();
        waiter.join().unwrap();
    });
    lock.source().preflight().unwrap();
}

#[test]
fn another_database_is_another_lock() {
    let server = Server::start();
    let url = format!("redis://127.0.0.1:{}/3", server.port());
    let there = RedisLock::new("jobs", redis::Client::open(url).unwrap()).unwrap();
    let _held = there.lock().unwrap();
    assert!(server.lock("jobs").try_lock().unwrap().is_some());
}

#[test]
fn a_preflight_says_what_is_to_be_known() {
    let server = Server::start();
    let preflight = server.source().preflight().unwrap();
    assert!(["Redis", "Valkey"].contains(&preflight.kind.as_str()), "{preflight:?}");
    assert!(preflight.version.contains('.'), "{preflight:?}");
    assert!(preflight.eviction.is_none() && !preflight.aof && preflight.replicas == 0);
    assert!(preflight.clock_offset_ms.abs() < 5_000, "{preflight:?}");
    assert!(preflight.to_string().contains("after a restart every lock is free"));
    server.look().run("CONFIG SET maxmemory 1gb");
    server.look().run("CONFIG SET maxmemory-policy allkeys-lru");
    let preflight = server.source().preflight().unwrap();
    assert_eq!(preflight.eviction.as_deref(), Some("allkeys-lru"));
    assert!(preflight.to_string().contains("Use noeviction"));
}

#[test]
fn a_preflight_refuses_a_replica() {
    let mut network = Network::of(2);
    let master = network.server(&[]);
    let replica = network.server(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    until("it follows", || server_role(&replica).contains("master_link_status:up"));
    let source = RedisSource::builder(replica.client()).patience(300 * MS).build().unwrap();
    let refused = source.preflight();
    assert!(matches!(refused, Err(RedisError::ReadOnly(_))), "{refused:?}");
}

fn server_role(server: &Server) -> String {
    redis::cmd("INFO").arg("replication").query(&mut server.look().0).unwrap()
}

/// The new master knows the holder before this one, and that is nobody who came since.
#[test]
fn failure_14_a_failover_that_lost_the_last_grant_is_told_apart_from_a_successor() {
    let mut network = Network::of(2);
    let master = network.server(&[]);
    let replica = network.server(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    until("it follows", || server_role(&replica).contains("master_link_status:up"));
    let before = master.lock("jobs").lock().unwrap();
    until("the grant is copied", || replica.look().fence("jobs") == before.fence());
    replica.look().run("REPLICAOF NO ONE");
    before.release().unwrap();
    let proxy = Proxy::to(master.port());
    let held = RedisLock::new("jobs", proxy.client()).unwrap().lock().unwrap();
    proxy.turn_to(replica.port());
    proxy.cut();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(held.lost()), Loss::Deleted);
    let over = held.release();
    assert!(matches!(over, Err(RedisError::Lost { loss: Loss::Deleted })), "{over:?}");
}

/// 14, with a real failover: the master dies, Sentinel makes the replica the master, and the locks
/// follow.
#[test]
fn failure_14_a_failover_by_sentinel_is_followed() {
    let mut network = Network::of(3);
    let mut master = network.server(&[]);
    let replica = network.server(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    until("it follows", || server_role(&replica).contains("master_link_status:up"));
    let settings = format!(
        "sentinel monitor locks 127.0.0.1 {} 1\nsentinel down-after-milliseconds locks 300\n\
         sentinel failover-timeout locks 3000\n",
        master.port()
    );
    let sentinel = network.sentinel(&settings);
    let knows = || {
        let text: String =
            redis::cmd("INFO").arg("sentinel").query(&mut sentinel.look().0).unwrap();
        text.contains("slaves=1") && text.contains("status=ok")
    };
    until("Sentinel knows the replica", knows);
    let url = format!("redis://127.0.0.1:{}", sentinel.port());
    let client =
        SentinelClient::build(vec![url], String::from("locks"), None, SentinelServerType::Master);
    let source = RedisSource::builder(client.unwrap())
        .patience(Duration::from_secs(15))
        .answer_timeout(300 * MS)
        .build()
        .unwrap();
    let lock = RedisLock::new("jobs", source).unwrap();
    let first = lock.lock().unwrap();
    let fence = first.fence();
    first.release().unwrap();
    master.kill();
    let began = Instant::now();
    let held = lock.lock().unwrap();
    println!("a lock on the new master {:?} after the old one's death", began.elapsed());
    assert!(held.fence() > fence);
    assert!(replica.look().token("jobs").is_some());
    held.release().unwrap();
}
