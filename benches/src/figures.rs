//! What was measured, and what is made of it.

use std::time::Instant;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One rival's figures in one round of one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// Sections a second, of all threads or tasks together.
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

impl Round {
    /// Sums up threads or tasks: when each began, how many sections it had, and its waits.
    pub fn of(stopped: Instant, workers: Vec<(Instant, u64, Histogram<u64>)>) -> Self {
        let began = workers.iter().map(|worker| worker.0).min().expect("somebody works");
        let served: Vec<f64> = workers.iter().map(|worker| worker.1 as f64).collect();
        let all: f64 = served.iter().sum();
        let share = all / served.len() as f64;
        let mut waits = Histogram::<u64>::new(3).expect("three digits are allowed");
        for worker in &workers {
            waits.add(&worker.2).expect("they are of one kind");
        }
        let wait = |quantile| waits.value_at_quantile(quantile) as f64;
        Self {
            throughput: all / (stopped - began).as_secs_f64(),
            p50: wait(0.5),
            p99: wait(0.99),
            p999: wait(0.999),
            longest: waits.max() as f64,
            least: served.iter().copied().fold(f64::INFINITY, f64::min) / share,
            most: served.iter().copied().fold(0.0, f64::max) / share,
        }
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

/// All that was measured in one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// Its name.
    pub row: String,
    /// In how many turns others used the machine, though they were repeated.
    pub disturbed: usize,
    /// Ours is the first.
    pub series: Vec<Series>,
}

/// All rounds of one rival in one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series {
    /// Its name.
    pub rival: String,
    /// In the order of time, so that the nth of each rival ran next to each other.
    pub rounds: Vec<Round>,
}

impl Series {
    /// The median of one figure.
    pub fn median(&self, figure: impl Fn(&Round) -> f64) -> Median {
        Median::of(self.rounds.iter().map(figure))
    }

    /// The median of the ratios that one figure has to another rival's in the same round.
    pub fn ratio(&self, other: &Self, figure: impl Fn(&Round) -> f64) -> Median {
        let rounds = self.rounds.iter().zip(&other.rounds);
        Median::of(rounds.map(|(this, other)| figure(this) / figure(other)))
    }
}
