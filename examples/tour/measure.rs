//! Measuring a lock from the outside, in the same way whichever it is: a run of some seconds behind
//! a progress bar, and a counter of entries.
//!
//! An operation is one entry: one lock, one permit, one read or write. Whoever wants in notes the
//! time and the counter, and looks at both again when it is inside: so long it waited, and so many
//! others entered meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// How long each kind of work goes on with each lock.
const LASTS: Duration = Duration::from_millis(2_500);

/// One kind of work with one lock, while it goes on.
pub struct Run {
    entries: AtomicU64,
    over: AtomicBool,
}

/// Somebody who wants in.
pub struct Arrival {
    at: Instant,
    entries: u64,
}

/// What one worker, or all together, saw of their waits.
#[derive(Default)]
pub struct Waits {
    pub operations: u64,
    pub longest: Duration,
    pub most_overtaken: u64,
}

/// One row of the table.
pub struct Outcome {
    pub work: &'static str,
    pub lock: &'static str,
    pub waits: Waits,
    pub took: Duration,
    /// What was checked and found right, or what was wrong.
    pub checked: Result<String, String>,
}

impl Run {
    pub fn new() -> Self {
        Self { entries: AtomicU64::new(0), over: AtomicBool::new(false) }
    }

    /// Whether workers should begin another operation.
    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Called before somebody waits.
    pub fn arrive(&self) -> Arrival {
        Arrival { entries: self.entries.load(Ordering::Relaxed), at: Instant::now() }
    }

    /// Called by whoever has just entered, inside.
    pub fn enter(&self, arrival: &Arrival, waits: &mut Waits) {
        let waited = arrival.at.elapsed();
        let entered_before = self.entries.fetch_add(1, Ordering::Relaxed);
        waits.operations += 1;
        waits.longest = waits.longest.max(waited);
        waits.most_overtaken = waits.most_overtaken.max(entered_before - arrival.entries);
    }

    /// Shows the progress until the time is over, and tells the workers.
    pub fn watch(&self, work: &str, lock: &str) -> Duration {
        let style = "{prefix:<36} [{bar:30}] {msg}";
        let bar = ProgressBar::new(LASTS.as_millis() as u64)
            .with_style(ProgressStyle::with_template(style).expect("the template is well formed"))
            .with_prefix(format!("{work}, {lock}"));
        let began = Instant::now();
        while began.elapsed() < LASTS {
            thread::sleep(Duration::from_millis(50).min(LASTS - began.elapsed().min(LASTS)));
            bar.set_position(began.elapsed().as_millis() as u64);
            let entries = self.entries.load(Ordering::Relaxed);
            bar.set_message(format!("{} operations", HumanCount(entries)));
        }
        self.over.store(true, Ordering::Relaxed);
        bar.finish();
        if bar.is_hidden() {
            println!("{work}, {lock}: done"); // no terminal, so no bar was seen
        }
        began.elapsed()
    }
}

impl Waits {
    pub fn merge(&mut self, other: Self) {
        self.operations += other.operations;
        self.longest = self.longest.max(other.longest);
        self.most_overtaken = self.most_overtaken.max(other.most_overtaken);
    }
}
