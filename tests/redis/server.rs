//! Servers of one's own: a process each, gone when the test is.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use redis::{Client, Connection};
use warded::{RedisLock, RedisLockBuilder, RedisSource};

/// A running server.
pub struct Server {
    port: u16,
    args: Vec<String>,
    dir: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// A server that saves nothing.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A server with more settings, as on its command line. Which server that is can be said by
    /// WARDED_REDIS_SERVER; it must exist: these tests are never skipped.
    pub fn with(args: &[&str]) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("warded-{}-{number}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut server = Self { port: free_port(), args, dir, child: None };
        server.run();
        server
    }

    /// A Sentinel with these settings, which it writes to, too.
    pub fn sentinel(conf: &Path) -> Self {
        let dir = env::temp_dir().join(format!("warded-{}-sentinel", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut server = Self { port: free_port(), args: Vec::new(), dir, child: None };
        let port = server.port.to_string();
        let mut command = Command::new(program());
        command.arg(conf).args(["--sentinel", "--bind", "127.0.0.1", "--port", &port]);
        server.spawn(&mut command);
        server
    }

    /// Starts it at its old port, with what it has on disk.
    pub fn run(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new(program());
        command
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
            .args(["--dir".as_ref(), self.dir.as_os_str()])
            .args(&self.args);
        self.spawn(&mut command);
    }

    fn spawn(&mut self, command: &mut Command) {
        let child = command.stdout(Stdio::null()).spawn().unwrap_or_else(|error| {
            panic!(
                "these tests need a Redis server, and {:?} cannot be started ({error}); install \
                 redis-server, or name one in WARDED_REDIS_SERVER",
                program()
            )
        });
        self.child = Some(child);
        let began = Instant::now();
        while self.try_connect().is_none() {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?} does not answer", program());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn client(&self) -> Client {
        client(self.port)
    }

    pub fn source(&self) -> RedisSource {
        RedisSource::from(self.client())
    }

    /// A lock with a source of its own.
    pub fn lock(&self, name: &str) -> RedisLock {
        RedisLock::new(name, self.client()).unwrap()
    }

    /// Options of a lock with a source of its own.
    pub fn builder(&self, name: &str) -> RedisLockBuilder {
        RedisLock::builder(name, self.client())
    }

    fn try_connect(&self) -> Option<Connection> {
        let mut connection = self.client().get_connection().ok()?;
        let answer = redis::cmd("PING").exec(&mut connection);
        // A server that wants a login answers, too.
        (answer.is_ok() || answer.is_err_and(|error| !error.is_io_error())).then_some(connection)
    }

    /// A look at what the server has.
    pub fn look(&self) -> Look {
        Look(self.client().get_connection().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn program() -> String {
    env::var("WARDED_REDIS_SERVER").unwrap_or("redis-server".to_owned())
}

pub fn client(port: u16) -> Client {
    Client::open(format!("redis://127.0.0.1:{port}")).unwrap()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A connection beside the locks'.
pub struct Look(pub Connection);

impl Look {
    pub fn run(&mut self, command: &str) -> redis::Value {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            cmd.arg(word);
        });
        cmd.query(&mut self.0).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// A field of the lock's hash.
    pub fn field(&mut self, name: &str, field: &str) -> Option<String> {
        redis::cmd("HGET").arg(lock_key(name)).arg(field).query(&mut self.0).unwrap()
    }

    pub fn token(&mut self, name: &str) -> Option<String> {
        self.field(name, "x").filter(|end| end != "0").and_then(|_| self.field(name, "t"))
    }

    pub fn fence(&mut self, name: &str) -> u64 {
        self.field(name, "n").map_or(0, |fence| fence.parse().unwrap())
    }

    pub fn waiters(&mut self, name: &str) -> usize {
        redis::cmd("ZCARD").arg(format!("warded:q:{{{name}}}")).query(&mut self.0).unwrap()
    }

    /// How often a command was called, also by scripts.
    pub fn calls(&mut self, command: &str) -> u64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut self.0).unwrap();
        let begin = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(begin.as_str()));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }
}

pub fn lock_key(name: &str) -> String {
    format!("warded:l:{{{name}}}")
}

/// Waits until it is so; says what did not come when it takes too long.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited 20 s for this: {what}");
        thread::sleep(Duration::from_millis(2));
    }
    began.elapsed()
}
