//! `cargo xtask bench`: the primitives, and the lock in Redis, beside their rivals.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use xshell::{Shell, cmd};

/// How thoroughly to measure.
#[derive(clap::Args)]
pub struct Args {
    /// A few minutes for a first impression, instead of figures to publish.
    #[arg(long)]
    short: bool,
    /// Keeps the figures, and writes docs/performance.md anew.
    #[arg(long)]
    record: bool,
}

/// Runs all benchmarks.
///
/// # Errors
/// If one has failed.
pub fn run(args: Args) -> Result<ExitCode> {
    let shell = &crate::shell()?;
    if args.record {
        shell.set_var("WARDED_BENCH_RECORD", "true");
    }
    let full = (!args.short).then_some("--full");
    cmd!(shell, "cargo bench --bench uncontended").run()?;
    cmd!(shell, "cargo bench --bench contended -- {full...}").run()?;
    let python = python(shell)?;
    let redis = ["--features", "redis", "--bench", "redis"];
    cmd!(shell, "cargo bench {redis...} -- --python {python} {full...}").run()?;
    Ok(ExitCode::SUCCESS)
}

/// An interpreter that has the libraries whose locks ours stands beside. It is set up if need be.
fn python(shell: &Shell) -> Result<PathBuf> {
    let folder = shell.current_dir().join("target/bench-python");
    let python = folder.join("bin/python");
    if !shell.path_exists(&python) {
        cmd!(shell, "python3 -m venv {folder}").run()?;
    }
    let packages = ["redis", "python-redis-lock"];
    cmd!(shell, "{python} -m pip install --quiet {packages...}").run()?;
    Ok(python)
}
