//! The benchmark of contention.

use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use crate::figures::Figures;
use crate::rows::{self, Row, Turn};
use crate::{bars, page, record, rounds, tables};

/// Compares warded with its rivals under contention: threads, tasks, and a great many waiters.
#[derive(Debug, Parser)]
struct Options {
    /// Only rows whose name contains one of these.
    rows: Vec<String>,
    /// Only these rivals; a beginning of the name is enough. Ours always takes part.
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
    /// Compares these bypass budgets instead of all rivals.
    #[arg(
        long,
        value_delimiter = ',',
        num_args = 0..,
        require_equals = true,
        default_missing_value = "64,256,1024,4096,16383"
    )]
    sweep: Option<Vec<u16>>,
    /// Records the figures, and writes docs/performance.md anew.
    #[arg(long, env = "WARDED_BENCH_RECORD")]
    record: bool,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs what the command line says.
pub fn main() -> Result<()> {
    let options = Options::parse();
    // Without `--bench` it is only tried out.
    let (rounds, time) = match options.bench {
        false => (1, Duration::from_millis(2)),
        true => (
            options.rounds.unwrap_or(if options.full { 20 } else { 3 }),
            Duration::from_millis(options.millis),
        ),
    };
    if let Some(budgets) = &options.sweep {
        let rows = options.choose(rows::sweep(time, budgets));
        rounds::measure(&rows, rounds, |figures| {
            println!("{}", tables::sweep(&figures));
            options.keep("sweep", figures);
        });
    } else {
        let rows = options.choose(rows::contended(Turn { time, budget: options.budget }));
        let mut reached = vec![];
        rounds::measure(&rows, rounds, |figures| {
            println!("{}", tables::contended(&figures));
            reached.extend(bars::contended(&figures));
            options.keep("contended", figures);
        });
        let rows = options.choose(rows::queued());
        let mut queued = vec![];
        rounds::measure(&rows, rounds, |figures| {
            println!("{}", tables::timed(&figures));
            options.keep("queued", figures.clone());
            queued.push(figures);
        });
        reached.extend(bars::queued(&queued));
        println!("{}", tables::bars(&reached));
    }
    if options.record { page::write() } else { Ok(()) }
}

impl Options {
    fn choose<R>(&self, mut rows: Vec<Row<R>>) -> Vec<Row<R>> {
        rows.retain(|row| {
            self.rows.is_empty() || self.rows.iter().any(|part| row.name.contains(part))
        });
        if !self.rivals.is_empty() {
            for row in &mut rows {
                let others = row.rivals.split_off(1);
                let chosen = others
                    .into_iter()
                    .filter(|rival| self.rivals.iter().any(|name| rival.name.starts_with(name)));
                row.rivals.extend(chosen);
            }
        }
        rows
    }

    fn keep<R: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        name: &str,
        figures: Figures<R>,
    ) {
        if figures.disturbed > 0 {
            println!("Others used the machine in {} turns of this row.", figures.disturbed);
        }
        if self.record
            && let Err(error) = record::save(name, figures)
        {
            println!("Not recorded: {error:#}");
        }
    }
}
