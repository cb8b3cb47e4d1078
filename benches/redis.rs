//! What a lock in Redis costs, as ratios to bare commands of the same client crate in the same run:
//! an uncontended pair (acquire and release) on loopback and over a link with a delay, the server's
//! time for it, the way from a release to the next holder, and many locks on one connection.
//!
//! Starts a server of its own: `redis-server`, or what WARDED_REDIS_SERVER names.

#[cfg(any(loom, not(feature = "redis")))]
fn main() {}

#[cfg(all(not(loom), feature = "redis"))]
fn main() {
    bench::main();
}

#[cfg(all(not(loom), feature = "redis"))]
mod bench {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use redis::aio::MultiplexedConnection;
    use redis::{Client, Connection, Script};
    use warded::{RedisLock, RedisSource};

    const COMPARE_AND_DELETE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
        return redis.call('del', KEYS[1]) end return 0";

    pub fn main() {
        let server = Server::start();
        let direct = client(server.port);
        println!("| an uncontended pair, median | bare | warded | ratio |\n|---|---|---|---|");
        pairs("loopback", &direct, 2_000);
        let slow = client(delayed(server.port, Duration::from_micros(100)));
        pairs("0.2 ms of delay", &slow, 1_000);
        server_time(&direct);
        handover("loopback", &direct);
        handover("0.2 ms of delay", &slow);
        many(&direct);
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
                for (mut from, mut to) in
                    [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)]
                {
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

    fn bare(connection: &mut Connection, release: &Script) {
        let set =
            redis::cmd("SET").arg("bare").arg("token").arg("NX").arg("PX").arg(30_000).to_owned();
        set.exec(connection).unwrap();
        release.key("bare").arg("token").invoke::<()>(connection).unwrap();
    }

    async fn bare_async(connection: &mut MultiplexedConnection, key: &str, release: &Script) {
        let set =
            redis::cmd("SET").arg(key).arg("token").arg("NX").arg("PX").arg(30_000).to_owned();
        set.exec_async(connection).await.unwrap();
        release.key(key).arg("token").invoke_async::<()>(connection).await.unwrap();
    }

    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort_unstable();
        times[times.len() / 2]
    }

    fn timed(times: &mut Vec<Duration>, what: impl FnOnce()) {
        let began = Instant::now();
        what();
        times.push(began.elapsed());
    }

    fn row(what: &str, bare: Vec<Duration>, ours: Vec<Duration>) {
        let (bare, ours) = (median(bare), median(ours));
        let ratio = ours.as_secs_f64() / bare.as_secs_f64();
        println!("| {what} | {bare:.1?} | {ours:.1?} | {ratio:.2} |");
    }

    /// One of each in turn, so that both meet the same noise.
    fn pairs(link: &str, client: &Client, rounds: usize) {
        let release = Script::new(COMPARE_AND_DELETE);
        let mut connection = client.get_connection().unwrap();
        let lock = RedisLock::new("pair", client.clone()).unwrap();
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for round in 0..rounds + 100 {
            if round == 100 {
                plain.clear();
                ours.clear();
            }
            timed(&mut plain, || bare(&mut connection, &release));
            timed(&mut ours, || lock.lock().unwrap().release().unwrap());
        }
        row(&format!("{link}, sync"), plain, ours);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        let mut connection = runtime.block_on(client.get_multiplexed_async_connection()).unwrap();
        for _ in 0..rounds {
            timed(&mut plain, || runtime.block_on(bare_async(&mut connection, "bare", &release)));
            timed(&mut ours, || {
                runtime.block_on(async {
                    lock.lock_async().await.unwrap().release_async().await.unwrap();
                });
            });
        }
        row(&format!("{link}, async"), plain, ours);
    }

    fn server_time(client: &Client) {
        let lock = RedisLock::new("server time", client.clone()).unwrap();
        drop(lock.lock().unwrap());
        lock.source().flush().unwrap();
        let mut connection = client.get_connection().unwrap();
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut connection).unwrap();
        for _ in 0..5_000 {
            lock.lock().unwrap().release().unwrap();
        }
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
        let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
        let usec = line.split("usec_per_call=").nth(1).unwrap().split(',').next().unwrap();
        println!("\nserver time of a pair: {:.1} µs", 2.0 * usec.parse::<f64>().unwrap());
    }

    /// From a release in one source to the waiter's having it in another.
    fn handover(link: &str, client: &Client) {
        let mut connection = client.get_connection().unwrap();
        let mut trips = Vec::new();
        for _ in 0..2_000 {
            timed(&mut trips, || redis::cmd("PING").exec(&mut connection).unwrap());
        }
        let (ours, theirs) = (
            RedisLock::new("handover", client.clone()).unwrap(),
            RedisLock::new("handover", client.clone()).unwrap(),
        );
        let (ask, asked) = mpsc::channel();
        let (enter, entered) = mpsc::channel();
        let waiter = thread::spawn(move || {
            while asked.recv().is_ok() {
                let held = theirs.lock().unwrap();
                enter.send(Instant::now()).unwrap();
                held.release().unwrap();
            }
        });
        let mut times = Vec::new();
        for _ in 0..200 {
            let held = ours.lock().unwrap();
            ask.send(()).unwrap();
            thread::sleep(Duration::from_millis(5));
            let began = Instant::now();
            held.release().unwrap();
            times.push(entered.recv().unwrap() - began);
        }
        drop(ask);
        waiter.join().unwrap();
        let (trip, time) = (median(trips), median(times));
        let ratio = time.as_secs_f64() / trip.as_secs_f64();
        println!(
            "{link}, from release to the next holder: {time:.1?}, {ratio:.1} bare round trips of {trip:.1?}"
        );
    }

    /// A thousand tasks on one connection.
    fn many(client: &Client) {
        const TASKS: usize = 1_000;
        const ROUNDS: usize = 20;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let source = RedisSource::from(client.clone());
        let rate = |time: Duration| (TASKS * ROUNDS) as f64 / time.as_secs_f64();
        let (mut plain, mut ours) = (0_f64, 0_f64);
        for _ in 0..3 {
            // Bare calls of scripts that do as much: the lock's own, twice a round.
            let began = Instant::now();
            runtime.block_on(async {
                let connection = client.get_multiplexed_async_connection().await.unwrap();
                let tasks: Vec<_> = (0..TASKS)
                    .map(|task| {
                        let mut connection = connection.clone();
                        tokio::spawn(async move {
                            let release = Script::new(COMPARE_AND_DELETE);
                            let key = format!("bare {task}");
                            for _ in 0..ROUNDS {
                                bare_async(&mut connection, &key, &release).await;
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
            plain = plain.max(rate(began.elapsed()));
            let began = Instant::now();
            runtime.block_on(async {
                let tasks: Vec<_> = (0..TASKS)
                    .map(|task| {
                        let lock = RedisLock::new(format!("many {task}"), source.clone()).unwrap();
                        tokio::spawn(async move {
                            for _ in 0..ROUNDS {
                                lock.lock_async().await.unwrap().release_async().await.unwrap();
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
            ours = ours.max(rate(began.elapsed()));
        }
        let ratio = ours / plain;
        println!(
            "1,000 tasks: {ours:.0} pairs a second, bare {plain:.0} (SET and EVALSHA), {ratio:.2}"
        );
    }
}
