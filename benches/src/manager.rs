//! Locks by name against what people use for it today. Every figure is a ratio of rates that were
//! measured in turn in this one run; the median of the rounds counts.
//!
//! `cargo bench --bench manager` measures; `cargo bench --bench manager -- --quick` shows that it
//! runs. The targets are the project's own; a figure that misses its target ends the run with an
//! error.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Instant;
use std::{env, thread};

use comfy_table::Table;
use dashmap::DashMap;
use indicatif::{ProgressBar, ProgressStyle};
use lockable::LockableHashMap;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use warded::{BaseLock, LockManager, Wait};

/// Locks by name, as one of the contenders does it.
trait Keyed: Sync {
    /// Finds the lock of this name, takes it, does `work`, and releases it.
    fn serialise(&self, name: &str, work: &mut dyn FnMut());
    /// Sees to it that the names stay in use meanwhile.
    fn keep_in_use(&mut self, names: &[String]);
}

#[derive(Default)]
struct Warded {
    locks: Option<LockManager>,
    handles: Vec<warded::ManagedLock>,
}

impl Warded {
    fn new() -> Self {
        Self { locks: Some(LockManager::local()), handles: Vec::new() }
    }

    fn locks(&self) -> &LockManager {
        self.locks.as_ref().expect("it was made with one")
    }
}

impl Keyed for Warded {
    fn serialise(&self, name: &str, work: &mut dyn FnMut()) {
        let lock = self.locks().get_lock(name).expect("a name");
        let _guard = lock.lock().expect("no deadlocks are looked for");
        work();
    }

    fn keep_in_use(&mut self, names: &[String]) {
        let get = |name: &String| self.locks().get_lock(name).expect("a name");
        self.handles = names.iter().map(get).collect();
    }
}

/// The construction that people write themselves: names are never taken out.
#[derive(Default)]
struct Map(DashMap<String, Arc<Mutex<()>>>);

impl Map {
    fn get(&self, name: &str) -> Arc<Mutex<()>> {
        if let Some(lock) = self.0.get(name) {
            return Arc::clone(&lock);
        }
        Arc::clone(&self.0.entry(name.to_owned()).or_default())
    }
}

impl Keyed for Map {
    fn serialise(&self, name: &str, work: &mut dyn FnMut()) {
        let lock = self.get(name);
        let _guard = lock.lock().expect("nothing panics under it");
        work();
    }

    fn keep_in_use(&mut self, names: &[String]) {
        names.iter().for_each(|name| drop(self.get(name)));
    }
}

/// The same, with names taken out by whoever uses them last: what it takes to keep a map from
/// growing for ever.
#[derive(Default)]
struct SweptMap(Map, Vec<Arc<Mutex<()>>>);

impl Keyed for SweptMap {
    fn serialise(&self, name: &str, work: &mut dyn FnMut()) {
        let lock = self.0.get(name);
        let guard = lock.lock().expect("nothing panics under it");
        work();
        drop(guard);
        if Arc::strong_count(&lock) == 2 {
            drop(lock);
            self.0.0.remove_if(name, |_, lock| Arc::strong_count(lock) == 1);
        }
    }

    fn keep_in_use(&mut self, names: &[String]) {
        self.1 = names.iter().map(|name| self.0.get(name)).collect();
    }
}

#[derive(Default)]
struct Lockables(LockableHashMap<String, ()>);

impl Keyed for Lockables {
    fn serialise(&self, name: &str, work: &mut dyn FnMut()) {
        let never = lockable::SyncLimit::no_limit();
        let Ok(_guard) = self.0.blocking_lock(name.to_owned(), never);
        work();
    }

    /// A name with a value stays.
    fn keep_in_use(&mut self, names: &[String]) {
        for name in names {
            let never = lockable::SyncLimit::no_limit();
            let Ok(mut guard) = self.0.blocking_lock(name.clone(), never);
            guard.insert(());
        }
    }
}

const CONTENDERS: [&str; 4] = ["warded", "lockable", "DashMap", "DashMap, swept"];

fn contenders() -> [Box<dyn Keyed>; 4] {
    [
        Box::new(Warded::new()),
        Box::<Lockables>::default(),
        Box::<Map>::default(),
        Box::<SweptMap>::default(),
    ]
}

struct Effort {
    rounds: usize,
    operations: usize,
    many: usize,
}

/// Operations a second of `threads` threads, each on its own sequence of names.
fn rate(keyed: &dyn Keyed, names: &[String], picks: &[Vec<u32>]) -> f64 {
    let operations: usize = picks.iter().map(Vec::len).sum();
    let run = |picks: &[u32]| {
        let mut worked = 0_u64;
        for &pick in picks {
            keyed.serialise(&names[pick as usize], &mut || worked += 1);
        }
        black_box(worked);
    };
    if let [picks] = picks {
        let start = Instant::now();
        run(picks);
        return operations as f64 / start.elapsed().as_secs_f64();
    }
    let barrier = Barrier::new(picks.len() + 1);
    thread::scope(|scope| {
        for picks in picks {
            scope.spawn(|| {
                barrier.wait();
                run(picks);
                barrier.wait();
            });
        }
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        operations as f64 / start.elapsed().as_secs_f64()
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("customer {number:07}")).collect()
}

/// The measured ratios, and whether they are what was aimed at.
struct Report {
    table: Table,
    missed: bool,
    bar: ProgressBar,
}

impl Report {
    fn line(&mut self, what: &str, than: &str, ratio: f64, target: Option<(bool, f64)>) {
        let (aim, met) = match target {
            Some((true, least)) => (format!("at least {least}"), ratio >= least),
            Some((false, most)) => (format!("at most {most}"), ratio <= most),
            None => (String::new(), true),
        };
        self.missed |= !met;
        let verdict = match (target, met) {
            (None, _) => "",
            (_, true) => "met",
            (_, false) => "MISSED",
        };
        self.table.add_row([what, than, &format!("{ratio:.2}"), &aim, verdict]);
    }

    /// Rates of all contenders in turn, and warded's as a multiple of the others'.
    fn against_others(
        &mut self,
        effort: &Effort,
        what: &str,
        contenders: &[Box<dyn Keyed>],
        names: &[String],
        picks: &[Vec<u32>],
        targets: [Option<f64>; 3],
    ) {
        let mut ratios = [const { Vec::new() }; 3];
        for _ in 0..effort.rounds {
            let rates: Vec<_> =
                contenders.iter().map(|keyed| rate(&**keyed, names, picks)).collect();
            for (ratios, other) in ratios.iter_mut().zip(&rates[1..]) {
                ratios.push(rates[0] / other);
            }
            self.bar.inc(1);
        }
        for ((ratios, than), target) in ratios.into_iter().zip(&CONTENDERS[1..]).zip(targets) {
            self.line(what, than, median(ratios), target.map(|least| (true, least)));
        }
    }

    /// How long `one` takes as a multiple of `other`.
    fn time_ratio(
        &mut self,
        effort: &Effort,
        (what, than): (&str, &str),
        most: f64,
        mut one: impl FnMut(),
        mut other: impl FnMut(),
    ) {
        let mut ratios = Vec::new();
        let operations = effort.operations / 5;
        for _ in 0..effort.rounds {
            let time = |work: &mut dyn FnMut()| {
                let start = Instant::now();
                (0..operations).for_each(|_| work());
                start.elapsed().as_secs_f64()
            };
            let first = time(&mut one);
            ratios.push(first / time(&mut other));
            self.bar.inc(1);
        }
        self.line(what, than, median(ratios), Some((false, most)));
    }
}

/// Measures, and says whether all targets are met.
pub fn main() -> ExitCode {
    // Cargo says `--bench` when it is to be measured, and not when it is a test.
    let quick = env::args().any(|arg| arg == "--quick") || env::args().all(|arg| arg != "--bench");
    let effort = if quick {
        Effort { rounds: 1, operations: 500, many: 1_000 }
    } else {
        Effort { rounds: 21, operations: 200_000, many: 1_000_000 }
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rounds, {eta} left")
        .expect("a template");
    let bar = ProgressBar::new(9 * effort.rounds as u64).with_style(style);
    let mut table = Table::new();
    table.set_header(["warded's", "as a multiple of", "ratio", "aim", ""]);
    let mut report = Report { table, missed: false, bar };

    hot(&effort, &mut report);
    thousand(&effort, &mut report);
    several(&effort, &mut report);
    million(&effort, &mut report);

    report.bar.finish_and_clear();
    println!("{}", report.table);
    if report.missed && !quick { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn hot(effort: &Effort, report: &mut Report) {
    let names = names(1);
    let picks = [vec![0; effort.operations]];
    let targets = [Some(2.0), Some(1.0), None];
    let mut all = contenders();
    report.against_others(effort, "rate on one name", &all, &names, &picks, targets);
    all.iter_mut().for_each(|keyed| keyed.keep_in_use(&names));
    report.against_others(effort, "rate on one name in use", &all, &names, &picks, targets);
}

fn thousand(effort: &Effort, report: &mut Report) {
    const NAMES: usize = 1_000;
    let names = names(NAMES);
    let all = contenders();
    let mut random = SmallRng::seed_from_u64(7);
    let each = effort.operations / 2;
    let uniform = || (0..each).map(|_| random.random_range(0..NAMES as u32)).collect();
    let uniform: Vec<Vec<u32>> = std::iter::repeat_with(uniform).take(8).collect();
    let targets = [Some(1.5), None, None];
    let what = "rate of 8 threads, 1,000 names, uniform";
    report.against_others(effort, what, &all, &names, &uniform, targets);

    let zipf = Zipf::new(NAMES as f64, 1.0).expect("a distribution");
    let skewed = || (0..each).map(|_| zipf.sample(&mut random) as u32 - 1).collect();
    let skewed: Vec<Vec<u32>> = std::iter::repeat_with(skewed).take(8).collect();
    let what = "rate of 8 threads, 1,000 names, Zipf";
    report.against_others(effort, what, &all, &names, &skewed, targets);
}

fn several(effort: &Effort, report: &mut Report) {
    let names = names(5);
    let names: [&str; 5] = std::array::from_fn(|place| &*names[place]);
    let locks = LockManager::local();
    report.time_ratio(
        effort,
        ("time of lock_all of 5 names", "five single locks, held together"),
        1.3,
        || drop(locks.lock_all(&names, Wait::Forever).expect("names")),
        || {
            let guards = names.map(|name| {
                let lock = locks.get_lock(name).expect("a name");
                lock.lock_owned().expect("no deadlocks are looked for")
            });
            drop(guards);
        },
    );
    report.time_ratio(
        effort,
        ("time of acquire_all and release_all of 5 names", "five times acquire and release"),
        1.3,
        || {
            assert!(locks.acquire_all(&names, Wait::Forever).expect("names"));
            locks.release_all(&names).expect("they are held");
        },
        || {
            for name in names {
                let lock = locks.get_lock(name).expect("a name");
                assert!(lock.acquire(Wait::Forever).expect("no deadlocks are looked for"));
            }
            for name in names {
                locks.get_lock(name).expect("a name").release().expect("it is held");
            }
        },
    );
}

fn million(effort: &Effort, report: &mut Report) {
    let names = names(effort.many);
    let all = contenders();
    let mut random = SmallRng::seed_from_u64(7);
    let mut shuffled = |part: std::ops::Range<usize>| -> Vec<u32> {
        (0..effort.operations)
            .map(|_| random.random_range(part.start as u32..part.end as u32))
            .collect()
    };
    let half = effort.many / 2;
    let one = [shuffled(0..effort.many)];
    let two = [shuffled(0..half), shuffled(half..effort.many)];
    let targets = [Some(1.0), Some(1.0), None];
    let what = "rate of 1 thread, 1,000,000 names";
    report.against_others(effort, what, &all, &names, &one, targets);
    let what = "rate of 2 threads, 1,000,000 names";
    report.against_others(effort, what, &all, &names, &two, targets);
    let mut growth = Vec::new();
    for _ in 0..effort.rounds {
        let single = rate(&*all[0], &names, &one);
        growth.push(rate(&*all[0], &names, &two) / single);
        report.bar.inc(1);
    }
    report.line(
        "rate of 2 threads on distinct names",
        "its own of 1",
        median(growth),
        Some((true, 1.0)),
    );
}
