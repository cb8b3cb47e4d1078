//! `cargo xtask verify --proof`: the proof of the gate for any number of threads, and what it said.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::records::Proof;

const SCRIPT: &str = "xtask/gate-proof/run.sh";

/// How much of it runs.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum HowMuch {
    /// Words, links, the proof, small searches, some logs of the engine: some minutes.
    Quick,
    /// Besides, the planted bugs, large searches and many logs: much longer.
    All,
}

/// Runs the script, which sets up what it needs, and gives the figures of each of its steps.
///
/// # Errors
/// If anything is not proved, or a planted bug is not caught.
pub fn run(root: &Path, how_much: HowMuch) -> Result<Vec<Proof>> {
    let how_much = match how_much {
        HowMuch::Quick => "quick",
        HowMuch::All => "all",
    };
    let mut child = Command::new(root.join(SCRIPT))
        .arg(how_much)
        .current_dir(root)
        .env("CARGO_TARGET_DIR", root.join("target"))
        .stdout(Stdio::piped())
        .spawn()
        .context(SCRIPT)?;
    let output = BufReader::new(child.stdout.take().context("it has an output")?);
    let mut steps: Vec<Proof> = Vec::new();
    for line in output.lines() {
        let line = line?;
        println!("{line}");
        let text = line.trim();
        if let Some(step) = text.strip_prefix("== ") {
            steps.push(Proof { step: step.to_owned(), figures: Vec::new() });
        } else if let Some(step) = steps.last_mut()
            && text.starts_with(|c: char| c.is_ascii_digit())
        {
            // What a step sums up begins with a number.
            step.figures.push(text.to_owned());
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "{SCRIPT} {how_much}: {status}");
    Ok(steps)
}
