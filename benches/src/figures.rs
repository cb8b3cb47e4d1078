//! What was measured, and what is made of it.

use std::time::Instant;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What a row is about, which is also what it has to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Threads at a lock.
    Lock,
    /// Threads at a read-write lock. Of 100 sections, so many write.
    ReadWrite {
        /// As said.
        writes: u32,
    },
    /// Threads at a semaphore.
    Semaphore,
    /// Tasks at a lock.
    Tasks,
    /// One thread, with nobody in its way.
    Alone,
    /// A great many waiters.
    Queue,
    /// Times of a lock in Redis.
    Remote,
    /// Commands that a lock in Redis sends.
    Commands,
}

/// All that was measured in one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures<R> {
    /// Its name.
    pub row: String,
    /// What it is about.
    pub kind: Kind,
    /// How many threads, tasks or waiters.
    pub workers: usize,
    /// In how many turns others used the machine, though they were repeated.
    pub disturbed: usize,
    /// Ours is the first.
    pub series: Vec<Series<R>>,
}

impl<R> Figures<R> {
    /// The rival of this name, if it took part.
    pub fn of(&self, rival: &str) -> Option<&Series<R>> {
        self.series.iter().find(|series| series.rival == rival)
    }
}

/// All rounds of one rival in one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series<R> {
    /// Its name.
    pub rival: String,
    /// In the order of time, so that the nth of each rival ran next to each other.
    pub rounds: Vec<R>,
}

impl<R> Series<R> {
    /// The median of one figure.
    pub fn median(&self, figure: impl Fn(&R) -> f64) -> Median {
        Median::of(self.rounds.iter().map(figure))
    }

    /// The median of the ratios that one figure has to another rival's in the same round.
    pub fn ratio(&self, other: &Self, figure: impl Fn(&R) -> f64) -> Median {
        let rounds = self.rounds.iter().zip(&other.rounds);
        Median::of(rounds.map(|(this, other)| figure(this) / figure(other)))
    }
}

/// One rival's figures in one round of one row of threads or tasks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "[f64; 7]", into = "[f64; 7]")]
pub struct Round {
    /// Sections a second, of all threads or tasks together. One that is longer than the others'
    /// counts for as many as it is long.
    pub throughput: f64,
    /// The median wait, in nanoseconds.
    pub p50: f64,
    /// What 99 of 100 waits stay below, in nanoseconds.
    pub p99: f64,
    /// What 999 of 1000 waits stay below, in nanoseconds.
    pub p999: f64,
    /// The longest wait that was timed, in nanoseconds.
    pub longest: f64,
    /// How much the least served thread or task got, as a part of an equal share.
    pub least: f64,
    /// How much the most served one got.
    pub most: f64,
}

/// What one thread or task did.
pub struct Served {
    /// When it began.
    pub began: Instant,
    /// How many sections it had.
    pub sections: u64,
    /// How many ordinary sections one of its own is worth.
    pub weight: u32,
    /// Its waits, in nanoseconds.
    pub waits: Histogram<u64>,
}

impl Served {
    /// Nothing yet.
    pub fn begin(weight: u32) -> Self {
        let waits = no_waits();
        Self { began: Instant::now(), sections: 0, weight, waits }
    }
}

/// For waits of up to a minute and a half, whose longest are kept to three digits.
fn no_waits() -> Histogram<u64> {
    Histogram::new_with_max(100_000_000_000, 3).expect("three digits are allowed")
}

impl Round {
    /// Sums up threads or tasks.
    pub fn of(stopped: Instant, workers: &[Served]) -> Self {
        let began = workers.iter().map(|worker| worker.began).min().expect("somebody works");
        let work = workers.iter().map(|worker| worker.sections * u64::from(worker.weight));
        let served: Vec<f64> = workers.iter().map(|worker| worker.sections as f64).collect();
        let share = served.iter().sum::<f64>() / served.len() as f64;
        let mut waits = no_waits();
        for worker in workers {
            waits.add(&worker.waits).expect("they are of one kind");
        }
        let wait = |quantile| waits.value_at_quantile(quantile) as f64;
        Self {
            throughput: work.sum::<u64>() as f64 / (stopped - began).as_secs_f64(),
            p50: wait(0.5),
            p99: wait(0.99),
            p999: wait(0.999),
            longest: waits.max() as f64,
            least: served.iter().copied().fold(f64::INFINITY, f64::min) / share,
            most: served.iter().copied().fold(0.0, f64::max) / share,
        }
    }
}

impl From<[f64; 7]> for Round {
    fn from([throughput, p50, p99, p999, longest, least, most]: [f64; 7]) -> Self {
        Self { throughput, p50, p99, p999, longest, least, most }
    }
}

impl From<Round> for [f64; 7] {
    /// Without digits that mean nothing.
    fn from(round: Round) -> Self {
        let Round { throughput, p50, p99, p999, longest, least, most } = round;
        let hundredths = |part: f64| (part * 100.0).round() / 100.0;
        [throughput.round(), p50, p99, p999, longest, hundredths(least), hundredths(most)]
    }
}

/// A median with its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Median {
    /// Half of the values are below it.
    pub value: f64,
    /// A quarter of the values are below it.
    pub low: f64,
    /// A quarter of the values are above it.
    pub high: f64,
}

impl Median {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (values.len() - 1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            values[below] + (values[above] - values[below]) * place.fract()
        };
        Self { value: at(0.5), low: at(0.25), high: at(0.75) }
    }
}
