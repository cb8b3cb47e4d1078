//! What is compiled for whom, as `cargo tree` tells it.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

/// Checks that whoever depends on warded compiles one package.
///
/// # Errors
/// If there are others, which are named.
pub fn default_build(shell: &Shell) -> Result<()> {
    let tree = cmd!(shell, "cargo tree --edges normal").read()?;
    ensure!(tree.lines().count() == 1, "the default build has dependencies:\n{tree}");
    Ok(())
}

/// Checks that the README's first command compiles as few packages as it says there.
///
/// # Errors
/// If it compiles more or fewer. The packages are named.
pub fn tour(shell: &Shell) -> Result<()> {
    let tree = ["tree", "--edges", "normal,build", "--no-dedupe", "--prefix", "none"];
    let tree = cmd!(shell, "cargo {tree...} --package warded-examples").read()?;
    let packages: BTreeSet<_> = tree.lines().collect();
    let said = format!("It compiles {} packages", packages.len());
    ensure!(
        shell.read_file("README.md")?.contains(&said),
        "README.md does not say: {said}: {packages:#?}"
    );
    Ok(())
}
