//! `cargo xtask verify`: runs the loom models, and writes docs/verification.md from their records.

mod page;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use records::{Event, Ordering, Record};

/// The environment variables that loom-tests/harness.rs reads.
const RECORDS: &str = "WARDED_LOOM_RECORDS";
const FULL: &str = "WARDED_LOOM_FULL";
const WEAKEN: &str = "WARDED_LOOM_WEAKEN";

/// The evidence of the last runs, one record a line.
const EVIDENCE: &str = "docs/verification.jsonl";
const PAGE: &str = "docs/verification.md";

/// Model-check the primitives with loom, and write docs/verification.md.
#[derive(clap::Args)]
pub struct Args {
    /// Bring in the long tier, and weaken each memory ordering then: hours instead of minutes.
    #[arg(long)]
    full: bool,
    /// Only weaken each memory ordering in turn, and see which model of the fast tier finds it out.
    #[arg(long, conflicts_with_all = ["full", "filter"])]
    orderings: bool,
    /// Only the models whose name has this in it. Writes no page.
    #[arg(long)]
    filter: Option<String>,
    /// Fail if the committed page says anything but what the models show; write nothing.
    #[arg(long, conflicts_with_all = ["full", "orderings", "filter"])]
    check: bool,
}

/// Runs the models, and writes or checks the page.
pub fn run(args: Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask/ has a parent")?;
    let models = Models::build(root, args.full)?;
    let mut evidence = Evidence::read(root)?;

    if !args.orderings {
        let ran = models.run(args.filter.as_deref())?;
        let failures: Vec<_> = ran.iter().filter_map(Record::failure).collect();
        ensure!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
        println!("{} models and self-tests passed", ran.len());
        evidence.renew(ran, &models.all);
    }
    if args.check {
        let committed = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
        // Loom explores in the same order each time, so even the counts are the same.
        ensure!(
            committed == page::write(evidence.records())?,
            "{PAGE} is not what the models show: run `cargo xtask verify`"
        );
        println!("{PAGE} is what the models show");
    } else if args.filter.is_none() {
        evidence.write(root)?;
        println!("{PAGE} written");
    }

    if args.full || args.orderings {
        for (site, ordering) in models.sites()? {
            let weakened = models.weaken(site, ordering)?;
            evidence.renew(vec![Record::Ordering(weakened)], &models.all);
            // Each may have taken long.
            evidence.write(root)?;
        }
    }
    Ok(())
}

/// What is known from all runs, by its key.
struct Evidence(BTreeMap<String, Record>);

impl Evidence {
    fn read(root: &Path) -> Result<Self> {
        let known = records::read(&root.join(EVIDENCE))?;
        Ok(Self(known.into_iter().map(|record| (record.key(), record)).collect()))
    }

    /// Puts what has run instead of its earlier self, and forgets models that are no more.
    fn renew(&mut self, ran: Vec<Record>, all: &BTreeSet<String>) {
        self.0.retain(|_, record| record.name().is_none_or(|name| all.contains(name)));
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
    /// The names of those in the tier.
    expected: BTreeSet<String>,
    /// The names of all.
    all: BTreeSet<String>,
    /// How many there are in the fast tier.
    fast: usize,
    full: bool,
}

impl Models {
    /// Builds it in a target directory of its own, so that other builds stay as they are.
    fn build(root: &Path, full: bool) -> Result<Self> {
        let target = root.join("target/loom");
        println!("building the models with --cfg loom");
        let built = Command::new(env!("CARGO"))
            .args(["test", "--release", "--test", "loom", "--no-run", "--message-format=json"])
            .current_dir(root)
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", &target)
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(built.status.success(), "the models do not build");
        let binary = String::from_utf8(built.stdout)?
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "loom")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .context("cargo names no test binary")?;

        let list = |more: &[&str]| -> Result<BTreeSet<String>> {
            let listed =
                Command::new(&binary).args(["--list", "--format", "terse"]).args(more).output()?;
            ensure!(listed.status.success(), "the models cannot be listed");
            let names = String::from_utf8(listed.stdout)?;
            Ok(names.lines().filter_map(|l| l.strip_suffix(": test")).map(str::to_owned).collect())
        };
        let all = list(&[])?;
        let long = list(&["--ignored"])?;
        let fast = all.len() - long.len();
        let expected = if full { all.clone() } else { all.difference(&long).cloned().collect() };
        Ok(Self { binary, records: target.join("records.jsonl"), expected, all, fast, full })
    }

    /// Runs the tier's models, and gives the records of all that were to run.
    fn run(&self, filter: Option<&str>) -> Result<Vec<Record>> {
        let expected: BTreeSet<_> = self
            .expected
            .iter()
            .filter(|name| filter.is_none_or(|filter| name.contains(filter)))
            .collect();
        ensure!(!expected.is_empty(), "no model has that in its name");
        let mut command = self.command();
        command.args(filter);
        if self.full {
            command.env(FULL, "1");
        }
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
        let mut run = Run::start(command, &self.records, self.fast)?;
        while !run.step()? && run.failed.is_none() {}
        let killed_by = run.failed.take();
        let (ended, begun) = run.finish()?;
        ensure!(
            killed_by.is_some() || ended.len() == self.fast,
            "the run with {site} weakened broke off in {begun:?}"
        );
        println!("  {}", killed_by.as_ref().map_or("survives", |killer| killer.0.as_str()));
        Ok(Ordering { site, ordering, weaker: "Relaxed".to_owned(), killed_by })
    }
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
