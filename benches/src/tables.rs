//! Figures as tables that a person reads, on the terminal and in a page.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::bars::{Bar, Bound, Verdict};
use crate::figures::{Figures, Kind, Median, Round};

/// Everything about one row of threads or tasks.
pub fn contended(figures: &Figures<Round>) -> Table {
    let mut table = table([
        &*figures.row,
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
    let ours = &figures.series[0];
    for series in &figures.series {
        let median = |figure: fn(&Round) -> f64| series.median(figure).value;
        table.add_row([
            series.rival.clone(),
            spread(series.median(|round| round.throughput / 1e6)),
            spread(series.ratio(ours, |round| round.throughput)),
            nanos(median(|round| round.p50)),
            nanos(median(|round| round.p99)),
            nanos(median(|round| round.p999)),
            nanos(median(|round| round.longest)),
            format!(
                "{:.2}",
                median(|round| round.longest) / ours.median(|round| round.longest).value
            ),
            format!("{:.2}", median(|round| round.least)),
            format!("{:.2}", median(|round| round.most)),
        ]);
    }
    table
}

/// How each budget stands to the rivals that it is measured by.
pub fn sweep(figures: &Figures<Round>) -> Table {
    let is_ours = |name: &str| name.starts_with("B =");
    let others: Vec<_> = figures.series.iter().filter(|series| !is_ours(&series.rival)).collect();
    let mut header = vec![figures.row.clone(), "Mops/s".to_owned(), "longest".to_owned()];
    for other in &others {
        header.push(format!("Mops/s, of {}'s", other.rival));
        header.push(format!("longest, of {}'s", other.rival));
    }
    let mut table = table(header.iter().map(String::as_str));
    for series in &figures.series {
        let longest = series.median(|round| round.longest).value;
        let mut cells = vec![
            series.rival.clone(),
            spread(series.median(|round| round.throughput / 1e6)),
            nanos(longest),
        ];
        for other in &others {
            cells.push(spread(series.ratio(other, |round| round.throughput)));
            cells.push(format!("{:.2}", longest / other.median(|round| round.longest).value));
        }
        table.add_row(cells);
    }
    table
}

/// Everything about one row of which only the time of one operation is known.
pub fn timed(figures: &Figures<f64>) -> Table {
    let mut table = table([&*figures.row, "time", "of ours"]);
    for series in &figures.series {
        table.add_row([
            series.rival.clone(),
            format!("{} ns", spread(series.median(|&nanos| nanos))),
            spread(series.ratio(&figures.series[0], |&nanos| nanos)),
        ]);
    }
    table
}

/// Everything about one row of a lock in Redis. The second series is what ours is measured by; of
/// commands, what counts is that those of many waiters are as many as those of few.
pub fn remote(figures: &Figures<f64>) -> Table {
    let [ours, bare, ..] = &*figures.series else { return table([&*figures.row]) };
    if figures.kind == Kind::Commands {
        let mut table = table([&*figures.row, "commands"]);
        for series in &figures.series {
            table.add_row([series.rival.clone(), spread(series.median(|&commands| commands))]);
        }
        return table;
    }
    let mut table = table([&*figures.row, "µs", &format!("of {}", bare.rival), "of ours"]);
    for series in &figures.series {
        table.add_row([
            series.rival.clone(),
            spread(series.median(|&nanos| nanos / 1e3)),
            spread(series.ratio(bare, |&nanos| nanos)),
            spread(series.ratio(ours, |&nanos| nanos)),
        ]);
    }
    table
}

/// What has to be reached, and what is.
pub fn bars<'a>(bars: impl IntoIterator<Item = &'a Bar>) -> Table {
    let mut table = table(["row", "bar", "bound", "measured", "met"]);
    for bar in bars {
        let bound = match bar.bound {
            Bound::AtLeast(bound) => format!("≥ {bound}"),
            Bound::AtLeastOr(bound, floor) => format!("≥ {bound} (floor {floor})"),
            Bound::AtMost(bound) => format!("≤ {bound}"),
        };
        let met = match bar.verdict() {
            Verdict::Met => "yes",
            Verdict::Floor => "floor",
            Verdict::Missed => "**no**",
        };
        let measured = format!("{:.2}", bar.measured);
        table.add_row([&bar.row, &bar.claim, &bound, &measured, met]);
    }
    table
}

fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The median, and between what the middle half of the values lies.
fn spread(median: Median) -> String {
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
