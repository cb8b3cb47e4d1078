//! Servers of one's own: a process or a container each, gone when the test is.
//!
//! WARDED_REDIS_IMAGE names a Docker image to run them from. Without it they are processes, of the
//! program that WARDED_REDIS_SERVER names, or of redis-server. One of them must be there: these
//! tests are never skipped.
//!
//! Containers use the network of the host, so that a Sentinel, a cluster and the tests all see a
//! server at the same address, on the loopback interface.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use redis::{Client, Connection};
use warded::{RedisLock, RedisLockBuilder, RedisSource};

use super::process::signal;

/// A running server.
pub struct Server {
    port: u16,
    args: Vec<String>,
    dir: PathBuf,
    /// The program, or what runs the container in the foreground.
    child: Option<Child>,
}

impl Server {
    /// A server that saves nothing.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A server with more settings, as on its command line.
    pub fn with(args: &[&str]) -> Self {
        Self::at(free_port(), args)
    }

    /// A server at this port.
    pub fn at(port: u16, args: &[&str]) -> Self {
        let mut server = Self::prepare(port);
        server.add(args);
        server.run();
        server
    }

    /// A server that does not run yet.
    pub fn prepare(port: u16) -> Self {
        Self { port, args: Vec::new(), dir: new_dir(), child: None }
    }

    pub fn add(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
    }

    /// A Sentinel with these settings, which it writes to, too.
    pub fn sentinel(settings: &str) -> Self {
        let mut server = Self::prepare(free_port());
        let conf = server.dir.join("sentinel.conf");
        fs::write(&conf, settings).unwrap();
        let port = server.port.to_string();
        let mut command = program(&server.dir);
        command.arg(conf).args(["--sentinel", "--bind", "127.0.0.1", "--port", &port]);
        server.spawn(command);
        server
    }

    /// Starts it at its old port, with what it has on disk.
    pub fn run(&mut self) {
        let port = self.port.to_string();
        let mut command = program(&self.dir);
        command
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
            .args(["--dir".as_ref(), self.dir.as_os_str()])
            .args(&self.args);
        self.spawn(command);
    }

    fn spawn(&mut self, mut command: Command) {
        let child = command.stdout(Stdio::null()).spawn().unwrap_or_else(|error| {
            panic!(
                "these tests need a Redis server, and {:?} cannot be started ({error}); install \
                 redis-server, or name another in WARDED_REDIS_SERVER, or an image in \
                 WARDED_REDIS_IMAGE",
                command.get_program()
            )
        });
        self.child = Some(child);
        let began = Instant::now();
        while self.try_connect().is_none() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} has ended: {ended:?}");
            assert!(began.elapsed() < Duration::from_secs(20), "{command:?} does not answer");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            match image() {
                Some(_) => docker(&["kill", &container(&self.dir)]),
                None => child.kill().unwrap(),
            }
            child.wait().unwrap();
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        match image() {
            Some(_) => docker(&["kill", "--signal", name, &container(&self.dir)]),
            None => signal(self.child.as_ref().unwrap().id(), name),
        }
    }

    /// A directory of its own, which it sees at the same path.
    pub fn dir(&self) -> &Path {
        &self.dir
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

fn new_dir() -> PathBuf {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let dir = env::temp_dir().join(format!("warded-{}-{number}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn image() -> Option<String> {
    env::var("WARDED_REDIS_IMAGE").ok()
}

/// What starts a server that works in this directory.
fn program(dir: &Path) -> Command {
    let Some(image) = image() else {
        let named = env::var("WARDED_REDIS_SERVER");
        return Command::new(named.unwrap_or("redis-server".to_owned()));
    };
    let mut command = Command::new("docker");
    let dir_in_both = format!("{0}:{0}", dir.display());
    command.args(["run", "--rm", "--network", "host", "--name", &container(dir)]).args([
        "--volume",
        &dir_in_both,
        "--entrypoint",
        "redis-server",
        &image,
    ]);
    command
}

/// The name of the container that works in this directory.
fn container(dir: &Path) -> String {
    dir.file_name().unwrap().to_str().unwrap().to_owned()
}

fn docker(args: &[&str]) {
    let done = Command::new("docker").args(args).stdout(Stdio::null()).status().unwrap();
    assert!(done.success(), "docker {args:?}");
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
