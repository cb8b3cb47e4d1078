//! `cargo xtask verify --full`: the long tier, each model in a process of its own.
//!
//! What has come to its end is kept beside the binary, so a run that was broken off goes on where it
//! was, as long as the models are the same.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Result, ensure};

use super::records::{self, Cut, Event, Record};
use super::{FULL, RECORDS, WEAKEN};

/// Runs all of `names`, each for so many minutes at most, and shows each result to `keep`.
///
/// # Errors
/// If a model fails, breaks off, or is cut short.
pub fn run(
    binary: &Path,
    names: &BTreeSet<String>,
    minutes: u64,
    keep: impl FnMut(Record) -> Result<()> + Send,
) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    fs::read(binary)?.hash(&mut hasher);
    let tier = Tier {
        binary,
        records: binary.with_file_name(format!("long-tier-{:016x}.jsonl", hasher.finish())),
        patience: Duration::from_secs(60 * minutes),
    };
    let ended = tier.ended()?;
    println!("long tier: {} models, of which {} have come to their end", names.len(), ended.len());

    let keep = Mutex::new(keep);
    let show = |record| (keep.lock().expect("nobody panics while keeping"))(record);
    ended.into_iter().filter(|record| record.name().is_some()).try_for_each(show)?;
    let left: Vec<_> = names.iter().filter(|name| !tier.has_ended(name)).collect();
    let left = Mutex::new(left.into_iter());
    let unfinished = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        loop {
            let Some(name) = left.lock().expect("nobody panics here").next() else { return Ok(()) };
            match tier.explore(name)? {
                Outcome::Ended(record) => show(record)?,
                Outcome::Cut => {
                    println!("{name}: cut short after {minutes} minutes");
                    show(Record::Cut(Cut { name: name.clone(), minutes }))?;
                    unfinished.lock().expect("nobody panics here").push(name.clone());
                }
                Outcome::Failed(why) => {
                    println!("{why}");
                    unfinished.lock().expect("nobody panics here").push(name.clone());
                }
            }
        }
    };
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    let unfinished = unfinished.into_inner().expect("nobody panics here");
    ensure!(
        unfinished.is_empty(),
        "{} of {} did not come to a good end: {}",
        unfinished.len(),
        names.len(),
        unfinished.join(", ")
    );
    Ok(())
}

struct Tier<'a> {
    binary: &'a Path,
    records: PathBuf,
    patience: Duration,
}

enum Outcome {
    Ended(Record),
    Cut,
    Failed(String),
}

impl Tier<'_> {
    /// What has come to a good end, in this run or an earlier one.
    fn ended(&self) -> Result<Vec<Record>> {
        let records = records::events(&self.records)?.into_iter().filter_map(|event| match event {
            Event::End(record) if record.failure().is_none() => Some(*record),
            _ => None,
        });
        Ok(records.collect())
    }

    fn has_ended(&self, name: &str) -> bool {
        let ended = self.ended().unwrap_or_default();
        ended.iter().any(|record| record.name() == Some(name))
    }

    fn explore(&self, name: &str) -> Result<Outcome> {
        println!("{name}");
        let start = Instant::now();
        let mut child = Command::new(self.binary)
            .args(["--include-ignored", "--exact", name])
            .env(RECORDS, &self.records)
            .env(FULL, "1")
            .env_remove(WEAKEN)
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .spawn()?;
        loop {
            if let Some(status) = child.try_wait()? {
                let ended = self.ended()?.into_iter().find(|record| record.name() == Some(name));
                return Ok(match ended {
                    Some(record) if status.success() => Outcome::Ended(record),
                    _ => Outcome::Failed(format!("{name}: {status}")),
                });
            }
            if start.elapsed() > self.patience {
                child.kill()?;
                child.wait()?;
                return Ok(Outcome::Cut);
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}
