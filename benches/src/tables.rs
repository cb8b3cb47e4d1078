//! Figures as tables that a person reads.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::figures::{Figures, Median, Round};

/// Everything about one row.
pub fn row(figures: &Figures) -> Table {
    let mut table = table(&[
        &figures.row,
        "Mops/s",
        "of ours",
        "p50",
        "p99",
        "p99.9",
        "longest",
        "of ours",
        "least",
        "most",
    ]);
    for series in &figures.series {
        let median = |figure: fn(&Round) -> f64| series.median(figure).value;
        let ours = &figures.series[0];
        table.add_row([
            series.rival.clone(),
            spread(series.median(|round| round.throughput / 1e6)),
            ratio(series.ratio(ours, |round| round.throughput)),
            nanos(median(|round| round.p50)),
            nanos(median(|round| round.p99)),
            nanos(median(|round| round.p999)),
            nanos(median(|round| round.longest)),
            ratio(series.ratio(ours, |round| round.longest)),
            format!("{:.2}", median(|round| round.least)),
            format!("{:.2}", median(|round| round.most)),
        ]);
    }
    table
}

/// How each budget stands to the rivals that the bars name.
pub fn sweep(figures: &Figures) -> Table {
    let (ours, others): (Vec<_>, Vec<_>) =
        figures.series.iter().partition(|series| series.rival.starts_with("B ="));
    let mut header = vec![figures.row.clone(), "Mops/s".to_owned(), "longest".to_owned()];
    for other in &others {
        header.push(format!("throughput, {}", other.rival));
        header.push(format!("longest, {}", other.rival));
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = table(&header);
    for series in ours.iter().chain(&others) {
        let mut cells = vec![
            series.rival.clone(),
            spread(series.median(|round| round.throughput / 1e6)),
            nanos(series.median(|round| round.longest).value),
        ];
        for other in &others {
            cells.push(ratio(series.ratio(other, |round| round.throughput)));
            cells.push(ratio(series.ratio(other, |round| round.longest)));
        }
        table.add_row(cells);
    }
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn spread(median: Median) -> String {
    format!("{:.2} ({:.2}–{:.2})", median.value, median.low, median.high)
}

fn ratio(median: Median) -> String {
    format!("{:.2} ({:.2}–{:.2})", median.value, median.low, median.high)
}

/// A time with a unit that suits it.
pub fn nanos(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.1} µs", nanos / 1e3),
        ..1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}
