//! What taking five names at once in Redis costs, as a multiple of taking one: on loopback and over
//! a link with a delay. Both in turn in one run; medians.
//!
//! Starts a server of its own: `redis-server`, or what WARDED_REDIS_SERVER names. A figure that
//! misses its target ends the run with an error.

#[cfg(any(loom, not(feature = "redis")))]
fn main() {}

#[cfg(all(not(loom), feature = "redis"))]
fn main() -> std::process::ExitCode {
    bench::main()
}

#[cfg(all(not(loom), feature = "redis"))]
mod bench {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use redis::Client;
    use warded::{BaseLock, LockManager, Wait};

    const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];

    pub fn main() -> ExitCode {
        let server = Server::start();
        println!(
            "| acquire, median | one name | five names | ratio | aim |\n|---|---|---|---|---|"
        );
        let loopback = measure("loopback", &client(server.port), 3_000, 2.0);
        let slow = client(delayed(server.port, Duration::from_micros(500)));
        let delayed = measure("1 ms of delay", &slow, 600, 1.3);
        if loopback && delayed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Whether five cost at most `aim` times as much as one.
    fn measure(link: &str, client: &Client, rounds: usize, aim: f64) -> bool {
        let locks = LockManager::redis(client.clone()).unwrap();
        let single = locks.get_lock("single").unwrap();
        let (mut one, mut five) = (Vec::new(), Vec::new());
        for round in 0..rounds + 100 {
            if round == 100 {
                one.clear();
                five.clear();
            }
            timed(&mut one, || assert!(single.acquire(Wait::Never).unwrap()));
            single.release().unwrap();
            timed(&mut five, || assert!(locks.acquire_all(&NAMES, Wait::Never).unwrap()));
            locks.release_all(&NAMES).unwrap();
        }
        let (one, five) = (median(one), median(five));
        let ratio = five.as_secs_f64() / one.as_secs_f64();
        println!("| {link} | {one:.1?} | {five:.1?} | {ratio:.2} | {aim} |");
        ratio <= aim
    }

    fn timed(times: &mut Vec<Duration>, what: impl FnOnce()) {
        let began = Instant::now();
        what();
        times.push(began.elapsed());
    }

    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort_unstable();
        times[times.len() / 2]
    }

    struct Server {
        child: Child,
        port: u16,
    }

    impl Server {
        fn start() -> Self {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let program = std::env::var("WARDED_REDIS_SERVER").unwrap_or("redis-server".to_owned());
            let child = Command::new(program)
                .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server, or WARDED_REDIS_SERVER, can be started");
            while client(port).get_connection().is_err() {
                thread::sleep(Duration::from_millis(10));
            }
            Self { child, port }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn client(port: u16) -> Client {
        Client::open(format!("redis://127.0.0.1:{port}")).unwrap()
    }

    /// A port from which everything goes to `target` and back, each piece so much later.
    fn delayed(target: u16, delay: Duration) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) =
                    (near.unwrap(), TcpStream::connect(("127.0.0.1", target)).unwrap());
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let ways = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
                for (mut from, mut to) in ways {
                    thread::spawn(move || {
                        let mut buffer = [0; 65536];
                        while let Ok(length @ 1..) = from.read(&mut buffer) {
                            thread::sleep(delay);
                            if to.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        port
    }
}
