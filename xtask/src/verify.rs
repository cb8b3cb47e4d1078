//! `cargo xtask verify`: runs the loom models, and writes docs/verification.md from their records.

mod bugs;
mod full;
mod mutants;
mod page;
mod proof;
mod records;
mod threads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

pub use proof::{HowMuch, run as prove};
use records::{Event, Model, Ordering, Record};

/// The environment variables that loom-tests/harness.rs reads.
const RECORDS: &str = "WARDED_LOOM_RECORDS";
const FULL: &str = "WARDED_LOOM_FULL";
const WEAKEN: &str = "WARDED_LOOM_WEAKEN";

/// The evidence of the last runs, one record a line.
const EVIDENCE: &str = "docs/verification.jsonl";
const PAGE: &str = "docs/verification.md";

/// Model-check the primitives with loom, and write docs/verification.md. Without an option that says
/// otherwise, this runs the fast tier.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("instead").multiple(false))]
pub struct Args {
    /// Run the long tier, each model in a process of its own: hours instead of minutes. Broken off,
    /// it goes on where it was.
    #[arg(long, group = "instead")]
    full: bool,
    /// After so many minutes a model of the long tier is cut short, and counts as a failure.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Weaken each memory ordering in turn, and see which model of the fast tier finds it out.
    #[arg(long, group = "instead")]
    orderings: bool,
    /// Plant each known bug in a copy of the source, and see that the models find it.
    #[arg(long, group = "instead")]
    mutants: bool,
    /// Run the proof of the engine for any number of threads.
    #[arg(long, group = "instead", value_name = "HOW MUCH")]
    proof: Option<HowMuch>,
    /// Run the primitives on real threads, under Miri and ThreadSanitizer.
    #[arg(long, group = "instead")]
    threads: bool,
    /// Run the fast tier, fail if the committed page says anything but what it shows, and write
    /// nothing.
    #[arg(long, group = "instead")]
    check: bool,
    /// Only the models, or planted bugs, whose name has this in it. The fast tier writes no page then.
    #[arg(long, conflicts_with_all = ["orderings", "proof", "threads", "check"])]
    filter: Option<String>,
}

/// Runs what `args` ask for, and writes or checks the page.
pub fn run(args: Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask/ has a parent")?;
    let filter = args.filter.as_deref();
    if args.mutants {
        return mutants::run(root, filter, |planted| keep(root, Record::Planted(planted)));
    }
    if let Some(how_much) = args.proof {
        let steps = proof::run(root, how_much)?;
        return steps.into_iter().try_for_each(|step| keep(root, Record::Proof(step)));
    }

    if args.threads {
        return threads::run(root, |ran| keep(root, Record::Threads(ran)));
    }

    let models = Models::build(root)?;
    if args.full {
        let chosen = models.long.iter().filter(|name| filter.is_none_or(|it| name.contains(it)));
        let keep = |record| keep(root, record);
        return full::run(&models.binary, &chosen.cloned().collect(), args.minutes, keep);
    }
    if args.orderings {
        for (site, ordering) in models.sites()? {
            keep(root, Record::Ordering(models.weaken(site, ordering)?))?;
        }
        return Ok(());
    }

    let ran = models.run(filter)?;
    let failures: Vec<_> = ran.iter().filter_map(Record::failure).collect();
    ensure!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    println!("{} models and self-tests passed", ran.len());
    let mut evidence = Evidence::read(root)?;
    evidence.renew(ran, &models);
    if args.check {
        let committed = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
        // Loom explores in the same order each time, so even the counts are the same.
        ensure!(
            committed == page::write(evidence.records())?,
            "{PAGE} is not what the models show: run `cargo xtask verify`"
        );
        println!("{PAGE} is what the models show");
    } else if filter.is_none() {
        evidence.write(root)?;
        println!("{PAGE} written");
    }
    Ok(())
}

/// Puts one result on the page: each may have taken long.
fn keep(root: &Path, record: Record) -> Result<()> {
    let mut evidence = Evidence::read(root)?;
    evidence.0.insert(record.key(), record);
    evidence.write(root)
}

/// What is known from all runs, by its key.
struct Evidence(BTreeMap<String, Record>);

impl Evidence {
    fn read(root: &Path) -> Result<Self> {
        let known = records::read(&root.join(EVIDENCE))?;
        Ok(Self(known.into_iter().map(|record| (record.key(), record)).collect()))
    }

    /// Puts what has run instead of its earlier self, and forgets what is no more, or says of itself
    /// what the model of that name does not any more.
    fn renew(&mut self, ran: Vec<Record>, models: &Models) {
        let abouts: BTreeSet<_> = ran.iter().filter_map(Record::about).collect();
        self.0.retain(|_, record| match record {
            Record::Planted(planted) => mutants::names().any(|name| name == planted.bug),
            Record::Model(Model { name, about, .. }) if models.long.contains(name) => {
                // What is in the long tier only cannot be compared.
                let runs = abouts.iter().any(|other| other.model == about.model);
                !runs || abouts.contains(about)
            }
            _ => record
                .name()
                .is_none_or(|name| models.fast.contains(name) || models.long.contains(name)),
        });
        self.0.extend(ran.into_iter().map(|record| (record.key(), record)));
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.values()
    }

    fn write(&self, root: &Path) -> Result<()> {
        records::write(&root.join(EVIDENCE), self.records())?;
        fs::write(root.join(PAGE), page::write(self.records())?).context(PAGE)
    }
}

/// The test binary with all models.
struct Models {
    binary: PathBuf,
    records: PathBuf,
    /// The names of those in the fast tier.
    fast: BTreeSet<String>,
    /// The names of all others.
    long: BTreeSet<String>,
}

impl Models {
    /// Builds it in a target directory of its own, so that other builds stay as they are.
    fn build(root: &Path) -> Result<Self> {
        let target = root.join("target/loom");
        println!("building the models with --cfg loom");
        let binary = build(root, &target, &[])?;

        let list = |more: &[&str]| -> Result<BTreeSet<String>> {
            let listed =
                Command::new(&binary).args(["--list", "--format", "terse"]).args(more).output()?;
            ensure!(listed.status.success(), "the models cannot be listed");
            let names = String::from_utf8(listed.stdout)?;
            Ok(names.lines().filter_map(|l| l.strip_suffix(": test")).map(str::to_owned).collect())
        };
        let long = list(&["--ignored"])?;
        let fast = list(&[])?.difference(&long).cloned().collect();
        Ok(Self { binary, records: target.join("records.jsonl"), fast, long })
    }

    /// Runs the fast tier, and gives the records of all that were to run.
    fn run(&self, filter: Option<&str>) -> Result<Vec<Record>> {
        let expected: BTreeSet<_> = self
            .fast
            .iter()
            .filter(|name| filter.is_none_or(|filter| name.contains(filter)))
            .collect();
        ensure!(!expected.is_empty(), "no model has that in its name");
        let mut command = self.command();
        command.args(filter);
        let mut run = Run::start(command, &self.records, expected.len())?;
        while !run.step()? {}
        let (records, begun) = run.finish()?;

        let ran: BTreeSet<_> = records.iter().filter_map(Record::name).collect();
        let missing: Vec<_> = expected.iter().filter(|name| !ran.contains(name.as_str())).collect();
        let failures: Vec<_> = records.iter().filter_map(Record::failure).collect();
        if !missing.is_empty() {
            bail!(
                "{} of {} models did not run to their end.\n{}\nUnfinished: {begun:?}",
                missing.len(),
                expected.len(),
                failures.join("\n"),
            );
        }
        Ok(records)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env(RECORDS, &self.records).env_remove(FULL).env_remove(WEAKEN);
        command.env("RUST_BACKTRACE", "0").stdout(Stdio::null());
        command
    }

    /// The named memory orderings.
    fn sites(&self) -> Result<Vec<(String, String)>> {
        let mut command = self.command();
        command.args(["--exact", "no model"]);
        let mut run = Run::start(command, &self.records, 0)?;
        while !run.step()? {}
        run.finish()?;
        records::sites(&self.records)
    }

    /// Weakens one memory ordering, in a process of its own, since loom may abort, until a model
    /// of the fast tier fails.
    fn weaken(&self, site: String, ordering: String) -> Result<Ordering> {
        println!("{site}: {ordering} weakened to Relaxed");
        let mut command = self.command();
        command.env(WEAKEN, format!("{site}=Relaxed")).stderr(Stdio::null());
        let mut run = Run::start(command, &self.records, self.fast.len())?;
        while !run.step()? && run.failed.is_none() {}
        let killed_by = run.failed.take();
        let (ended, begun) = run.finish()?;
        ensure!(
            killed_by.is_some() || ended.len() == self.fast.len(),
            "the run with {site} weakened broke off in {begun:?}"
        );
        println!("  {}", killed_by.as_ref().map_or("survives", |killer| killer.0.as_str()));
        Ok(Ordering { site, ordering, weaker: "Relaxed".to_owned(), killed_by })
    }
}

/// Builds the models, with these settings of cargo's beside, and says where the test binary is.
fn build(root: &Path, target: &Path, settings: &[&str]) -> Result<PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args(["test", "--release", "--test", "loom", "--no-run", "--message-format=json"])
        .args(settings.iter().flat_map(|setting| ["--config", setting]))
        .current_dir(root)
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target)
        .stderr(Stdio::piped())
        .output()?;
    ensure!(
        built.status.success(),
        "the models do not build:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    String::from_utf8(built.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "loom")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no test binary")
}

/// The test binary at work.
struct Run {
    child: Child,
    records: PathBuf,
    bar: ProgressBar,
    /// The first model that failed, and after how many executions.
    failed: Option<(String, u64)>,
}

impl Run {
    fn start(mut command: Command, records: &Path, expected: usize) -> Result<Self> {
        if records.exists() {
            fs::remove_file(records)?;
        }
        let bar = ProgressBar::new(expected as u64).with_style(ProgressStyle::with_template(
            "{elapsed_precise} {bar:30} {pos}/{len} {wide_msg}",
        )?);
        let child = command.spawn().context("the test binary does not start")?;
        Ok(Self { child, records: records.to_owned(), bar, failed: None })
    }

    /// Shows how far it has come; `true` when it is over.
    fn step(&mut self) -> Result<bool> {
        thread::sleep(Duration::from_millis(200));
        let over = self.child.try_wait()?.is_some();
        let mut running = BTreeSet::new();
        let mut done = 0;
        for event in records::events(&self.records)? {
            match event {
                Event::Begin { name } => {
                    running.insert(name);
                }
                Event::End(record) => {
                    done += 1;
                    if let Some(name) = record.name() {
                        running.remove(name);
                        if record.failure().is_some() && self.failed.is_none() {
                            self.failed = Some((name.to_owned(), record.executions()));
                        }
                    }
                }
                Event::Sites { .. } => {}
            }
        }
        self.bar.set_position(done);
        self.bar.set_message(running.into_iter().collect::<Vec<_>>().join(", "));
        Ok(over)
    }

    /// Ends it, and gives the records, and the names of those that began and did not end.
    fn finish(mut self) -> Result<(Vec<Record>, BTreeSet<String>)> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
        }
        self.child.wait()?;
        self.bar.finish_and_clear();
        let (mut ended, mut begun) = (Vec::new(), BTreeSet::new());
        for event in records::events(&self.records)? {
            match event {
                Event::Begin { name } => {
                    begun.insert(name);
                }
                Event::End(record) => {
                    begun.retain(|name| record.name() != Some(name));
                    ended.push(*record);
                }
                Event::Sites { .. } => {}
            }
        }
        Ok((ended, begun))
    }
}
