//! Rounds in which every rival has its turn.

use indicatif::{ProgressBar, ProgressStyle};

use crate::figures::{Figures, Series};
use crate::quiet::Quiet;
use crate::rows::Row;

/// Runs all rows and hands on the figures of each, while a progress bar tells how far it is.
pub fn measure<R>(rows: &[Row<R>], rounds: usize, mut done: impl FnMut(Figures<R>)) {
    let turns = rows.iter().map(|row| row.rivals.len() * rounds).sum::<usize>();
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")
        .expect("the template is valid");
    let progress = ProgressBar::new(turns as u64).with_style(style);
    for row in rows {
        progress.set_message(row.name.clone());
        let figures = measure_row(row, rounds, &progress);
        progress.suspend(|| done(figures));
    }
    progress.finish_and_clear();
}

/// Each round begins with another rival, so that a change of the machine's mood meets them all.
fn measure_row<R>(row: &Row<R>, rounds: usize, progress: &ProgressBar) -> Figures<R> {
    let mut disturbed = 0;
    let mut series: Vec<_> = row
        .rivals
        .iter()
        .map(|rival| Series { rival: rival.name.clone(), rounds: vec![] })
        .collect();
    for round in 0..rounds {
        for turn in 0..row.rivals.len() {
            let place = (round + turn) % row.rivals.len();
            series[place].rounds.push(in_quiet(&row.rivals[place].run, &mut disturbed));
            progress.inc(1);
        }
    }
    let Row { name, kind, workers, .. } = row;
    Figures { row: name.clone(), kind: *kind, workers: *workers, disturbed, series }
}

/// Repeats what was measured while others used the machine. After some attempts it is taken as it
/// is, and counted.
fn in_quiet<R>(run: impl Fn() -> R, disturbed: &mut usize) -> R {
    const ATTEMPTS: usize = 10;
    for _ in 0..ATTEMPTS {
        let watch = Quiet::watch();
        let result = run();
        if watch.is_none_or(|watch| watch.held()) {
            return result;
        }
    }
    *disturbed += 1;
    run()
}
