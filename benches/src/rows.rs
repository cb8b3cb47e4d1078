//! The rows of the tables: a scenario, and the rivals that run in it.

use std::time::Duration;

use crate::every;
use crate::figures::Round;
use crate::rivals::Make;
use crate::scenarios::threads::{self, Load};

/// One scenario with its rivals.
pub struct Row {
    /// As in `lock/8 threads/short`.
    pub name: String,
    /// Ours is the first.
    pub rivals: Vec<Rival>,
}

/// One rival in one scenario.
pub struct Rival {
    /// What the tables call it.
    pub name: String,
    /// Runs for about this long.
    pub run: Box<dyn Fn(Duration) -> Round>,
}

/// A scenario's function for one rival.
type Run = fn(&Load, Make, Duration) -> Round;

/// What happens in one row, and which rivals there are.
struct Scenario {
    name: String,
    load: Load,
    rivals: Vec<(&'static str, Run)>,
}

/// All rows, with all rivals.
pub fn rivals(budget: Option<u16>) -> Vec<Row> {
    let rival = |scenario: &Scenario, (name, run): (&str, Run)| {
        let load = scenario.load;
        Rival {
            name: name.to_owned(),
            run: Box::new(move |time| run(&load, Make { budget }, time)),
        }
    };
    scenarios()
        .into_iter()
        .map(|scenario| Row {
            rivals: scenario.rivals.iter().map(|&pair| rival(&scenario, pair)).collect(),
            name: scenario.name,
        })
        .collect()
}

/// All rows that threads run in, with our primitive once for each bypass budget, and those rivals
/// whose longest wait and throughput are the measure.
pub fn budgets(budgets: &[u16]) -> Vec<Row> {
    const MEASURES: [&str; 3] = ["std", "parking_lot 0.13", "std Mutex + Condvar"];
    scenarios()
        .into_iter()
        .map(|Scenario { name, load, rivals }| {
            let ours = budgets.iter().map(|&budget| (format!("B = {budget}"), rivals[0].1, budget));
            let others = rivals
                .iter()
                .filter(|(name, _)| MEASURES.contains(name))
                .map(|&(name, run)| (name.to_owned(), run, 0));
            let rival = |(name, run, budget): (String, Run, u16)| Rival {
                name,
                run: Box::new(move |time| run(&load, Make { budget: Some(budget) }, time)),
            };
            Row { name, rivals: ours.chain(others).map(rival).collect() }
        })
        .collect()
}

const SHORT: Load = Load { threads: 0, inside: 4, outside: 16, burst: 1, hog: 1, writes: 100 };
const LONG: Load = Load { inside: 300, outside: 150, ..SHORT };
const BURSTY: Load = Load { outside: 80, burst: 100, ..SHORT };
const HOG: Load = Load { hog: 500, ..SHORT };

fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![];
    for (section, load) in [("short", SHORT), ("long", LONG), ("bursty", BURSTY)] {
        for threads in [2, 4, 8, 16] {
            scenarios.push(Scenario {
                name: format!("lock/{threads} threads/{section}"),
                load: Load { threads, ..load },
                rivals: every!(Lock, lock).to_vec(),
            });
        }
    }
    for threads in [4, 8] {
        scenarios.push(Scenario {
            name: format!("lock/{threads} threads/one hogs"),
            load: Load { threads, ..HOG },
            rivals: every!(Lock, lock).to_vec(),
        });
    }
    for (section, load) in [("short", SHORT), ("long", LONG)] {
        for writes in [1, 5, 50] {
            for threads in [4, 8, 16] {
                scenarios.push(Scenario {
                    name: format!(
                        "read-write {}-{writes}/{threads} threads/{section}",
                        100 - writes
                    ),
                    load: Load { threads, writes, ..load },
                    rivals: every!(ReadWrite, read_write).to_vec(),
                });
            }
        }
    }
    for (section, load) in [("short", SHORT), ("long", LONG)] {
        for threads in [4, 8, 16] {
            scenarios.push(Scenario {
                name: format!("semaphore of 2/{threads} threads/{section}"),
                load: Load { threads, ..load },
                rivals: every!(Semaphore, semaphore).to_vec(),
            });
        }
    }
    scenarios
}

use threads::{lock, read_write, semaphore};
