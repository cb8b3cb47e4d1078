//! `cargo xtask bench`: the primitives beside their rivals.

use std::process::ExitCode;

use anyhow::Result;
use xshell::cmd;

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
    let bench = ["bench", "--package", "warded-benches"];
    let full = (!args.short).then_some("--full");
    cmd!(shell, "cargo {bench...} --bench uncontended").run()?;
    cmd!(shell, "cargo {bench...} --bench contended -- {full...}").run()?;
    Ok(ExitCode::SUCCESS)
}
