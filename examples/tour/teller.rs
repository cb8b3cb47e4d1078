//! One process of the tour across processes: it serves customers from the accounts in Redis until
//! it is told to end.
//!
//! Orders come as lines on its input, and what it has to say goes out as lines.

use std::error::Error;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use warded::{BaseLock, FencedKey, RedisGuard, RedisLock, RedisSource};

use crate::ledger::Ledger;

/// How long a hold lasts, and a dead teller keeps the others out; the server adds a tenth of it.
pub const TTL: Duration = Duration::from_secs(1);

/// What a teller is told, one line each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Begin, or begin the next stage.
    Stage,
    /// Take the lock and stand still: this process will be killed.
    StandStill,
    /// Take the lock, sleep until another teller has had it, and write then.
    Oversleep,
    /// The day is over.
    End,
}

impl Order {
    pub fn line(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::StandStill => "stand still",
            Self::Oversleep => "oversleep",
            Self::End => "end",
        }
    }

    fn from_line(line: &str) -> Option<Self> {
        let all = [Self::Stage, Self::StandStill, Self::Oversleep, Self::End];
        all.into_iter().find(|order| order.line() == line)
    }
}

/// What a teller says, before figures.
pub mod word {
    /// It is connected.
    pub const READY: &str = "ready";
    /// The waits of a stage in microseconds.
    pub const WAITS: &str = "waits";
    /// It stands still inside.
    pub const INSIDE: &str = "inside";
    /// Whether the guard of the one who overslept was valid, and whether its write was taken.
    pub const OVERSLEPT: &str = "overslept";
    /// It has served so many by now.
    pub const SERVED: &str = "served";
}

/// The lock and the accounts of one tour.
pub struct Bank {
    pub lock: RedisLock,
    pub ledger: FencedKey,
    pub key: String,
}

impl Bank {
    pub fn of(url: &str, tour: &str, owner: &str) -> Result<Self, Box<dyn Error>> {
        let source = RedisSource::from(redis::Client::open(url)?);
        let lock = RedisLock::builder(format!("tour {tour}"), source.clone());
        let lock = lock.ttl(TTL).owner(owner).build()?;
        let key = format!("warded:tour:{tour}");
        Ok(Self { lock, ledger: FencedKey::new(key.as_str(), source), key })
    }

    /// The fencing token of the last writer, and what it wrote.
    pub fn read(&self) -> Result<(u64, Ledger), Box<dyn Error>> {
        let (fence, text) = self.ledger.read()?.ok_or("the accounts are gone")?;
        let ledger = Ledger::from_text(&text).ok_or("the accounts cannot be read")?;
        Ok((fence, ledger))
    }

    fn write(&self, held: &RedisGuard, ledger: &Ledger) -> Result<bool, Box<dyn Error>> {
        Ok(self.ledger.write(held.fence(), ledger.to_text())?)
    }
}

/// The life of a teller.
pub fn work(url: &str, tour: &str, number: usize) -> Result<(), Box<dyn Error>> {
    let bank = Bank::of(url, tour, &format!("teller {number}"))?;
    let orders = listen();
    bank.lock.locked()?;
    println!("{}", word::READY);
    orders.recv()?;
    let (mut waits, mut served) = (Vec::new(), 0_u64);
    loop {
        let arrival = Instant::now();
        let held = bank.lock.lock()?;
        let waited = arrival.elapsed();
        let order = match orders.try_recv() {
            Ok(order) => Some(order),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Order::End),
        };
        if let Some(Order::Stage | Order::End) = order {
            // The wait that has just ended is of the new stage.
            say_waits(&mut waits);
            println!("{} {served}", word::SERVED);
        }
        if order == Some(Order::End) {
            break;
        }
        waits.push(waited);
        let (fence, mut ledger) = bank.read()?;
        if fence >= held.fence() {
            return Err("the fencing token did not grow".into());
        }
        ledger.serve(number);
        match order {
            Some(Order::StandStill) => {
                println!("{} {served}\n{}", word::SERVED, word::INSIDE);
                // For ever, unless whoever is to kill this process has died.
                while orders.recv().is_ok() {}
                break;
            }
            Some(Order::Oversleep) => {
                while bank.read()?.0 <= held.fence() {
                    thread::sleep(Duration::from_millis(10));
                }
                let valid = held.is_valid();
                let written = bank.write(&held, &ledger)?;
                println!("{} {valid} {written}", word::OVERSLEPT);
            }
            _ if held.is_valid() && bank.write(&held, &ledger)? => served += 1,
            _ => {}
        }
    }
    bank.lock.source().flush()?;
    Ok(())
}

/// Orders as they come, until the input is closed.
fn listen() -> Receiver<Order> {
    let (tell, orders) = channel();
    thread::spawn(move || {
        let lines = io::stdin().lines().map_while(Result::ok);
        for order in lines.filter_map(|line| Order::from_line(&line)) {
            if tell.send(order).is_err() {
                break;
            }
        }
    });
    orders
}

fn say_waits(waits: &mut Vec<Duration>) {
    let waits: String = waits.drain(..).map(|wait| format!(" {}", wait.as_micros())).collect();
    println!("{}{waits}", word::WAITS);
}
