//! `cargo xtask verify --threads`: every way to wait, on real threads, under Miri and ThreadSanitizer.
//!
//! Both need unstable compiler flags, and std's source to instrument or interpret it, so all of it
//! goes through the nightly toolchain.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::records::Threads;

const PACKAGE: &str = "xtask/threads/Cargo.toml";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Miri explores one schedule for each seed, and one stale value for each load.
const SEEDS: u32 = 16;
const MIRI_ROUNDS: u32 = 3;
const TSAN_ROUNDS: u32 = 20_000;

/// Runs all of it, and shows each result to `keep`.
///
/// # Errors
/// If a tool is missing and cannot be installed, or finds something.
pub fn run(root: &Path, mut keep: impl FnMut(Threads) -> Result<()>) -> Result<()> {
    let shell = &Shell::new()?;
    shell.change_dir(root);
    cmd!(shell, "rustup component add --toolchain nightly rust-src miri").run().context(
        "Miri and ThreadSanitizer need a nightly toolchain of rustup's, with both parts",
    )?;
    shell.set_var("CARGO_TARGET_DIR", root.join("target/threads"));

    for (model, flag) in [("stacked borrows", ""), ("tree borrows", "-Zmiri-tree-borrows")] {
        let _flags = shell.push_env(
            "MIRIFLAGS",
            format!("-Zmiri-disable-isolation -Zmiri-many-seeds=0..{SEEDS} {flag}"),
        );
        let rounds = MIRI_ROUNDS.to_string();
        cmd!(shell, "cargo +nightly miri run --manifest-path {PACKAGE} -- {rounds}").run()?;
        keep(Threads {
            tool: format!("Miri, {model}"),
            watched: "data races, aliasing, freed and uninitialised memory, stale values, leaks"
                .to_owned(),
            extent: format!("{SEEDS} schedules, {MIRI_ROUNDS} rounds in each thread"),
        })?;
    }

    let _flags = shell.push_env("RUSTFLAGS", "-Zsanitizer=thread");
    let rounds = TSAN_ROUNDS.to_string();
    let build = ["-Zbuild-std", "--target", TARGET, "--release"];
    cmd!(shell, "cargo +nightly run {build...} --manifest-path {PACKAGE} -- {rounds}").run()?;
    keep(Threads {
        tool: "ThreadSanitizer".to_owned(),
        watched: "data races, as the processor ran them".to_owned(),
        extent: format!("{TSAN_ROUNDS} rounds in each thread, std instrumented too"),
    })
}
