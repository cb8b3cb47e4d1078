//! What is compiled for whom, as `cargo tree` tells it.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

/// Checks that whoever depends on warded compiles one package.
///
/// # Errors
/// If there are others, which are named.
pub fn default_build(shell: &Shell) -> Result<()> {
    let tree = cmd!(shell, "cargo tree --package warded --edges normal").read()?;
    ensure!(tree.lines().count() == 1, "the default build has dependencies:\n{tree}");
    Ok(())
}

/// Checks that the README's first command compiles what the tour needs, and nothing more.
///
/// Cargo unites the features that all default members ask of a package, so a benchmark that wants
/// more of a package than the tour does would make the tour compile it.
///
/// # Errors
/// If that has happened. The packages are named.
pub fn tour(shell: &Shell) -> Result<()> {
    const TOUR: &str = "warded-examples";
    let tree = ["tree", "--edges", "normal,build", "--no-dedupe", "--prefix", "depth"];
    let alone = cmd!(shell, "cargo {tree...} --package {TOUR}").read()?;
    let among_others = cmd!(shell, "cargo {tree...}").read()?;

    let (alone, among_others) = (under(TOUR, &alone), under(TOUR, &among_others));
    println!("{} packages", alone.len());
    let more: Vec<_> = among_others.difference(&alone).collect();
    ensure!(!alone.is_empty() && more.is_empty(), "other members make it compile {more:?}");
    Ok(())
}

/// The packages in the tree of this root. A line is a depth, a name, and more.
fn under<'a>(root: &str, forest: &'a str) -> BTreeSet<&'a str> {
    let is_root = |line: &str| line.starts_with('0');
    forest
        .lines()
        .skip_while(|line| !(is_root(line) && package(line) == root))
        .enumerate()
        .take_while(|&(at, line)| at == 0 || !is_root(line))
        .map(|(_, line)| package(line))
        .collect()
}

fn package(line: &str) -> &str {
    let line = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
    line.split(' ').next().unwrap_or(line)
}
