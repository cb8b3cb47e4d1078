//! The figures that stand behind docs/performance.md: a file for each kind, a line for each row.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

use crate::figures::Figures;

/// Where they stand, in the project's documentation.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance")
}

/// All that was recorded under this name.
pub fn load<R: DeserializeOwned>(name: &str) -> Result<Vec<Figures<R>>> {
    let path = path(name);
    if !path.exists() {
        return Ok(vec![]);
    }
    let lines = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("in {}", path.display())))
        .collect()
}

/// Records one row, in the place of what was recorded of it before.
pub fn save<R: Serialize + DeserializeOwned>(name: &str, figures: Figures<R>) -> Result<()> {
    let mut rows = load(name)?;
    match rows.iter_mut().find(|row| row.row == figures.row) {
        Some(row) => *row = figures,
        None => rows.push(figures),
    }
    let lines: Vec<String> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    let path = path(name);
    fs::create_dir_all(folder()).context("making the folder of the figures")?;
    fs::write(&path, lines.join("\n") + "\n").with_context(|| format!("writing {}", path.display()))
}

fn path(name: &str) -> PathBuf {
    folder().join(name).with_extension("jsonl")
}
