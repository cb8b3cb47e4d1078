//! `cargo xtask verify --mutants`: plants each of the bugs in a copy of the source, and sees the
//! models find it. A model that never fails shows nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};

use super::bugs::{BUGS, Bug};
use super::records::{Planted, Record};
use super::{FULL, RECORDS, WEAKEN, build, records};

/// A bug that no model has found by then counts as not found.
const PATIENCE: Duration = Duration::from_secs(600);

/// The names of all bugs.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUGS.iter().map(|bug| bug.bug)
}

/// Plants the bugs with `filter` in their name one after the other, and shows each result to `keep`.
///
/// # Errors
/// If a bug does not fit the source any more, or is not found.
pub fn run(
    root: &Path,
    filter: Option<&str>,
    mut keep: impl FnMut(Planted) -> Result<()>,
) -> Result<()> {
    let copy = Copy::make(root)?;
    let (mut found, mut survivors) = (0, Vec::new());
    for bug in BUGS.iter().filter(|bug| filter.is_none_or(|filter| bug.bug.contains(filter))) {
        println!("planted: {}", bug.bug);
        let found_by = copy.hunt(bug)?;
        match &found_by {
            Some((model, execution)) => println!("  found by {model}, execution {execution}"),
            None => survivors.push(bug.bug),
        }
        found += u32::from(found_by.is_some());
        keep(Planted { bug: bug.bug.to_owned(), edit: edit(bug), found_by })?;
    }
    println!("{found} planted bugs found");
    ensure!(survivors.is_empty(), "nobody found: {}", survivors.join("; "));
    Ok(())
}

/// The edit in one line: what differs, and where.
fn edit(bug: &Bug) -> String {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let (mut right, mut wrong) = (lines(bug.right), lines(bug.wrong));
    // What they have in common says nothing.
    let common = |right: &[String], wrong: &[String]| {
        right.iter().zip(wrong).take_while(|(one, other)| one == other).count()
    };
    let ahead = common(&right, &wrong);
    (right, wrong) = (right.split_off(ahead), wrong.split_off(ahead));
    right.reverse();
    wrong.reverse();
    let behind = common(&right, &wrong);
    let text = |mut lines: Vec<String>| {
        lines = lines.split_off(behind);
        lines.reverse();
        // A bar would end the table's cell.
        lines.join(" ").replace('|', "\\|")
    };
    let file = bug.file.trim_start_matches("src/");
    match (text(right), text(wrong)) {
        (right, wrong) if wrong.is_empty() => format!("{file}: without `{right}`"),
        (right, wrong) => format!("{file}: `{right}` becomes `{wrong}`"),
    }
}

/// A copy of the project, in which nothing but one file at a time is changed.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make(root: &Path) -> Result<Self> {
        // Cargo takes two copies of a package for one, so they must not share what they build.
        let copy = Self {
            root: root.join("target/mutants/source"),
            target: root.join("target/mutants/build"),
        };
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()?;
        ensure!(listed.status.success(), "git does not list the sources");
        for file in String::from_utf8(listed.stdout)?.lines() {
            let (from, to) = (root.join(file), copy.root.join(file));
            if from.is_file() {
                write_if_changed(&to, &fs::read(&from)?)?;
            }
        }
        Ok(copy)
    }

    /// The model that finds the bug, and after how many executions.
    fn hunt(&self, bug: &Bug) -> Result<Option<(String, u64)>> {
        let path = self.root.join(bug.file);
        let shipped = fs::read_to_string(&path).with_context(|| bug.file)?;
        let times = shipped.matches(bug.right).count();
        ensure!(times == 1, "{} has {times} times: {}", bug.file, bug.right);
        fs::write(&path, shipped.replace(bug.right, bug.wrong))?;
        let hunted = self.hunt_planted(bug);
        fs::write(&path, shipped)?;
        hunted
    }

    fn hunt_planted(&self, bug: &Bug) -> Result<Option<(String, u64)>> {
        // Bugs are found soon, so it is the compiler that takes the time.
        let binary =
            build(&self.root, &self.target, &["profile.release.package.warded.opt-level=0"])?;
        let records = self.target.join("mutant.jsonl");
        if records.exists() {
            fs::remove_file(&records)?;
        }
        // One at a time, so that it is the same one that finds it each time.
        let mut child = Command::new(binary)
            .args(["--test-threads", "1", bug.models])
            .env(RECORDS, &records)
            .env_remove(FULL)
            .env_remove(WEAKEN)
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let start = Instant::now();
        let status = loop {
            if failure(&records)?.is_some() || start.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                break None;
            }
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            thread::sleep(Duration::from_millis(50));
        };
        let found = failure(&records)?;
        let ran = records::events(&records)?.iter().any(|event| event.is_end());
        match status {
            _ if found.is_some() => Ok(found),
            Some(status) if !status.success() => {
                bail!("the models broke off with {status}, and said nothing: {}", bug.bug)
            }
            _ => {
                ensure!(ran, "no model has {} in its name, or none came to its end", bug.models);
                Ok(None)
            }
        }
    }
}

/// The first model that failed, and in which execution.
fn failure(records: &Path) -> Result<Option<(String, u64)>> {
    Ok(records::events(records)?.into_iter().find_map(|event| match event {
        records::Event::End(record) => match *record {
            Record::Model(model) if model.failure.is_some() => Some((model.name, model.executions)),
            _ => None,
        },
        _ => None,
    }))
}

/// Cargo goes by the time of a change.
fn write_if_changed(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content).with_context(|| path.display().to_string())
}
