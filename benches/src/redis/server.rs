//! The server that all measurements of a lock in Redis share, and the ways to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use redis::{Client, Connection};

/// A server of our own, which ends with this.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts `redis-server`, or what WARDED_REDIS_SERVER names.
    pub fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let program = env::var("WARDED_REDIS_SERVER").unwrap_or("redis-server".to_owned());
        let child = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {program}; WARDED_REDIS_SERVER names another"))?;
        let server = Self { child, port };
        let began = Instant::now();
        while client(port).get_connection().is_err() {
            ensure!(began.elapsed() < Duration::from_secs(10), "{program} does not answer");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// The direct way to it.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the server at this port.
pub fn client(port: u16) -> Client {
    Client::open(url(port)).expect("the address is one")
}

/// The address of the server at this port.
pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Has the server count its commands from zero.
pub fn reset(connection: &mut Connection) {
    redis::cmd("CONFIG").arg("RESETSTAT").exec(connection).expect("the server runs");
}

/// What the server has counted of a command since then: `calls`, or `usec`.
pub fn stat(connection: &mut Connection, command: &str, what: &str) -> f64 {
    let info = redis::cmd("INFO").arg("commandstats").query::<String>(connection);
    let info = info.expect("the server runs");
    let line = info.lines().find_map(|line| {
        let (name, counts) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        (name == command).then_some(counts)
    });
    let field = line.and_then(|counts| {
        counts.split(',').find_map(|field| field.strip_prefix(what)?.strip_prefix('='))
    });
    field.map_or(0.0, |count| count.parse().expect("it is a number"))
}

/// A port from which everything goes to `target` and back, each piece so much later.
pub fn delayed(target: u16, delay: Duration) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near.expect("a connection that was made is accepted");
            let far = TcpStream::connect(("127.0.0.1", target)).expect("the server runs");
            for (from, to) in [(&near, &far), (&far, &near)] {
                from.set_nodelay(true).expect("it is a TCP connection");
                let clone = |end: &TcpStream| end.try_clone().expect("there are descriptors left");
                let (from, to) = (clone(from), clone(to));
                thread::spawn(move || pass_on(from, to, delay));
            }
        }
    });
    Ok(port)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    sleep_exactly();
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        thread::sleep(delay);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}

/// Linux lets this thread sleep 50 µs longer than it asked for, unless told otherwise.
fn sleep_exactly() {
    if let Ok(path) = fs::read_link("/proc/thread-self")
        && let Some(thread) = path.file_name()
    {
        let slack = std::path::Path::new("/proc").join(thread).join("timerslack_ns");
        let _ = fs::write(slack, "1000");
    }
}
