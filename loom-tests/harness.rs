//! Runs models: every limit of loom off or stated, executions counted, results recorded.
//!
//! Each model runs in variants: budgets, load modes (`warded::model::strong_loads`) and bounds.
//! Each variant is a test with a name of its own, and writes one JSON record into the file that
//! [`RECORDS`] names, for `cargo xtask verify`.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use std::{env, process};

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Serialize;
use serde_json::json;
use warded::model::log;

use crate::trace;

/// The environment variable with the file to which records are appended.
const RECORDS: &str = "WARDED_LOOM_RECORDS";
/// The environment variable that brings the long tier in.
const FULL: &str = "WARDED_LOOM_FULL";
/// The environment variable that weakens one memory ordering, as `SITE=Ordering`.
const WEAKEN: &str = "WARDED_LOOM_WEAKEN";

/// Loom's own limit on threads, the main one included.
const MAX_THREADS: usize = 5;
/// No model comes near so many branch points in one execution; one that does is reported, not cut.
const MAX_BRANCHES: usize = 20_000;

/// The bypass budgets with which every model of a primitive runs.
pub const BUDGETS: &[u16] = &[0, 1, 2];

/// A model, or one of many that count as one.
pub struct Program {
    /// Which of many, as a person writes it.
    pub text: Option<String>,
    /// The whole execution, with that bypass budget.
    pub run: Arc<dyn Fn(u16) + Send + Sync>,
}

/// What a model is about.
#[derive(Clone, Serialize)]
pub struct About {
    pub model: String,
    /// What an execution that breaks it would refute.
    pub claim: &'static str,
    /// With the main one.
    pub threads: usize,
    /// What each does, as a person writes it.
    pub operations: &'static str,
    /// What works against it, beside the scheduler.
    pub adversary: &'static str,
}

/// How much is explored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Everything that loom knows.
    None,
    /// At most so many switches away from a thread that could have gone on.
    Preemptions(usize),
}

/// How much of a model is explored in a tier. Stale values multiply the executions, and so does a
/// budget of nothing, with which everybody queues.
#[derive(Clone, Copy)]
pub struct Extent {
    tier: Tier,
    weak_without_budget: Bound,
    weak: Bound,
    strong: Bound,
}

impl Extent {
    fn bound(&self, budget: u16, loads: Loads) -> Bound {
        match (loads, budget) {
            (Loads::Weak, 0) => self.weak_without_budget,
            (Loads::Weak, _) => self.weak,
            (Loads::Strong, _) => self.strong,
        }
    }
}

/// For models small enough to be explored to the end.
pub const UNBOUNDED: &[Extent] = &[Extent {
    tier: Tier::Fast,
    weak_without_budget: Bound::None,
    weak: Bound::None,
    strong: Bound::None,
}];

/// For models that can be explored to the end, given time.
pub const UNBOUNDED_AT_LENGTH: &[Extent] = &[Extent { tier: Tier::Full, ..UNBOUNDED[0] }];

/// For two threads with two cycles each.
pub const TWO_THREADS: &[Extent] = &[
    Extent {
        tier: Tier::Fast,
        weak_without_budget: Bound::Preemptions(1),
        weak: Bound::Preemptions(2),
        strong: Bound::Preemptions(4),
    },
    Extent {
        tier: Tier::Full,
        weak_without_budget: Bound::Preemptions(2),
        weak: Bound::Preemptions(3),
        strong: Bound::Preemptions(5),
    },
];

/// For two threads that look at the word when they leave, too, and may see a stale one.
pub const TWO_LOOKING_BACK: &[Extent] = &[
    Extent {
        tier: Tier::Fast,
        weak_without_budget: Bound::Preemptions(1),
        weak: Bound::Preemptions(1),
        strong: Bound::Preemptions(4),
    },
    Extent {
        tier: Tier::Full,
        weak_without_budget: Bound::Preemptions(2),
        weak: Bound::Preemptions(2),
        strong: Bound::Preemptions(5),
    },
];

/// For two threads beside a future at the head, which look more than once before they go.
pub const BESIDE_A_FUTURE: &[Extent] = &[
    THREE_THREADS[0],
    Extent {
        tier: Tier::Full,
        weak_without_budget: Bound::Preemptions(2),
        weak: Bound::Preemptions(2),
        strong: Bound::Preemptions(4),
    },
];

/// For three threads, and for two that want two locks each.
pub const THREE_THREADS: &[Extent] = &[
    Extent {
        tier: Tier::Fast,
        weak_without_budget: Bound::Preemptions(1),
        weak: Bound::Preemptions(1),
        strong: Bound::Preemptions(2),
    },
    THREE_THREADS_AT_LENGTH,
];

/// For three threads that queue, look, and queue again: without a budget, stale values alone make
/// many executions.
pub const CROWDED: &[Extent] = &[
    Extent {
        tier: Tier::Fast,
        weak_without_budget: Bound::Preemptions(0),
        weak: Bound::Preemptions(1),
        strong: Bound::Preemptions(2),
    },
    THREE_THREADS_AT_LENGTH,
];

/// For three threads with two cycles each.
pub const AT_LENGTH: &[Extent] = &[THREE_THREADS_AT_LENGTH];

const THREE_THREADS_AT_LENGTH: Extent = Extent {
    tier: Tier::Full,
    weak_without_budget: Bound::Preemptions(1),
    weak: Bound::Preemptions(2),
    strong: Bound::Preemptions(3),
};

/// For the larger of the generated programs, which are many.
pub const PROGRAMS: &[Extent] = &[
    THREE_THREADS[0],
    Extent {
        tier: Tier::Full,
        weak_without_budget: Bound::Preemptions(2),
        weak: Bound::Preemptions(2),
        strong: Bound::Preemptions(3),
    },
];

/// When a variant runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    Fast,
    Full,
}

/// Whether loads conflict with everything; see `warded::model::strong_loads`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Loads {
    /// As they are: stale values are explored.
    Weak,
    /// As read-modify-writes: every interleaving is explored.
    Strong,
}

impl Loads {
    fn name(self) -> &'static str {
        match self {
            Self::Weak => "weak",
            Self::Strong => "strong",
        }
    }
}

/// All models, in all variants.
pub struct Suite {
    trials: Vec<Trial>,
    full: bool,
}

impl Suite {
    pub fn new() -> Self {
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            // Loom ends a run that reaches these limits as if it had passed.
            if name.starts_with("LOOM_MAX_") || name == "LOOM_CHECKPOINT_FILE" {
                eprintln!("{name} is set: a model that it cut short would count as passed");
                process::exit(2);
            }
        }
        Self { trials: Vec::new(), full: env::var_os(FULL).is_some() }
    }

    /// A model of a primitive, with each budget and both load modes.
    ///
    /// The model is the whole execution, and asserts its claim itself.
    pub fn model(&mut self, about: About, budgets: &[u16], extents: &[Extent], model: fn(u16)) {
        let program = Program { text: None, run: Arc::new(model) };
        self.programs(about, budgets, extents, vec![program]);
    }

    /// Many models with one claim, which count as one.
    pub fn programs(
        &mut self,
        about: About,
        budgets: &[u16],
        extents: &[Extent],
        programs: Vec<Program>,
    ) {
        let programs: Arc<[Program]> = programs.into();
        for &budget in budgets {
            for loads in [Loads::Weak, Loads::Strong] {
                let mut covered = None;
                for extent in extents {
                    let bound = extent.bound(budget, loads);
                    if covered.replace(bound) != Some(bound) {
                        let about = about.clone();
                        let variant = Variant { about, budget, loads, bound };
                        self.add(variant, extent.tier, Arc::clone(&programs));
                    }
                }
            }
        }
    }

    /// A test of loom itself: of the outcomes that are allowed, exactly the expected ones are seen.
    pub fn self_test(
        &mut self,
        test: &'static str,
        allowed: &'static [&'static str],
        loads: Loads,
        expected: &'static [&'static str],
        run: impl FnOnce() -> BTreeSet<String> + Send + 'static,
    ) {
        let words: Vec<_> =
            test.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let name = format!("checker/{}/{}", words.join("-"), loads.name());
        self.trials.push(Trial::test(name.clone(), move || {
            record(&json!({ "event": "begin", "name": name }));
            EXPECTED.set(true);
            let seen = run();
            EXPECTED.set(false);
            let as_expected = seen.iter().map(String::as_str).eq(expected.iter().copied());
            let failure = (!as_expected)
                .then(|| format!("{name}: loom saw {seen:?}, and {expected:?} was expected"));
            record(&json!({
                "event": "end", "name": name, "checker": test, "loads": loads,
                "allowed": allowed, "seen": seen, "failure": failure,
            }));
            failure.map_or(Ok(()), |failure| Err(failure.into()))
        }));
    }

    fn add(&mut self, variant: Variant, tier: Tier, programs: Arc<[Program]>) {
        let long = tier == Tier::Full && !self.full;
        let trial = Trial::test(variant.name(), move || variant.check(&programs));
        self.trials.push(trial.with_ignored_flag(long));
    }

    pub fn run(self) -> ! {
        report_failures_at_once();
        let sites: Vec<_> = warded::model::orderings()
            .map(|(site, ordering)| (site, format!("{ordering:?}")))
            .collect();
        record(&json!({ "event": "sites", "sites": sites }));
        libtest_mimic::run(&Arguments::from_args(), self.trials).exit()
    }
}

#[derive(Clone)]
struct Variant {
    about: About,
    budget: u16,
    loads: Loads,
    bound: Bound,
}

impl Variant {
    /// Unique, and without characters that a shell would touch.
    fn name(&self) -> String {
        let loads = self.loads.name();
        let bound = match self.bound {
            Bound::None => "unbounded".to_owned(),
            Bound::Preemptions(bound) => format!("bound={bound}"),
        };
        format!("{}/budget={}/{loads}/{bound}", self.about.model, self.budget)
    }

    fn check(&self, programs: &[Program]) -> Result<(), Failed> {
        record(&json!({ "event": "begin", "name": self.name() }));
        warded::model::strong_loads(self.loads == Loads::Strong);
        warded::model::weaken(weakened());

        let (mut executions, mut seconds) = (0, 0.0);
        for program in programs {
            let counts = Arc::new(Counts::default());
            RUNNING.set(Some(Running {
                variant: self.clone(),
                program: program.text.clone(),
                counts: Arc::clone(&counts),
            }));
            let (budget, run) = (self.budget, Arc::clone(&program.run));
            let explored = explore(self.bound, &counts, move || run(budget));
            // The panic hook has taken it, and reported, if the model panicked.
            let running = RUNNING.take();
            match (explored.verdict(), running) {
                (Ok(()), _) => {
                    executions += explored.executions();
                    seconds += explored.seconds;
                }
                (Err(why), None) => return Err(why.into()),
                (Err(why), Some(running)) => return Err(running.report(&why).into()),
            }
        }
        // Loom#392: some shapes end the exploration after the first execution.
        if executions == programs.len() as u64 {
            let why = "only one execution was explored";
            self.record(executions, seconds, Some(why));
            return Err(why.into());
        }
        self.record(executions, seconds, None);
        Ok(())
    }

    fn record(&self, executions: u64, seconds: f64, failure: Option<&str>) {
        record(&json!({
            "event": "end",
            "name": self.name(),
            "about": self.about,
            "budget": self.budget,
            "loads": self.loads,
            "bound": match self.bound { Bound::None => None, Bound::Preemptions(n) => Some(n) },
            "executions": executions,
            "seconds": seconds,
            "failure": failure,
        }));
    }
}

/// A model in the course of its run, for the panic hook.
struct Running {
    variant: Variant,
    /// Which of many.
    program: Option<String>,
    counts: Arc<Counts>,
}

thread_local! {
    static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
    /// Whether a panic is what a self-test is there to see.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

impl Running {
    /// Records the failure, and tells it to a person.
    fn report(&self, why: &str) -> String {
        let Self { variant, program, counts } = self;
        let (name, executions) = (variant.name(), counts.begun.load(Ordering::Relaxed));
        variant.record(executions, 0.0, Some(why));
        let About { claim, threads, operations, adversary, .. } = &variant.about;
        let operations = program.as_deref().unwrap_or(operations);
        let report = format!(
            "{name} FAILED\n  claim:      {claim}\n  threads:    {threads}: {operations}\n  \
             adversary:  {adversary}\n  execution:  {executions}\n  why:        {why}\n  \
             alone:      RUSTFLAGS=\"--cfg loom\" cargo test --release --test loom -- \
             --include-ignored --exact {name}\n{}",
            trace::schedule()
        );
        eprint!("\n{report}");
        report
    }
}

/// A model that panics may take the process with it, when destructors meet what loom has left: so
/// its failure is reported from the first panic on.
fn report_failures_at_once() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if let Some(running) = RUNNING.take() {
            running.report(&format!("{} ({})", message(info.payload()), place(info)));
        } else if EXPECTED.get() {
            return;
        }
        hook(info);
    }));
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "somewhere".to_owned(), ToString::to_string)
}

/// How many executions there were.
#[derive(Default)]
pub struct Counts {
    begun: AtomicU64,
    /// Came to the model's end.
    finished: AtomicU64,
}

/// What loom did with a model.
pub struct Explored {
    pub counts: Arc<Counts>,
    pub seconds: f64,
    /// What ended the run before its time.
    pub panic: Option<String>,
}

impl Explored {
    pub fn executions(&self) -> u64 {
        self.counts.begun.load(Ordering::Relaxed)
    }

    fn verdict(&self) -> Result<(), String> {
        let (begun, finished) = (self.executions(), self.counts.finished.load(Ordering::Relaxed));
        match &self.panic {
            Some(panic) => Err(panic.clone()),
            None if finished != begun => Err(format!("{finished} of {begun} executions finished")),
            None => Ok(()),
        }
    }
}

/// Runs `model` under loom, in every execution that the bound allows.
pub fn explore(
    bound: Bound,
    counts: &Arc<Counts>,
    model: impl Fn() + Send + Sync + 'static,
) -> Explored {
    // Built by hand, so that nothing comes from the environment.
    let mut builder = loom::model::Builder::new();
    builder.max_threads = MAX_THREADS;
    builder.max_branches = MAX_BRANCHES;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.checkpoint_file = None;
    builder.expect_explicit_explore = false;
    builder.preemption_bound = match bound {
        Bound::None => None,
        Bound::Preemptions(bound) => Some(bound),
    };

    let (start, counted) = (Instant::now(), Arc::clone(counts));
    let checked = panic::catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            counted.begun.fetch_add(1, Ordering::Relaxed);
            log::begin();
            model();
            counted.finished.fetch_add(1, Ordering::Relaxed);
        });
    }));
    Explored {
        counts: Arc::clone(counts),
        seconds: start.elapsed().as_secs_f64(),
        panic: checked.err().map(|payload| message(&*payload)),
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// The ordering that the environment weakens.
fn weakened() -> Option<(&'static str, Ordering)> {
    let wanted = env::var(WEAKEN).ok()?;
    let (site, ordering) = wanted.split_once('=').expect("SITE=Ordering");
    let ordering = match ordering {
        "Relaxed" => Ordering::Relaxed,
        "Acquire" => Ordering::Acquire,
        "Release" => Ordering::Release,
        other => panic!("{other} is not weaker than anything"),
    };
    let (site, _) = warded::model::orderings()
        .find(|(name, _)| *name == site)
        .unwrap_or_else(|| panic!("no site {site}"));
    Some((site, ordering))
}

/// Appends one line; a line at a time, so that models that run beside each other do not mix theirs.
fn record(record: &serde_json::Value) {
    let Some(path) = env::var_os(RECORDS) else { return };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all(format!("{record}\n").as_bytes())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
