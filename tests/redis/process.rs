//! Other processes: this test program once more, told to play a part by an environment variable.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, io, iter, thread};

use warded::{FencedKey, RedisError, RedisLock};

use super::server::client;

const PART: &str = "WARDED_TEST_PART";

/// A process that plays a part; killed when dropped.
pub struct Other {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
    stdin: ChildStdin,
}

impl Other {
    pub fn play(part: &str, port: u16) -> Self {
        Self::start(Command::new(env::current_exe().unwrap()), part, port)
    }

    /// As [`play`](Self::play), in a process that can open a few files only.
    pub fn play_with_few_files(part: &str, port: u16) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
        Self::start(shell, part, port)
    }

    /// As [`play`](Self::play), in a process that can start no thread: none has room for such a stack.
    pub fn play_without_threads(part: &str, port: u16) -> Self {
        let mut program = Command::new(env::current_exe().unwrap());
        program.env("RUST_MIN_STACK", (1_u64 << 60).to_string());
        Self::start(program, part, port)
    }

    fn start(mut command: Command, part: &str, port: u16) -> Self {
        let mut child = command
            .args(["--exact", "process::play_the_part", "--nocapture", "--test-threads=1"])
            .env(PART, format!("{part} {port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, says, stdin }
    }

    /// What it says after this word.
    pub fn hear(&mut self, word: &str) -> String {
        for line in &mut self.says {
            // What a test prints first stands behind the name of the test.
            let line = line.unwrap();
            if let Some((_, rest)) = line.split_once(&format!("<{word}>")) {
                return rest.trim().to_owned();
            }
        }
        panic!("the other process ended without saying <{word}>");
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(done.success());
}

/// The other process's side.
#[test]
fn play_the_part() {
    let Ok(part) = env::var(PART) else { return };
    let (part, port) = part.split_once(' ').unwrap();
    let port = port.parse().unwrap();
    let short = Duration::from_millis(500);
    let lock = RedisLock::builder("jobs", client(port)).ttl(short).build().unwrap();
    match part {
        // Takes the lock and never gives it back.
        "hold" => {
            let held = lock.lock().unwrap();
            println!("<held> {}", held.fence());
            forever();
        }
        // Stands in the queue.
        "wait" => {
            println!("<waiting>");
            let held = lock.lock().unwrap();
            println!("<held> {}", held.fence());
            forever();
        }
        // Checks its lock, is stopped between the check and the write, and writes.
        "write" => {
            let held = lock.lock().unwrap();
            assert!(held.is_valid());
            println!("<held> {}", held.fence());
            listen();
            let fence = FencedKey::new("balance", client(port));
            let written = fence.write(held.fence(), "from the paused one").unwrap();
            println!("<written> {written} {}", held.is_valid());
        }
        // Hands its lock over.
        "pass" => {
            let lock = RedisLock::new("jobs", client(port)).unwrap();
            println!("<passed> {}", lock.lock().unwrap().hand_over().unwrap());
            let back = listen().parse().unwrap();
            println!("<back> {}", lock.take_over(back).unwrap().fence());
            // A process that ends does not wait for its releases by itself.
            lock.source().flush().unwrap();
        }
        // Wants the lock while it can open no more files, so that the driver cannot start; and again.
        "starve" => {
            let files: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
            let refused = lock.try_lock();
            drop(files);
            let started = matches!(lock.try_lock(), Ok(Some(_)));
            lock.source().flush().unwrap();
            println!("<starved> {} {started}", matches!(refused, Err(RedisError::Driver(_))));
        }
        // Wants the lock in a task, while no thread can be started, so that the driver cannot.
        "alone" => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let refused = runtime.block_on(lock.try_lock_async());
            println!("<alone> {}", matches!(refused, Err(RedisError::Driver(_))));
        }
        _ => panic!("no such part: {part}"),
    }
}

fn listen() -> String {
    let mut line = String::new();
    io::stdin().read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn forever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}
