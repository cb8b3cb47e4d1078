//! The benchmark of contention: rows of rivals, in interleaved rounds.

use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::figures::{Figures, Round, Series};
use crate::quiet::Quiet;
use crate::rows::{self, Row};
use crate::tables;

/// Compares warded with its rivals under contention.
#[derive(Debug, Parser)]
struct Options {
    /// Only rows whose name contains one of these.
    rows: Vec<String>,
    /// Only these rivals; a beginning of the name is enough.
    #[arg(long, value_delimiter = ',')]
    rivals: Vec<String>,
    /// Twenty rounds instead of three.
    #[arg(long)]
    full: bool,
    /// So many rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds for each rival in each round.
    #[arg(long, default_value_t = 100)]
    millis: u64,
    /// The bypass budget of our primitives, instead of their defaults.
    #[arg(long, env = "WARDED_BENCH_BUDGET")]
    budget: Option<u16>,
    /// Compares bypass budgets instead of rivals.
    #[arg(long, value_delimiter = ',', num_args = 0.., default_missing_value = "64,256,1024,4096,16383")]
    sweep: Option<Vec<u16>>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs what the command line says.
pub fn main() {
    let options = Options::parse();
    // Without `--bench` it is a test of the benchmark.
    let (rounds, time) = match (options.bench, options.full) {
        (false, _) => (1, Duration::from_millis(2)),
        (true, full) => (
            options.rounds.unwrap_or(if full { 20 } else { 3 }),
            Duration::from_millis(options.millis),
        ),
    };
    let chosen = |row: &Row| {
        options.rows.is_empty() || options.rows.iter().any(|part| row.name.contains(part))
    };
    let mut rows: Vec<Row> = match &options.sweep {
        None => rows::rivals(options.budget),
        Some(budgets) => rows::budgets(budgets),
    };
    rows.retain(chosen);
    if !options.rivals.is_empty() {
        for row in &mut rows {
            row.rivals
                .retain(|rival| options.rivals.iter().any(|name| rival.name.starts_with(name)));
        }
    }
    let progress =
        ProgressBar::new((rows.iter().map(|row| row.rivals.len()).sum::<usize>() * rounds) as u64)
            .with_style(
                ProgressStyle::with_template(
                    "{elapsed_precise} {wide_bar} {pos}/{len} {msg}, {eta} left",
                )
                .expect("the template is valid"),
            );
    for row in &rows {
        progress.set_message(row.name.clone());
        let figures = measure(row, rounds, time, &progress);
        progress.suspend(|| {
            match options.sweep {
                None => println!("{}", tables::row(&figures)),
                Some(_) => println!("{}", tables::sweep(&figures)),
            }
            if figures.disturbed > 0 {
                println!("Others used the machine in {} of these turns.", figures.disturbed);
            }
        });
    }
    progress.finish_and_clear();
}

/// Round by round, each beginning with another rival, so that a change of the machine's mood meets
/// them all.
fn measure(row: &Row, rounds: usize, time: Duration, progress: &ProgressBar) -> Figures {
    let mut series: Vec<Series> = row
        .rivals
        .iter()
        .map(|rival| Series { rival: rival.name.clone(), rounds: vec![] })
        .collect();
    let mut disturbed = 0;
    for round in 0..rounds {
        for turn in 0..row.rivals.len() {
            let place = (round + turn) % row.rivals.len();
            let round = in_quiet(|| (row.rivals[place].run)(time), &mut disturbed);
            series[place].rounds.push(round);
            progress.inc(1);
        }
    }
    Figures { row: row.name.clone(), disturbed, series }
}

/// Repeats what was measured while others used the machine. After some attempts it is taken as it
/// is, and counted.
fn in_quiet(run: impl Fn() -> Round, disturbed: &mut usize) -> Round {
    const ATTEMPTS: usize = 20;
    for _ in 0..ATTEMPTS {
        let watch = Quiet::watch();
        let round = run();
        if watch.is_none_or(|watch| watch.held()) {
            return round;
        }
    }
    *disturbed += 1;
    run()
}
