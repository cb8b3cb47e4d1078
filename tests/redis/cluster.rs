//! Clusters: names on several servers, slots that move, servers that die.

use std::thread;
use std::time::{Duration, Instant};

use redis::Client;
use warded::{FencedKey, LockManager, RedisError, RedisLock, RedisServer, RedisSource, Wait};

use super::server::{Network, Server, lock_key, until};

const MS: Duration = Duration::from_millis(1);
const SLOTS: u16 = 16_384;

/// Three masters with a third of the slots each.
struct Cluster {
    masters: Vec<Server>,
    network: Network,
}

impl Cluster {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(args: &[&str]) -> Self {
        // Room for a replica, too.
        let mut network = Network::of(4);
        let masters: Vec<Server> = (0..3).map(|_| node(&mut network, args)).collect();
        for (number, master) in masters.iter().enumerate() {
            let (first, last) = (range(number), range(number + 1));
            let mut add = redis::cmd("CLUSTER");
            add.arg("ADDSLOTS").arg((first..last).collect::<Vec<u16>>());
            add.exec(&mut master.look().0).unwrap();
            master.look().run(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
        }
        let cluster = Self { masters, network };
        until("the cluster is whole", || {
            let met = |node: &&Server| has_met(node, &cluster.masters[0], 3);
            cluster.masters.iter().filter(met).count() == 3
        });
        cluster
    }

    /// Has another server follow this master.
    fn add_replica(&mut self, master: usize) -> Server {
        let replica = node(&mut self.network, &[]);
        let master = &self.masters[master];
        let id = id(master);
        until("it has met the masters", || {
            let all = [&replica].into_iter().chain(&self.masters);
            all.filter(|node| has_met(node, master, 4)).count() == 4
        });
        replica.look().run(&format!("CLUSTER REPLICATE {id}"));
        until("it follows", || info(&replica, "INFO").contains("master_link_status:up"));
        // Only a replica that the others know of can be voted for.
        until("all know that", || {
            self.masters.iter().all(|node| info(node, "CLUSTER NODES").contains("slave"))
        });
        replica
    }

    /// Found by the last of its nodes.
    fn server(&self) -> RedisServer {
        RedisServer::cluster([self.masters[2].client()])
    }

    fn source(&self) -> RedisSource {
        RedisSource::builder(self.server())
            .patience(Duration::from_secs(15))
            .answer_timeout(500 * MS)
            .build()
            .unwrap()
    }

    /// Whose slot the name's keys lie in.
    fn owner(&self, name: &str) -> usize {
        let slot = self.slot(name);
        (0..3).find(|number| (range(*number)..range(number + 1)).contains(&slot)).unwrap()
    }

    fn slot(&self, name: &str) -> u16 {
        let mut look = self.masters[0].look();
        redis::cmd("CLUSTER").arg("KEYSLOT").arg(lock_key(name)).query(&mut look.0).unwrap()
    }

    /// A name for each master.
    fn names(&self) -> [String; 3] {
        [0, 1, 2].map(|number| {
            let mut names = (0..).map(|n| format!("job {n}"));
            names.find(|name| self.owner(name) == number).unwrap()
        })
    }
}

fn range(third: usize) -> u16 {
    (usize::from(SLOTS) * third / 3) as u16
}

fn node(network: &mut Network, args: &[&str]) -> Server {
    let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
    network.server(&[&cluster, args].concat())
}

fn id(node: &Server) -> String {
    redis::cmd("CLUSTER").arg("MYID").query(&mut node.look().0).unwrap()
}

fn info(node: &Server, command: &str) -> String {
    redis::from_redis_value(node.look().run(command)).unwrap()
}

/// Whether a node knows all others, and serves its slots. Else it is told of one, again, since it
/// forgets whom it could not reach in time.
fn has_met(node: &Server, other: &Server, nodes: usize) -> bool {
    let said = info(node, "CLUSTER INFO");
    let met = said.contains(&format!("cluster_known_nodes:{nodes}"));
    if !met {
        node.look().run(&format!("CLUSTER MEET 127.0.0.1 {}", other.port()));
        thread::sleep(100 * MS);
    }
    met && said.contains("cluster_state:ok")
}

#[test]
fn a_cluster_does_all_that_one_server_does() {
    let cluster = Cluster::start();
    for protocol in ["", "/?protocol=resp3"] {
        let seed = format!("redis://127.0.0.1:{}{protocol}", cluster.masters[1].port());
        let source = RedisSource::from(RedisServer::cluster([Client::open(seed).unwrap()]));
        for name in cluster.names() {
            let lock = RedisLock::builder(&name, source.clone()).owner("me").build().unwrap();
            let held = lock.lock().unwrap();
            assert!(lock.try_lock().unwrap().is_none());
            assert_eq!(lock.info().unwrap().owner.as_deref(), Some("me"));
            held.extend(1_000 * MS).unwrap();
            let balance = FencedKey::new(format!("balance of {name}"), source.clone());
            assert!(balance.write(held.fence(), "90").unwrap());
            assert!(!balance.write(held.fence() - 1, "80").unwrap());
            assert_eq!(balance.read().unwrap(), Some((held.fence(), b"90".to_vec())));
            let master = &cluster.masters[cluster.owner(&name)];
            assert!(master.look().token(&name).is_some(), "it is held on another server");
            held.release().unwrap();
            assert_eq!(master.look().token(&name), None);
        }
        let preflight = source.preflight().unwrap();
        assert!(preflight.to_string().contains("cluster"), "{preflight}");
        source.flush().unwrap();
    }
}

/// A message is heard wherever the waiter has subscribed.
#[test]
fn waiters_of_a_cluster_are_woken_long_before_they_would_ask_again() {
    let cluster = Cluster::start();
    let (ours, theirs) = (cluster.source(), cluster.source());
    for name in cluster.names() {
        let build = |source: &RedisSource| {
            let lock = RedisLock::builder(&name, source.clone());
            lock.retry_delay(10_000 * MS).waiter_ttl(60_000 * MS).build().unwrap()
        };
        let (ours, theirs) = (build(&ours), build(&theirs));
        let master = &cluster.masters[cluster.owner(&name)];
        for _ in 0..3 {
            let held = ours.lock().unwrap();
            let waiting = thread::spawn({
                let theirs = theirs.clone();
                move || {
                    let held = theirs.lock().unwrap();
                    (Instant::now(), held)
                }
            });
            until("it waits", || master.look().waiters(&name) == 1);
            // Also the first time, when it has yet to subscribe.
            thread::sleep(100 * MS);
            let released = Instant::now();
            held.release().unwrap();
            let (entered, held) = waiting.join().unwrap();
            assert!(entered - released < 4_000 * MS, "{:?}", entered - released);
            held.release().unwrap();
        }
    }
}

/// 15: a slot moves while a lock in it is held and waited for. The holder holds on, also while the
/// keys are on their way; the waiter gets in.
#[test]
fn failure_15_a_slot_moves_while_its_lock_is_held_and_waited_for() {
    let cluster = Cluster::start();
    let (ours, theirs) = (cluster.source(), cluster.source());
    let [name, ..] = cluster.names();
    let (slot, old, new) = (cluster.slot(&name), &cluster.masters[0], &cluster.masters[1]);
    let build = |source: &RedisSource| {
        let lock = RedisLock::builder(&name, source.clone());
        lock.ttl(5_000 * MS).renew(60_000 * MS).build().unwrap()
    };
    let (ours, theirs) = (build(&ours), build(&theirs));
    let held = ours.lock().unwrap();
    let waiting = thread::spawn({
        let theirs = theirs.clone();
        move || theirs.lock().unwrap()
    });
    until("it waits", || old.look().waiters(&name) == 1);

    let (from, to) = (id(old), id(new));
    new.look().run(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}"));
    old.look().run(&format!("CLUSTER SETSLOT {slot} MIGRATING {to}"));
    // On its way: an extension needs one key, which is there or here.
    held.extend(1_000 * MS).unwrap();
    move_keys(old, new, slot);
    held.extend(1_000 * MS).unwrap();
    assert!(new.look_asking(&name), "the lock has moved");
    for node in [new, old, &cluster.masters[2]] {
        node.look().run(&format!("CLUSTER SETSLOT {slot} NODE {to}"));
    }
    assert!(held.is_valid());
    held.extend(1_000 * MS).unwrap();
    let fence = held.fence();
    let released = Instant::now();
    held.release().unwrap();
    let next = waiting.join().unwrap();
    println!("the waiter got in {:?} after the release", released.elapsed());
    assert!(next.fence() > fence);
    assert_eq!(new.look().fence(&name), next.fence());
    next.release().unwrap();
}

/// Moves all keys of a slot.
fn move_keys(from: &Server, to: &Server, slot: u16) {
    loop {
        let mut look = from.look();
        let mut keys = redis::cmd("CLUSTER");
        let keys: Vec<String> =
            keys.arg("GETKEYSINSLOT").arg(slot).arg(100).query(&mut look.0).unwrap();
        if keys.is_empty() {
            return;
        }
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(to.port()).arg("").arg(0).arg(5_000).arg("KEYS").arg(keys);
        migrate.exec(&mut look.0).unwrap();
    }
}

impl Server {
    /// Whether the lock of this name is here, in a slot that is still another's.
    fn look_asking(&self, name: &str) -> bool {
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().cmd("EXISTS").arg(lock_key(name));
        let (there,): (bool,) = both.query(&mut self.look().0).unwrap();
        there
    }
}

/// What needs several keys cannot be done while some of them have moved (TRYAGAIN). It is not
/// "held by another", and it passes.
#[test]
fn failure_15_a_slot_that_is_moving_is_told_apart() {
    let cluster = Cluster::start();
    let [name, ..] = cluster.names();
    let (slot, old, new) = (cluster.slot(&name), &cluster.masters[0], &cluster.masters[1]);
    let patient = RedisLock::new(&name, cluster.source()).unwrap();
    let hasty = RedisSource::builder(cluster.server()).patience(2_000 * MS).build().unwrap();
    let hasty = RedisLock::new(&name, hasty).unwrap();
    patient.lock().unwrap().release().unwrap();
    let (from, to) = (id(old), id(new));
    new.look().run(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}"));
    old.look().run(&format!("CLUSTER SETSLOT {slot} MIGRATING {to}"));
    let refused = hasty.try_lock();
    assert!(matches!(refused, Err(RedisError::Moving(_))), "{refused:?}");
    thread::scope(|scope| {
        let taking = scope.spawn(|| patient.lock().unwrap());
        thread::sleep(300 * MS);
        assert!(!taking.is_finished());
        move_keys(old, new, slot);
        for node in [new, old, &cluster.masters[2]] {
            node.look().run(&format!("CLUSTER SETSLOT {slot} NODE {to}"));
        }
        taking.join().unwrap().release().unwrap();
    });
    hasty.source().flush().unwrap();
    hasty.lock().unwrap().release().unwrap();
}

/// 14, in a cluster: the master dies and its replica takes over. What was copied is held still.
#[test]
fn failure_14_a_failover_in_a_cluster_is_followed() {
    let mut cluster = Cluster::start();
    let [name, ..] = cluster.names();
    let replica = cluster.add_replica(0);
    let lock = RedisLock::builder(&name, cluster.source()).ttl(60_000 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    let key = lock_key(&name);
    until("the lock is copied", || {
        redis::Value::Array(vec![redis::Value::BulkString(key.clone().into())])
            == replica.look().run("KEYS *")
    });
    cluster.masters[0].kill();
    let began = Instant::now();
    held.extend(1_000 * MS).unwrap();
    println!("an extension on the new master {:?} after the old one's death", began.elapsed());
    assert!(held.is_valid());
    let fence = held.fence();
    held.release().unwrap();
    let next = lock.lock().unwrap();
    assert!(next.fence() > fence);
    assert_eq!(replica.look().fence(&name), next.fence());
    next.release().unwrap();
}

/// 12, in a cluster: one server restarts without its data, and who held there is told as soon as
/// there is a connection to it again. Until then the cluster is down.
#[test]
fn failure_12_a_server_of_a_cluster_restarts() {
    let mut cluster = Cluster::start();
    let [name, elsewhere, _] = cluster.names();
    let lock = RedisLock::builder(&name, cluster.source()).ttl(600_000 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    let fence = held.fence();
    let hasty = || RedisSource::builder(cluster.server()).patience(1_500 * MS).build().unwrap();
    let (down, gone) = (hasty(), hasty());
    let there = RedisLock::new(&elsewhere, down).unwrap();
    let here = RedisLock::new(&name, gone).unwrap();
    cluster.masters[0].kill();
    // A cluster that does not serve all slots serves none.
    until("it is down", || matches!(there.try_lock(), Err(RedisError::ClusterDown(_))));
    let refused = here.try_lock();
    assert!(
        matches!(refused, Err(RedisError::Unreachable(_) | RedisError::ClusterDown(_))),
        "{refused:?}"
    );
    assert!(held.is_valid(), "its lease is not over");
    cluster.masters[0].run();
    let began = Instant::now();
    let next = lock.lock().unwrap();
    assert!(next.fence() > fence);
    // Long before the next look at it would be due.
    until("the loss is told", || !held.is_valid());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop(held);
    next.release().unwrap();
    for lock in [there, here] {
        lock.source().flush().unwrap();
    }
}

/// One server hangs. Requests to it are sent again on new connections to it, and those to the others
/// are not touched by that.
#[test]
fn a_server_of_a_cluster_that_hangs_does_not_hold_up_the_others() {
    let cluster = Cluster::with(&["--cluster-node-timeout", "60000"]);
    let [hangs, works, _] = cluster.names();
    let source = RedisSource::builder(cluster.server())
        .patience(Duration::from_secs(30))
        .answer_timeout(4_000 * MS)
        .build()
        .unwrap();
    let build = |name: &str| RedisLock::new(name, source.clone()).unwrap();
    let (hangs, works) = (build(&hangs), build(&works));
    hangs.lock().unwrap().release().unwrap();
    cluster.masters[0].pause();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| hangs.lock().unwrap());
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        // The answer timeout is 4 s, so the connection to the other one is made anew in this time.
        while began.elapsed() < 7_000 * MS {
            let asked = Instant::now();
            works.lock().unwrap().release().unwrap();
            slowest = slowest.max(asked.elapsed());
            thread::sleep(5 * MS);
        }
        println!("the slowest lock and release beside it took {slowest:?}");
        assert!(!waiting.is_finished());
        cluster.masters[0].resume();
        assert!(slowest < 3_500 * MS, "{slowest:?}");
        waiting.join().unwrap().release().unwrap();
    });
}

#[test]
fn one_node_of_a_cluster_is_not_the_cluster() {
    let cluster = Cluster::start();
    let [name, ..] = cluster.names();
    let lock = RedisLock::new(&name, cluster.masters[1].client()).unwrap();
    let began = Instant::now();
    let refused = lock.try_lock();
    assert!(matches!(refused, Err(RedisError::Elsewhere(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("RedisServer::cluster"));
    assert!(began.elapsed() < 4_000 * MS, "it does not get better by waiting");
    let nobody = RedisSource::from(RedisServer::cluster([]));
    let refused = RedisLock::new(&name, nobody).unwrap().try_lock();
    assert!(matches!(refused, Err(RedisError::Option { option: "nodes", .. })), "{refused:?}");
}

/// Every server of it is walked through.
#[test]
fn a_cleanup_reaches_all_servers_of_a_cluster() {
    let cluster = Cluster::start();
    let locks = LockManager::builder().redis(cluster.source()).build().unwrap();
    let names = cluster.names();
    for (name, master) in names.iter().zip(&cluster.masters) {
        RedisLock::new(name, cluster.source()).unwrap().lock().unwrap().release().unwrap();
        master.look().age(name);
    }
    let held = locks.get_lock(&names[1]).unwrap().lock_owned().unwrap();
    assert_eq!(locks.cleanup().unwrap().locks, 2);
    assert!(held.is_valid());
    for master in &cluster.masters {
        let keys: usize = redis::cmd("DBSIZE").query(&mut master.look().0).unwrap();
        assert_eq!(keys, usize::from(master.port() == cluster.masters[1].port()));
    }
}

/// One script reaches one slot: names in several are refused before anything is sent, unless they
/// are in one group, or taken one by one.
#[test]
fn several_names_of_a_cluster_are_taken_within_a_slot_or_one_by_one() {
    let cluster = Cluster::start();
    let names = cluster.names();
    let locks = || LockManager::builder().redis(cluster.source());
    let (apart, group) = (locks().build().unwrap(), locks().group("jobs").build().unwrap());
    let one_by_one = locks().one_by_one().build().unwrap();
    let refused = apart.lock_all(&names, Wait::Forever).unwrap_err();
    assert!(refused.to_string().contains("slot"), "{refused}");
    for locks in [group, one_by_one] {
        let held = locks.lock_all(&names, Wait::Forever).unwrap().unwrap();
        assert!(locks.lock_all(&names, Wait::Never).unwrap().is_none());
        drop(held);
        assert!(locks.lock_all(&names, Wait::Forever).unwrap().is_some());
    }
}
