//! The table that a person reads at the end.

use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::HumanCount;

use crate::measure::Outcome;

/// One row for each kind of work and each lock.
pub fn of(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["work", "lock", "operations", "per second", "longest wait", "overtaken"]);
    for outcome in outcomes {
        let waits = &outcome.waits;
        let per_second = waits.operations as f64 / outcome.took.as_secs_f64();
        let figures = [
            HumanCount(waits.operations).to_string(),
            HumanCount(per_second as u64).to_string(),
            format!("{:.2} ms", waits.longest.as_secs_f64() * 1e3),
            HumanCount(waits.most_overtaken).to_string(),
        ];
        let names = [outcome.work, outcome.lock].map(Cell::new);
        let figures = figures.map(|figure| Cell::new(figure).set_alignment(CellAlignment::Right));
        table.add_row(names.into_iter().chain(figures));
    }
    table
}
