//! What taking five names at once in Redis costs, as a multiple of taking one: on loopback and over
//! a link with a delay. Both in turn in one run; medians. A figure that misses its target ends the
//! run with an error.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use redis::Client;
use warded::{BaseLock, LockManager, Wait};

use super::server::{Server, client, delayed};

const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];

/// Measures, and says whether both targets are met.
///
/// # Errors
/// If the server cannot be started.
pub fn main() -> Result<ExitCode> {
    let server = Server::start()?;
    println!("| acquire, median | one name | five names | ratio | aim |\n|---|---|---|---|---|");
    let loopback = measure("loopback", &client(server.port()), 3_000, 2.0);
    let slow = client(delayed(server.port(), Duration::from_micros(500))?);
    let delayed = measure("1 ms of delay", &slow, 600, 1.3);
    Ok(if loopback && delayed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
