//! `cargo xtask`: everything that a person runs on this project.

mod bench;
mod fuzz;
mod images;
mod packages;
mod steps;
mod test;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use xshell::Shell;

/// Everything that a person runs on this project.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Checks the whole project: format, lints, tests, documentation, examples and loom models.
    Test,
    /// Feeds the primitives random sequences of operations.
    Fuzz(fuzz::Args),
    /// Measures the primitives, and the lock in Redis, beside their rivals.
    Bench(bench::Args),
    /// Gets the Redis servers that the tests run against, as Docker images.
    Images,
    /// Runs the loom models, and writes docs/verification.md from what they record.
    Verify(verify::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    match Task::parse() {
        Task::Test => test::run(),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Images => images::run(),
        Task::Verify(args) => verify::run(args).map(|()| ExitCode::SUCCESS),
    }
}

/// A shell in the root of the project, wherever the command was given.
fn shell() -> anyhow::Result<Shell> {
    let shell = Shell::new()?;
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    shell.change_dir(xtask.parent().context("xtask/ stands in the root of the project")?);
    Ok(shell)
}
