//! What has to be reached, as code.

use std::thread;

use crate::figures::{Figures, Kind, Round, Series};

/// One claim about one row, and what was measured.
pub struct Bar {
    /// The row.
    pub row: String,
    /// As in `throughput, of the better of std and parking_lot`.
    pub claim: String,
    /// What it has to be.
    pub bound: Bound,
    /// What it is: a ratio, unless the claim names a unit.
    pub measured: f64,
}

/// Which side of a figure is good.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// This much or more.
    AtLeast(f64),
    /// This much or more; from the second on it is tolerable.
    AtLeastOr(f64, f64),
    /// This much or less.
    AtMost(f64),
}

/// How a bar and a measurement stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The bar is reached.
    Met,
    /// The bar is missed, the floor is reached.
    Floor,
    /// The bar is missed.
    Missed,
}

impl Bar {
    /// Whether the bar is reached.
    pub fn verdict(&self) -> Verdict {
        match self.bound {
            Bound::AtLeast(bar) | Bound::AtLeastOr(bar, _) if self.measured >= bar => Verdict::Met,
            Bound::AtMost(bar) if self.measured <= bar => Verdict::Met,
            Bound::AtLeastOr(_, floor) if self.measured >= floor => Verdict::Floor,
            _ => Verdict::Missed,
        }
    }
}

const THROUGHPUT: fn(&Round) -> f64 = |round| round.throughput;
const LONGEST: fn(&Round) -> f64 = |round| round.longest;
const P999: fn(&Round) -> f64 = |round| round.p999;

/// The bars of a row of threads or tasks.
pub fn contended(figures: &Figures<Round>) -> Vec<Bar> {
    let crowded = figures.workers >= 2 * thread::available_parallelism().map_or(1, usize::from);
    match figures.kind {
        Kind::Lock if crowded => blocking(figures, Bound::AtLeastOr(1.0, 0.95)),
        Kind::ReadWrite { writes: 50 } if crowded => blocking(figures, Bound::AtLeast(1.0)),
        Kind::ReadWrite { .. } if crowded => blocking(figures, Bound::AtLeast(0.9)),
        Kind::Tasks => {
            let throughput = against(figures, "tokio", "throughput", THROUGHPUT);
            let p999 = against(figures, "tokio", "p99.9", P999);
            let mut bars =
                throughput.map(|bar| bar(Bound::AtLeast(1.0))).into_iter().collect::<Vec<_>>();
            bars.extend(p999.map(|bar| bar(Bound::AtMost(1.1))));
            bars
        }
        _ => vec![],
    }
}

/// The bars of a lock or read-write lock at which threads block.
fn blocking(figures: &Figures<Round>, throughput: Bound) -> Vec<Bar> {
    let mut bars = vec![];
    let better = ["std", "parking_lot 0.13"]
        .into_iter()
        .filter_map(|name| figures.of(name))
        .max_by(|a, b| a.median(THROUGHPUT).value.total_cmp(&b.median(THROUGHPUT).value));
    if let Some(better) = better {
        bars.push(Bar {
            row: figures.row.clone(),
            claim: format!("throughput, of the better one's: {}", better.rival),
            bound: throughput,
            measured: figures.series[0].ratio(better, THROUGHPUT).value,
        });
    }
    for (rival, most) in [("std", 0.5), ("parking_lot 0.13", 1.1)] {
        let bar = against(figures, rival, "longest wait", LONGEST);
        bars.extend(bar.map(|bar| bar(Bound::AtMost(most))));
    }
    for rival in ["saa", "async-lock", "tokio"] {
        let bar = against(figures, rival, "throughput", THROUGHPUT);
        bars.extend(bar.map(|bar| bar(Bound::AtLeast(5.0))));
    }
    bars
}

/// Ours by a rival's, if the rival took part: of the medians where it is a wait, whose rounds have
/// nothing to do with each other, and else the median of the rounds' ratios.
fn against(
    figures: &Figures<Round>,
    rival: &str,
    what: &str,
    figure: fn(&Round) -> f64,
) -> Option<impl Fn(Bound) -> Bar> {
    let (ours, theirs) = (&figures.series[0], figures.of(rival)?);
    let measured = if what == "throughput" {
        ours.ratio(theirs, figure).value
    } else {
        ours.median(figure).value / theirs.median(figure).value
    };
    let (row, claim) = (figures.row.clone(), format!("{what}, of {rival}'s"));
    Some(move |bound| Bar { row: row.clone(), claim: claim.clone(), bound, measured })
}

/// The bar of a row of one thread.
pub fn alone(figures: &Figures<f64>) -> Option<Bar> {
    let (ours, others) = figures.series.split_first()?;
    let cost = |series: &Series<f64>| series.median(|&nanos| nanos).value;
    let best = others.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
    Some(Bar {
        row: figures.row.clone(),
        claim: format!("time, of the best one's: {}", best.rival),
        bound: Bound::AtMost(1.05),
        measured: ours.ratio(best, |&nanos| nanos).value,
    })
}

/// The bars of the queue: each waiter of the most costs about what each of the fewest costs. Were
/// the cost of one proportional to the queue, it would be a hundred times as much; what is allowed
/// is that the queue has left the caches.
pub fn queued(rows: &[Figures<f64>]) -> Vec<Bar> {
    let parts = |row: &str| row.rsplit_once('/').map(|(name, _)| name.to_owned());
    let fewest = rows.iter().filter(|few| few.workers == 100);
    let pairs = fewest.filter_map(|few| {
        let most =
            rows.iter().find(|row| row.workers == 10_000 && parts(&row.row) == parts(&few.row))?;
        Some((few, most))
    });
    pairs
        .map(|(few, most)| Bar {
            row: most.row.clone(),
            claim: "time a waiter, of that with 100 waiters".to_owned(),
            bound: Bound::AtMost(3.0),
            measured: most.series[0].median(|&nanos| nanos).value
                / few.series[0].median(|&nanos| nanos).value,
        })
        .collect()
}

/// How long the server may work for a pair, as a multiple of a bare one's time: 12 µs where that takes
/// 1.9, as on the machine for which the bar was set.
const SERVER_TIME: f64 = 6.3;

/// The bars of a row of a lock in Redis.
pub fn remote(figures: &Figures<f64>) -> Vec<Bar> {
    let [ours, bare, others @ ..] = &*figures.series else { return vec![] };
    let ratio = |other: &Series<f64>| ours.ratio(other, |&nanos| nanos).value;
    let bar =
        |claim: String, bound, measured| Bar { row: figures.row.clone(), claim, bound, measured };
    let (_, row) = figures.row.split_once('/').unwrap_or_default();
    match row {
        "server time of a pair" => {
            let at_once = figures.of("warded's scripts, at once").zip(figures.of("bare, at once"));
            let bar = |(ours, bare): (&Series<f64>, &Series<f64>)| {
                let claim = format!("time of {}, of {}'s", ours.rival, bare.rival);
                bar(claim, Bound::AtMost(SERVER_TIME), ours.ratio(bare, |&nanos| nanos).value)
            };
            [Some((ours, bare)), at_once].into_iter().flatten().map(bar).collect()
        }
        "commands a handover" => {
            let [fewest, .., most] = &*figures.series else { return vec![] };
            let claim = format!("commands with {}, of those with {}", most.rival, fewest.rival);
            let commands = |series: &Series<f64>| series.median(|&commands| commands).value;
            vec![bar(claim, Bound::AtMost(1.1), commands(most) / commands(fewest))]
        }
        "pair of one of 1,000 tasks" => {
            let claim = format!("throughput, of {}", bare.rival);
            vec![bar(claim, Bound::AtLeast(0.7), 1.0 / ratio(bare))]
        }
        _ => {
            let is_far = row.ends_with("0.2 ms");
            // Where the way is short, the threads' waking up is most of it, and a round trip on a
            // connection in use has none of that.
            let of_bare = match row.starts_with("handover") {
                true if is_far => Some((bare, 3.0)),
                true => figures.of("bare round trip, rested").map(|rested| (rested, 3.0)),
                // A bare release is waited for; what counts here is to be ahead of others' guards.
                false if row.starts_with("dropped") => None,
                false => is_far.then_some((bare, 1.15)),
            };
            let others = others.iter().filter(|other| !other.rival.starts_with("bare"));
            let others = others.map(|other| {
                bar(format!("time, of {}'s", other.rival), Bound::AtMost(1.0), ratio(other))
            });
            let of_bare = of_bare.map(|(bare, bound)| {
                bar(format!("time, of {}'s", bare.rival), Bound::AtMost(bound), ratio(bare))
            });
            of_bare.into_iter().chain(others).collect()
        }
    }
}
