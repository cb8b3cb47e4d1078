//! Runs the shipped engine on real threads and prints every access, for replay.py.
//!
//! `trace KIND PERMITS BUDGET OPERATIONS SEED WANT,WANT,…`: a thread for each WANT, of which the odd
//! ones are tasks. KIND says what is done besides taking and giving back: `plain` nothing, `semaphore`
//! closing and resizing, `rwlock` upgrades, recursive reads and entering alone.

#![allow(dead_code, reason = "the engine has more than is driven here")]

mod local;
mod sys;
#[path = "../../../../src/wait.rs"]
mod wait;

use std::pin::pin;
use std::process;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use local::gate::{Gate, Request, Urgency};
use local::teller::Teller;
use sys::{LOG, begin, mark, random};
use wait::Wait;

/// Who is told of waits.
const NOBODY: Teller<'_> = Teller::of(None);

/// What wait.rs names of the crate's errors.
enum LockError {
    InvalidWait,
}

struct Wakes(Thread);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        mark("wake", 0);
        self.0.unpark();
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Semaphore,
    ReadWrite,
}

struct Agent<'a> {
    gate: &'a Gate,
    kind: Kind,
    permits: u32,
    want: u32,
    task: bool,
    closes: bool,
}

impl Agent<'_> {
    fn run(&self, operations: u32) {
        for operation in 0..operations {
            if self.closes && operation == operations / 2 {
                mark("close", 0);
                self.gate.close();
                mark("done", 0);
            }
            if self.kind == Kind::Semaphore {
                self.resize();
            }
            if self.enter(self.request(), "enter") {
                self.hold();
            }
        }
    }

    fn upgradable(&self) -> u32 {
        self.permits / 2 + 1
    }

    fn request(&self) -> Request {
        match (self.kind, self.want) {
            (Kind::ReadWrite, want) if want == self.permits => Request::of_all(want),
            (Kind::ReadWrite, 2) => Request::urgent(2, Urgency::Recursive),
            (_, want) => Request::of(want),
        }
    }

    /// Enters by one of the ways, or gives up.
    fn enter(&self, request: Request, what: &'static str) -> bool {
        mark(what, 0);
        let in_no_time = random(4) == 0;
        let entered = if in_no_time {
            self.gate.try_acquire(request)
        } else if self.task {
            self.poll(request)
        } else {
            let patient = random(3) != 0;
            self.gate.acquire(request, (!patient).then(Instant::now), NOBODY).is_ok()
        };
        mark(if entered { "entered" } else { "refused" }, 0);
        entered
    }

    fn poll(&self, request: Request) -> bool {
        let mut future = Box::pin(self.gate.acquire_async(request, NOBODY));
        let mut patience = if random(3) == 0 { random(4) } else { u64::MAX };
        loop {
            let waker = Arc::new(Wakes(thread::current())).into();
            mark("poll", 0);
            if let Poll::Ready(result) = pin!(&mut future).poll(&mut Context::from_waker(&waker)) {
                return result.is_ok();
            }
            if patience == 0 {
                mark("cancel", 0);
                return false;
            }
            patience -= 1;
            if random(4) != 0 {
                thread::park();
            }
        }
    }

    fn hold(&self) {
        (0..random(6)).for_each(|_| thread::yield_now());
        let mut held = self.want;
        if self.kind == Kind::ReadWrite && held == self.upgradable() && random(3) != 0 {
            let rest = self.permits - held;
            if self.enter(Request::urgent(rest, Urgency::Upgrade), "upgrade") {
                held += rest;
            }
        }
        while held > 0 {
            let part = if random(3) == 0 { 1 + random(held.into()) as u32 } else { held };
            match random(6) {
                0 if self.kind == Kind::Semaphore && self.permits > 1 => {
                    mark("forget_held", part.into());
                    self.gate.forget_held(part);
                    mark("done", 0);
                    mark("add", part.into());
                    self.gate.add(part).unwrap();
                }
                1 => {
                    mark("release_fairly", part.into());
                    self.gate.release_fairly(part);
                }
                _ => {
                    mark("release", part.into());
                    self.gate.release(part);
                }
            }
            mark("done", 0);
            held -= part;
        }
    }

    fn resize(&self) {
        if random(4) == 0 {
            let n = 1 + random(2) as u32;
            mark("forget", n.into());
            let forgotten = self.gate.forget_free(n);
            mark("done", 0);
            (0..random(4)).for_each(|_| thread::yield_now());
            mark("add", forgotten.into());
            self.gate.add(forgotten).unwrap();
            mark("done", 0);
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words[at].parse::<u32>().expect("a number");
    let kind = match words[0].as_str() {
        "plain" => Kind::Plain,
        "semaphore" => Kind::Semaphore,
        _ => Kind::ReadWrite,
    };
    let (permits, budget, operations, seed) = (number(1), number(2), number(3), number(4));
    let wants: Vec<u32> = words[5].split(',').map(|want| want.parse().expect("a number")).collect();
    let gate: &Gate = Box::leak(Box::new(Gate::new(permits, budget as u16)));
    gate.max(); // the first entry: it tells the maximum from `due`
    let threads: Vec<_> = wants
        .into_iter()
        .enumerate()
        .map(|(me, want)| {
            let closes = kind == Kind::Semaphore && me == 0 && seed % 3 == 0;
            let agent = Agent { gate, kind, permits, want, task: me % 2 == 1, closes };
            thread::spawn(move || {
                begin(me, seed.into());
                agent.run(operations);
            })
        })
        .collect();
    let began = Instant::now();
    while !threads.iter().all(|thread| thread.is_finished()) {
        if began.elapsed() > Duration::from_secs(20) {
            mark("HUNG", 0);
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let log = LOG.lock().unwrap();
    let lines: String =
        log.iter().map(|(who, what, a, b)| format!("{who} {what} {a} {b}\n")).collect();
    print!("{lines}");
    process::exit(0);
}
