//! `cargo xtask fuzz`: random sequences of operations, against a reference model.
//!
//! libFuzzer needs unstable compiler flags, which `RUSTC_BOOTSTRAP` allows in any toolchain.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

use crate::steps::Steps;

/// How long to fuzz, and what.
#[derive(clap::Args)]
pub struct Args {
    /// How many minutes each target runs.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// One target; without it, all of them in turn.
    target: Option<String>,
}

/// Sets up what is missing and runs the targets.
///
/// # Errors
/// If there is no such target, or a tool is missing and cannot be installed.
pub fn run(args: Args) -> Result<ExitCode> {
    let shell = &crate::shell()?;
    set_up(shell)?;
    shell.set_var("RUSTC_BOOTSTRAP", "1");

    let targets = cmd!(shell, "cargo fuzz list").read()?;
    let targets =
        targets.lines().filter(|&target| args.target.as_deref().is_none_or(|t| t == target));
    let seconds = (args.minutes * 60).to_string();
    let mut steps = Steps::default();
    for target in targets {
        steps.take(target, || {
            let limit = format!("-max_total_time={seconds}");
            cmd!(shell, "cargo fuzz run {target} -- {limit}").run()?;
            // What reaches the same code with fewer sequences is the corpus of the next run.
            Ok(cmd!(shell, "cargo fuzz cmin {target}").run()?)
        });
    }
    ensure!(!steps.is_empty(), "fuzz/ has no such target; `cargo fuzz list` names them");
    Ok(steps.sum_up())
}

fn set_up(shell: &Shell) -> Result<()> {
    if cmd!(shell, "cargo fuzz --version").quiet().ignore_stderr().read().is_err() {
        cmd!(shell, "cargo install --locked cargo-fuzz").run()?;
    }
    Ok(())
}
