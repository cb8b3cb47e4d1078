//! Servers of one's own: a container or a process each, gone when the test is, also when it panics.
//!
//! Containers are made with testcontainers, of the image that WARDED_REDIS_IMAGE names, else of
//! [`IMAGE`]. WARDED_REDIS_SERVER names a program to be run as a process instead. If neither is set
//! and a container of the image cannot be had, the tests say so and run redis-server as a process.
//! One of them must be there: these tests are never skipped.
//!
//! A container's ports are published on 127.0.0.1, under the numbers that it listens at inside. So
//! servers that share one network ([`Network`]) see one another at the same addresses as the tests
//! see them: a Sentinel and the nodes of a cluster need no settings for that.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use redis::{Client, Connection};
use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt, TestcontainersError,
};
use tokio::runtime::Runtime;
use warded::{RedisLock, RedisLockBuilder, RedisSource};

use super::process::signal;

/// What servers are made of where there is Docker, and nothing else is asked for. It speaks TLS.
const IMAGE: &str = "redis:7.0";

/// How servers are run.
enum How {
    /// As containers of this image.
    Container(String),
    /// As processes of this program.
    Process(String),
}

impl How {
    /// The same for all servers.
    fn chosen() -> &'static Self {
        static CHOSEN: LazyLock<How> = LazyLock::new(How::choose);
        &CHOSEN
    }

    fn choose() -> Self {
        if let Ok(image) = env::var("WARDED_REDIS_IMAGE") {
            return Self::Container(image);
        }
        if let Ok(program) = env::var("WARDED_REDIS_SERVER") {
            return Self::Process(program);
        }
        match Container::start(Container::idle(IMAGE, &[])) {
            Ok(_) => Self::Container(IMAGE.to_owned()),
            Err(why) => {
                // Past the test's own output, which nobody sees if it passes.
                let _ = writeln!(
                    io::stderr(),
                    "No container of {IMAGE} ({why}): Redis servers are processes of redis-server."
                );
                Self::Process("redis-server".to_owned())
            }
        }
    }
}

/// A container that is removed when it is dropped, and on signals that end the tests.
struct Container(Option<ContainerAsync<GenericImage>>);

/// Where Docker is talked to.
static DOCKER: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().unwrap()
});

impl Container {
    fn start(request: ContainerRequest<GenericImage>) -> Result<Self, TestcontainersError> {
        DOCKER.block_on(request.start()).map(|container| Self(Some(container)))
    }

    fn of(image: &str) -> GenericImage {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        GenericImage::new(name, tag).with_entrypoint("redis-server")
    }

    /// One that does nothing at these ports, so that others can share its network.
    fn idle(image: &str, ports: &[u16]) -> ContainerRequest<GenericImage> {
        published(Self::of(image), ports).with_cmd(["--port", "0", "--unixsocket", "/tmp/idle"])
    }

    fn get(&self) -> &ContainerAsync<GenericImage> {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let container = self.0.take();
        DOCKER.block_on(async { drop(container) });
    }
}

/// Has these ports be reached from this machine, and from no other.
fn published(mut container: GenericImage, ports: &[u16]) -> ContainerRequest<GenericImage> {
    for port in ports {
        container = container.with_exposed_port(port.tcp());
    }
    let here = |port: &u16| {
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some(port.to_string()),
        };
        (port.tcp().to_string(), Some(vec![binding]))
    };
    let bindings: Vec<_> = ports.iter().map(here).collect();
    container.with_host_config_modifier(move |config| {
        config.publish_all_ports = Some(false);
        config.port_bindings = Some(bindings.iter().cloned().collect());
    })
}

/// Where several servers are to see one another.
pub struct Network {
    ports: Vec<u16>,
    /// Whose network the containers share.
    shared: Option<Arc<Container>>,
}

impl Network {
    /// For so many servers at most.
    pub fn of(servers: usize) -> Self {
        let ports = free_ports(servers);
        let shared = match How::chosen() {
            How::Process(_) => None,
            How::Container(image) => {
                Some(Arc::new(Container::start(Container::idle(image, &ports)).unwrap()))
            }
        };
        Self { ports, shared }
    }

    /// A server in it.
    pub fn server(&mut self, args: &[&str]) -> Server {
        let mut server = self.prepare();
        server.add(args);
        server.run();
        server
    }

    /// A Sentinel in it with these settings, which it writes to, too.
    pub fn sentinel(&mut self, settings: &str) -> Server {
        let mut server = self.prepare();
        let conf = server.dir.join("sentinel.conf");
        fs::write(&conf, settings).unwrap();
        server.args = vec![conf.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        server.args.extend(server.address());
        server.spawn(server.args.clone());
        server
    }

    fn prepare(&mut self) -> Server {
        let port = self.ports.pop().expect("the network is for as many servers as it was made for");
        let mut server = Server::prepare_at(port);
        server.network.clone_from(&self.shared);
        server
    }
}

/// A running server.
pub struct Server {
    port: u16,
    /// Other ports that it is reached at.
    more_ports: Vec<u16>,
    args: Vec<String>,
    dir: PathBuf,
    network: Option<Arc<Container>>,
    running: Option<Running>,
}

enum Running {
    Process(Child),
    Container(Box<Container>),
}

impl Server {
    /// A server that saves nothing.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A server with more settings, as on its command line.
    pub fn with(args: &[&str]) -> Self {
        let mut server = Self::prepare();
        server.add(args);
        server.run();
        server
    }

    /// A server that does not run yet.
    pub fn prepare() -> Self {
        Self::prepare_at(free_port())
    }

    fn prepare_at(port: u16) -> Self {
        let (more_ports, args) = (Vec::new(), Vec::new());
        Self { port, more_ports, args, dir: new_dir(), network: None, running: None }
    }

    pub fn add(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
    }

    /// One more port that it can be reached at.
    pub fn add_port(&mut self) -> u16 {
        let port = free_port();
        self.more_ports.push(port);
        port
    }

    /// Where it listens: a container everywhere, since what is published arrives from outside.
    fn address(&self) -> Vec<String> {
        let address = match How::chosen() {
            How::Process(_) => "127.0.0.1",
            How::Container(_) => "0.0.0.0",
        };
        let port = self.port.to_string();
        ["--bind", address, "--protected-mode", "no", "--port", &port].map(str::to_owned).into()
    }

    /// Starts it at its old port, with what it has on disk.
    pub fn run(&mut self) {
        let dir = self.dir.to_str().unwrap();
        let mut args = self.address();
        args.extend(["--save", "", "--appendonly", "no", "--dir", dir].map(str::to_owned));
        args.extend(self.args.iter().cloned());
        self.spawn(args);
    }

    fn spawn(&mut self, args: Vec<String>) {
        self.running = Some(match How::chosen() {
            How::Process(program) => Running::Process(spawn(program, &args)),
            How::Container(image) => {
                let request = self.container(image, args.clone());
                let container = Container::start(request).unwrap_or_else(|error| {
                    panic!("no container of {image} can be started: {error}")
                });
                Running::Container(Box::new(container))
            }
        });
        let began = Instant::now();
        while self.try_connect().is_none() {
            if let Some(why) = self.has_ended() {
                panic!("the server with {args:?} has ended: {why}");
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{args:?}: no answer");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn container(&self, image: &str, args: Vec<String>) -> ContainerRequest<GenericImage> {
        let request = match &self.network {
            Some(shared) => {
                let network = format!("container:{}", shared.get().id());
                Container::of(image).with_network(network)
            }
            None => {
                let ports: Vec<u16> = [self.port].iter().chain(&self.more_ports).copied().collect();
                published(Container::of(image), &ports)
            }
        };
        // What it writes is to belong to whoever runs the tests.
        let owner = fs::metadata(&self.dir).unwrap();
        let dir = self.dir.to_str().unwrap();
        request
            .with_cmd(args)
            .with_user(format!("{}:{}", owner.uid(), owner.gid()))
            .with_mount(Mount::bind_mount(dir, dir))
    }

    /// Why it does not run any more, if it does not.
    fn has_ended(&mut self) -> Option<String> {
        match self.running.as_mut()? {
            Running::Process(child) => child.try_wait().unwrap().map(|status| status.to_string()),
            Running::Container(container) => DOCKER.block_on(async {
                let container = container.get();
                if container.is_running().await.unwrap() {
                    return None;
                }
                let said = container.stdout_to_vec().await.unwrap();
                Some(String::from_utf8_lossy(&said).into_owned())
            }),
        }
    }

    /// Kills it, without any warning.
    pub fn kill(&mut self) {
        match self.running.take() {
            Some(Running::Process(mut child)) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Some(Running::Container(container)) => drop(container),
            None => {}
        }
    }

    /// Has it do nothing, with its connections open.
    pub fn pause(&self) {
        match self.running.as_ref().unwrap() {
            Running::Process(child) => signal(child.id(), "STOP"),
            Running::Container(container) => DOCKER.block_on(container.get().pause()).unwrap(),
        }
    }

    /// Has it go on.
    pub fn resume(&self) {
        match self.running.as_ref().unwrap() {
            Running::Process(child) => signal(child.id(), "CONT"),
            Running::Container(container) => DOCKER.block_on(container.get().unpause()).unwrap(),
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

fn spawn(program: &str, args: &[String]) -> Child {
    Command::new(program).args(args).stdout(Stdio::null()).spawn().unwrap_or_else(|error| {
        panic!(
            "these tests need a Redis server, and {program:?} cannot be started ({error}); install \
             redis-server or Docker, or name a program in WARDED_REDIS_SERVER, or an image in \
             WARDED_REDIS_IMAGE"
        )
    })
}

pub fn client(port: u16) -> Client {
    Client::open(format!("redis://127.0.0.1:{port}")).unwrap()
}

pub fn free_port() -> u16 {
    free_ports(1)[0]
}

/// Ports of which those that are as much higher as a cluster's bus wants to be are free, too. None is
/// given twice: a server takes a moment until it listens.
fn free_ports(count: usize) -> Vec<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let listen = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    let try_one = |_| {
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let bus = listen(port.checked_add(10_000)?)?;
        Some((port, listener, bus))
    };
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_new = |found: &(u16, TcpListener, TcpListener)| given.insert(found.0);
    // All are bound until the last one is found, so that none is found twice.
    let found: Vec<_> = (0..1_000).filter_map(try_one).filter(is_new).take(count).collect();
    assert_eq!(found.len(), count, "so many ports are not free");
    found.iter().map(|(port, ..)| *port).collect()
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
