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
}

/// Runs all benchmarks.
///
/// # Errors
/// If one has failed.
pub fn run(args: Args) -> Result<ExitCode> {
    let shell = &crate::shell()?;
    let short = args.short.then_some("--short");
    cmd!(shell, "cargo bench --package warded-benches -- {short...}").run()?;
    Ok(ExitCode::SUCCESS)
}
