//! The benchmark of the lock in Redis: beside bare commands of the same client crate, other crates'
//! locks and those of Python, all at one server.

pub mod all;
mod crowd;
mod dropped;
mod handover;
mod pairs;
mod python;
mod scripts;
mod server;
mod server_time;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use self::python::Python;
use self::server::{Server, delayed};
use crate::figures::Kind;
use crate::rows::{Rival, Row};
use crate::{bars, page, record, rounds, tables};

/// Compares `RedisLock` with bare commands and other locks, at a server that it starts.
#[derive(Debug, Parser)]
struct Options {
    /// Only rows whose name contains one of these.
    rows: Vec<String>,
    /// Twenty rounds instead of three.
    #[arg(long)]
    full: bool,
    /// So many rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// A Python that has the packages redis and python-redis-lock. Without it theirs are left out.
    #[arg(long, env = "WARDED_BENCH_PYTHON")]
    python: Option<PathBuf>,
    /// Records the figures, and writes docs/performance.md anew.
    #[arg(long, env = "WARDED_BENCH_RECORD")]
    record: bool,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs what the command line says.
///
/// # Errors
/// If the server or Python cannot be started, or the figures not be written.
pub fn main() -> Result<()> {
    let options = Options::parse();
    // Without `--bench` it is only tried out.
    let rounds = match options.bench {
        false => 1,
        true => options.rounds.unwrap_or(if options.full { 20 } else { 3 }),
    };
    let server = Server::start()?;
    let python = options.python.as_deref().map(Python::start).transpose()?.map(Rc::new);
    if python.is_none() {
        println!("Without the locks of Python: --python names none.");
    }
    let mut rows = rows(server.port(), python.as_ref())?;
    rows.retain(|row| {
        options.rows.is_empty() || options.rows.iter().any(|part| row.name.contains(part))
    });
    let mut measured = vec![];
    rounds::measure(&rows, rounds, |figures| {
        println!("{}", tables::remote(&figures));
        if figures.disturbed > 0 {
            println!("Others used the machine in {} turns of this row.", figures.disturbed);
        }
        measured.push(figures);
    });
    println!("{}", tables::bars(&measured.iter().flat_map(bars::remote).collect::<Vec<_>>()));
    if options.record {
        for figures in measured {
            record::save("redis", figures)?;
        }
        page::write()?;
    }
    Ok(())
}

fn rows(near: u16, python: Option<&Rc<Python>>) -> Result<Vec<Row<f64>>> {
    let far = delayed(near, Duration::from_micros(100))?;
    let row = |name: &str, kind, rivals: Vec<Rival<f64>>| Row {
        name: format!("redis/{name}"),
        kind,
        workers: 1,
        rivals,
    };
    Ok(vec![
        row("pair/blocking, loopback", Kind::Remote, pairs::blocking(near, 300, python)),
        row("pair/blocking, 0.2 ms", Kind::Remote, pairs::blocking(far, 50, python)),
        row("pair/task, loopback", Kind::Remote, pairs::tasks(near, 300)),
        row("pair/task, 0.2 ms", Kind::Remote, pairs::tasks(far, 50)),
        row("dropped/blocking, loopback", Kind::Remote, dropped::blocking(near, 300)),
        row("dropped/blocking, 0.2 ms", Kind::Remote, dropped::blocking(far, 50)),
        row("dropped/task, loopback", Kind::Remote, dropped::tasks(near, 300)),
        row("dropped/task, 0.2 ms", Kind::Remote, dropped::tasks(far, 50)),
        row("server time of a pair", Kind::Remote, server_time::rivals(near, 500)),
        row("handover, loopback", Kind::Remote, handover::times(near, 20)),
        row("handover, 0.2 ms", Kind::Remote, handover::times(far, 20)),
        row("commands a handover", Kind::Commands, handover::commands(near)),
        row("pair of one of 1,000 tasks", Kind::Remote, crowd::rivals(near, 10)),
    ])
}
