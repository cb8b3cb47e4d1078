//! 27, and what else a server or a network can say: told apart, and never "held by another".

use std::time::{Duration, Instant};

use warded::{RedisError, RedisLock, RedisSource};

use super::proxy::Proxy;
use super::server::{Network, Server, client, free_port};

const MS: Duration = Duration::from_millis(1);

/// A source that does not wait long.
fn source(client: redis::Client) -> RedisSource {
    RedisSource::builder(client)
        .patience(400 * MS)
        .answer_timeout(100 * MS)
        .connect_timeout(150 * MS)
        .build()
        .unwrap()
}

fn lock(client: redis::Client) -> RedisLock {
    RedisLock::new("jobs", source(client)).unwrap()
}

macro_rules! assert_error {
    ($what:expr, $error:pat) => {
        match $what {
            Err(error) => {
                assert!(matches!(error, $error), "{error:?}");
                assert!(std::error::Error::source(&error).is_some(), "its cause is lost: {error}");
            }
            Ok(_) => panic!("it worked"),
        }
    };
}

#[test]
fn connection_refused() {
    let lock = lock(client(free_port()));
    let began = Instant::now();
    assert_error!(lock.try_lock(), RedisError::Unreachable(_));
    assert!(began.elapsed() < 2_000 * MS);
    assert_error!(lock.lock(), RedisError::Unreachable(_));
    assert_error!(lock.try_lock_for(50 * MS), RedisError::Unreachable(_));
    assert_error!(lock.info(), RedisError::Unreachable(_));
    lock.source().flush().unwrap();
}

#[test]
fn no_answer() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let lock = lock(proxy.client());
    let held = lock.lock().unwrap();
    proxy.partition(true);
    let late = lock.try_lock();
    assert!(matches!(late, Err(RedisError::Timeout { .. })), "{late:?}");
    let unconfirmed = held.release();
    assert!(
        matches!(&unconfirmed, Err(RedisError::Unconfirmed(cause))
        if matches!(**cause, RedisError::Timeout { .. })),
        "{unconfirmed:?}"
    );
    // The release goes on by itself.
    proxy.partition(false);
    lock.source().flush().unwrap();
    assert_eq!(server.look().token("jobs"), None);
}

#[test]
fn authentication() {
    let server = Server::with(&["--requirepass", "secret"]);
    assert_error!(lock(server.client()).try_lock(), RedisError::Auth(_));
    let wrong = format!("redis://:wrong@127.0.0.1:{}", server.port());
    let wrong = redis::Client::open(wrong).unwrap();
    let began = Instant::now();
    assert_error!(lock(wrong).lock(), RedisError::Auth(_));
    assert!(began.elapsed() < 300 * MS, "a wrong password does not get better by waiting");
    let right = format!("redis://:secret@127.0.0.1:{}", server.port());
    lock(redis::Client::open(right).unwrap()).lock().unwrap().release().unwrap();
}

#[test]
fn failure_27_wrong_type() {
    let server = Server::start();
    server.look().run("SET warded:l:{jobs} x");
    let lock = lock(server.client());
    assert_error!(lock.try_lock(), RedisError::WrongType(_));
    assert_error!(lock.lock(), RedisError::WrongType(_));
    assert_error!(lock.info(), RedisError::WrongType(_));
    server.look().run("DEL warded:l:{jobs}");
    lock.lock().unwrap().release().unwrap();
}

#[test]
fn failure_27_out_of_memory_refuses_a_lock_and_not_a_release() {
    let server = Server::start();
    let lock = lock(server.client());
    let held = lock.lock().unwrap();
    server.look().run("CONFIG SET maxmemory 100kb");
    let other = RedisLock::new("other", lock.source().clone()).unwrap();
    assert_error!(other.try_lock(), RedisError::OutOfMemory(_));
    held.extend(1_000 * MS).unwrap();
    held.release().unwrap();
    assert_eq!(server.look().token("jobs"), None);
}

#[test]
fn failure_27_read_only_and_no_replicas() {
    let mut network = Network::of(2);
    let master = network.server(&[]);
    let replica = network.server(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    std::thread::sleep(50 * MS);
    assert_error!(
        lock(replica.client()).try_lock(),
        RedisError::ReadOnly(_) | RedisError::Loading(_)
    );
    let lonely = Server::with(&["--min-replicas-to-write", "1"]);
    assert_error!(lock(lonely.client()).try_lock(), RedisError::NoReplicas(_));
}

#[test]
fn failure_27_loading() {
    // A second of loading: the server answers LOADING meanwhile.
    let mut server = Server::with(&["--key-load-delay", "150", "--rdbcompression", "no"]);
    // The server looks at its clients after every 2 MB only.
    let fill = "local v = string.rep('x', 4000)
        for i = 1, 20000 do redis.call('SET', 'key' .. i, v .. i) end";
    redis::cmd("EVAL").arg(fill).arg(0).exec(&mut server.look().0).unwrap();
    server.look().run("SAVE");
    server.kill();
    server.run();
    let source = RedisSource::builder(server.client()).patience(1_500 * MS).build().unwrap();
    let lock = RedisLock::new("jobs", source).unwrap();
    let mut quick = lock.try_lock();
    // On a busy machine it may read so slowly that it does not even say so in time.
    while let Err(RedisError::Timeout { .. }) = quick {
        quick = lock.try_lock();
    }
    assert_error!(quick, RedisError::Loading(_));
    // Who has patience waits for the server to be ready.
    let patient = RedisSource::builder(server.client()).patience(120_000 * MS).build().unwrap();
    RedisLock::new("jobs", patient).unwrap().lock().unwrap().release().unwrap();
}

#[test]
fn failure_27_no_permission() {
    let server = Server::start();
    let user = |name: &str| {
        redis::Client::open(format!("redis://{name}:pw@127.0.0.1:{}", server.port())).unwrap()
    };
    server.look().run("ACL SETUSER nothing on >pw ~warded:* +@connection +time");
    assert_error!(lock(user("nothing")).try_lock(), RedisError::NoPermission(_));
    server.look().run("ACL SETUSER elsewhere on >pw ~else:* +@all");
    assert_error!(lock(user("elsewhere")).try_lock(), RedisError::NoPermission(_));
    // The least that is needed, as the error says. Without channels it works, by asking again.
    server.look().run(
        "ACL SETUSER least on >pw ~warded:* resetchannels +@connection +@scripting +@hash \
         +@sortedset +time +pexpire +pttl",
    );
    let least = lock(user("least"));
    let held = least.lock().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock(user("least")).lock().unwrap().release().unwrap());
        super::server::until("it waits", || server.look().waiters("jobs") == 1);
        held.release().unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn misconf() {
    let server = Server::start();
    let lock = lock(server.client());
    lock.lock().unwrap().release().unwrap();
    let save = redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 1").to_owned();
    save.exec(&mut server.look().0).unwrap();
    server.look().run("SET some thing");
    // A directory in the file's place: the server cannot save.
    let mut look = server.look();
    let dir: Vec<String> = redis::cmd("CONFIG").arg("GET").arg("dir").query(&mut look.0).unwrap();
    std::fs::create_dir_all(format!("{}/dump.rdb/full", dir[1])).unwrap();
    look.run("BGSAVE");
    super::server::until("saving has failed", || {
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut look.0).unwrap();
        info.contains("rdb_last_bgsave_status:err")
    });
    assert_error!(lock.try_lock(), RedisError::Misconfigured(_));
}

#[test]
fn busy_with_a_script_that_does_not_end() {
    let server = Server::with(&["--lua-time-limit", "20"]);
    let lock = lock(server.client());
    lock.lock().unwrap().release().unwrap();
    let mut other = server.look();
    let endless = std::thread::spawn(move || {
        let script = "while true do end";
        let _: Result<(), _> = redis::cmd("EVAL").arg(script).arg(0).query(&mut other.0);
    });
    std::thread::sleep(100 * MS);
    assert_error!(lock.try_lock(), RedisError::Busy(_));
    server.look().run("SCRIPT KILL");
    endless.join().unwrap();
    lock.lock().unwrap().release().unwrap();
}

#[test]
fn errors_say_what_to_do() {
    let server = Server::start();
    server.look().run("SET warded:l:{jobs} x");
    let text = lock(server.client()).try_lock().unwrap_err().to_string();
    assert!(text.contains("choose another prefix"), "{text}");
}
