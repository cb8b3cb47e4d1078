//! The rows of the tables: a scenario, and the rivals that run in it.

use std::time::Duration;

use crate::every;
use crate::figures::{Kind, Round};
use crate::rivals::Make;
use crate::scenarios::alone;
use crate::scenarios::queue;
use crate::scenarios::tasks::{self, Crowd};
use crate::scenarios::threads::{self, Load};

/// One scenario with its rivals.
pub struct Row<R> {
    /// As in `lock/8 threads/short`.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// How many threads, tasks or waiters.
    pub workers: usize,
    /// Ours is the first.
    pub rivals: Vec<Rival<R>>,
}

/// One rival in one scenario.
pub struct Rival<R> {
    /// What the tables call it.
    pub name: String,
    /// Runs one turn.
    pub run: Box<dyn Fn() -> R>,
}

/// How a row of threads or tasks is run.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// For how long.
    pub time: Duration,
    /// With which bypass budget of ours, if not the default.
    pub budget: Option<u16>,
}

/// All rows of threads and tasks.
pub fn contended(turn: Turn) -> Vec<Row<Round>> {
    scenarios()
        .into_iter()
        .map(|scenario| {
            scenario.row(|rivals| rivals.map(|(name, run)| (name, run, turn)).collect())
        })
        .collect()
}

/// All rows of threads, with our primitive once for each bypass budget, and those rivals that it is
/// measured by.
pub fn sweep(time: Duration, budgets: &[u16]) -> Vec<Row<Round>> {
    let rivals_of = |rivals: &mut dyn Iterator<Item = (String, Run)>| {
        let (_, ours) = rivals.next().expect("ours is the first");
        let ours = budgets
            .iter()
            .map(|&budget| (format!("B = {budget}"), ours, Turn { time, budget: Some(budget) }));
        let measures = rivals
            .filter(|(name, _)| {
                ["std", "parking_lot 0.13", "std Mutex + Condvar"].contains(&name.as_str())
            })
            .map(|(name, run)| (name, run, Turn { time, budget: None }));
        ours.chain(measures).collect()
    };
    scenarios()
        .into_iter()
        .filter(|scenario| scenario.kind != Kind::Tasks)
        .map(|scenario| scenario.row(rivals_of))
        .collect()
}

/// A function that gives the nanoseconds of each of so many pairs of calls.
pub type Pairs = fn(u64) -> f64;

/// All pairs of calls that one thread makes, with the rivals.
pub fn pairs() -> Vec<(&'static str, Vec<(&'static str, Pairs)>)> {
    use alone::{lock, lock_async, permit, read, write};
    vec![
        ("lock and unlock", every!(Lock, lock).to_vec()),
        ("read and unlock", every!(ReadWrite, read).to_vec()),
        ("write and unlock", every!(ReadWrite, write).to_vec()),
        ("permit and release", every!(Semaphore, permit).to_vec()),
        ("async lock and unlock", every!(AsyncLock, lock_async).to_vec()),
    ]
}

/// All rows of one thread. A turn takes a tenth of a millisecond.
pub fn alone() -> Vec<Row<f64>> {
    const PAIRS: u64 = 10_000;
    let rival = |(name, run): (&str, Pairs)| Rival {
        name: name.to_owned(),
        run: Box::new(move || run(PAIRS)),
    };
    let row = |(name, rivals): (&str, Vec<(&str, Pairs)>)| Row {
        name: format!("alone/{name}"),
        kind: Kind::Alone,
        workers: 1,
        rivals: rivals.into_iter().map(rival).collect(),
    };
    pairs().into_iter().map(row).collect()
}

/// All rows of a great many waiters. A turn gives the nanoseconds of one of them.
pub fn queued() -> Vec<Row<f64>> {
    type Run = fn(usize) -> f64;
    let row = |name: &str, workers: usize, rivals: &[(&str, Run)]| Row {
        name: format!("queue/{name}/{workers} waiters"),
        kind: Kind::Queue,
        workers,
        rivals: rivals
            .iter()
            .map(|&(name, run)| Rival {
                name: name.to_owned(),
                run: Box::new(move || run(workers)),
            })
            .collect(),
    };
    use queue::{cancel, readers, wake};
    let sizes = [100, 1_000, 10_000];
    let wakes = sizes.map(|size| row("wake", size, &every!(AsyncLock, wake)));
    let cancels = sizes.map(|size| row("cancel", size, &every!(AsyncLock, cancel)));
    let starts =
        sizes.map(|size| row("readers behind a writer", size, &every!(AsyncReadWrite, readers)));
    wakes.into_iter().chain(cancels).chain(starts).collect()
}

/// A scenario's function for one rival.
#[derive(Clone, Copy)]
enum Run {
    Threads(fn(&Load, Make, Duration) -> Round, Load),
    Tasks(fn(&Crowd, Make, Duration) -> Round, Crowd),
}

/// What happens in one row, and which rivals there are.
struct Scenario {
    name: String,
    kind: Kind,
    workers: usize,
    rivals: Vec<(&'static str, Run)>,
}

impl Scenario {
    fn row(
        self,
        rivals: impl Fn(&mut dyn Iterator<Item = (String, Run)>) -> Vec<(String, Run, Turn)>,
    ) -> Row<Round> {
        let mut all = self.rivals.into_iter().map(|(name, run)| (name.to_owned(), run));
        let rivals = rivals(&mut all)
            .into_iter()
            .map(|(name, run, Turn { time, budget })| Rival {
                name,
                run: Box::new(move || match run {
                    Run::Threads(run, load) => run(&load, Make { budget }, time),
                    Run::Tasks(run, crowd) => run(&crowd, Make { budget }, time),
                }),
            })
            .collect();
        Row { name: self.name, kind: self.kind, workers: self.workers, rivals }
    }
}

const SHORT: Load = Load { threads: 0, inside: 4, outside: 16, burst: 1, hog: 1, writes: 100 };
const LONG: Load = Load { inside: 300, outside: 150, ..SHORT };
const BURSTY: Load = Load { outside: 80, burst: 100, ..SHORT };
const HOG: Load = Load { hog: 500, ..SHORT };

fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![];
    let mut add = |name: String, kind, load: Load, rivals: &[(&'static str, RunThreads)]| {
        scenarios.push(Scenario {
            name,
            kind,
            workers: load.threads,
            rivals: rivals.iter().map(|&(name, run)| (name, Run::Threads(run, load))).collect(),
        });
    };
    type RunThreads = fn(&Load, Make, Duration) -> Round;
    type RunTasks = fn(&Crowd, Make, Duration) -> Round;
    use threads::{lock, read_write, semaphore};
    for (section, load) in [("short", SHORT), ("long", LONG), ("bursty", BURSTY), ("hog", HOG)] {
        for n in [2, 4, 8, 16] {
            let load = Load { threads: n, ..load };
            add(format!("lock/{section}/{n} threads"), Kind::Lock, load, &every!(Lock, lock));
        }
    }
    for (section, load) in [("short", SHORT), ("long", LONG)] {
        for writes in [1, 5, 50] {
            for n in [2, 4, 8, 16] {
                add(
                    format!("read-write/{section} {}-{writes}/{n} threads", 100 - writes),
                    Kind::ReadWrite { writes },
                    Load { threads: n, writes, ..load },
                    &every!(ReadWrite, read_write),
                );
            }
        }
    }
    for (section, load) in [("short", SHORT), ("long", LONG)] {
        for n in [4, 8, 16] {
            add(
                format!("semaphore/{section}/{n} threads"),
                Kind::Semaphore,
                Load { threads: n, ..load },
                &every!(Semaphore, semaphore),
            );
        }
    }
    for (section, load) in [("short", SHORT), ("long", LONG)] {
        for (manner, yields) in [("busy", false), ("yielding", true)] {
            for n in [8, 64] {
                let Load { inside, outside, .. } = load;
                let crowd = Crowd { tasks: n, inside, outside, yields };
                let rivals: [(_, RunTasks); 4] = every!(AsyncLock, lock_task);
                scenarios.push(Scenario {
                    name: format!("tasks/{section}, {manner}/{n} tasks"),
                    kind: Kind::Tasks,
                    workers: n,
                    rivals: rivals.map(|(name, run)| (name, Run::Tasks(run, crowd))).to_vec(),
                });
            }
        }
    }
    scenarios
}

use tasks::lock as lock_task;
