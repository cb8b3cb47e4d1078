//! The benchmark of what nobody contends for: criterion's estimate for each rival by itself, and
//! then the ratios, from rounds that change between the rivals every tenth of a millisecond. Where
//! the machine is noisy, only those can be compared.

use std::env;
use std::time::Duration;

use anyhow::Result;
use criterion::Criterion;

use crate::{bars, page, record, rounds, rows, tables};

/// How many rounds the medians are of.
const ROUNDS: usize = 300;

/// Runs both.
pub fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    for (name, rivals) in rows::pairs() {
        let mut group = criterion.benchmark_group(name);
        for (rival, run) in rivals {
            group.bench_function(rival, |bencher| {
                bencher
                    .iter_custom(|pairs| Duration::from_secs_f64(run(pairs) * pairs as f64 / 1e9));
            });
        }
        group.finish();
    }
    criterion.final_summary();
    // Without `--bench` it is only tried out.
    if env::args().any(|argument| argument == "--bench") { ratios() } else { Ok(()) }
}

fn ratios() -> Result<()> {
    let mut reached = vec![];
    let mut measured = vec![];
    rounds::measure(&rows::alone(), ROUNDS, |figures| {
        println!("{}", tables::timed(&figures));
        reached.extend(bars::alone(&figures));
        measured.push(figures);
    });
    println!("{}", tables::bars(&reached));
    if env::var_os("WARDED_BENCH_RECORD").is_some() {
        for figures in measured {
            record::save("alone", figures)?;
        }
        page::write()?;
    }
    Ok(())
}
