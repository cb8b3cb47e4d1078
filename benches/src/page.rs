//! docs/performance.md: written by the benchmarks from the recorded figures.

use std::fmt::Write;
use std::{env, fs, thread};

use anyhow::{Context, Result};

use crate::bars::{self, Bar, Verdict};
use crate::figures::{Figures, Round};
use crate::{plots, record, tables};

const HOW: &str = "\
This page is written by the benchmarks from what they recorded in [performance/](performance/): a \
line for each row, with every round.

```sh
cargo bench                                      # everything, in a few minutes
cargo bench --bench contended -- lock/short      # the rows of this name
cargo bench --bench contended -- --full --record # twenty rounds, and this page
cargo bench --bench contended -- --sweep         # bypass budgets
WARDED_BENCH_RECORD=true cargo bench --bench uncontended
cargo bench --features redis --bench redis       # a lock in Redis; starts redis-server
cargo xtask bench                                # everything, with Python's locks beside ours
```

## How it is measured

- Every rival has its turn in every round, and each round begins with another one. What counts is \
  the ratio of figures that were taken next to each other; a figure by itself says more about the \
  machine than about a lock. Each figure is a median, with the quartiles in parentheses.
- A turn in which other programs, or the machine's other guests, took more than an eighth of the \
  processors is repeated, up to ten times. What one thread does alone is measured by \
  its own processor time.
- `short` is a section of about 10 ns and four times as much work outside, `long` one of about 0.6 \
  µs and half as much outside. `bursty`: a hundred short sections in a row, then as much time \
  outside as twenty of them need each. `hog`: one thread has sections five hundred times as long, and \
  nothing to do outside; for the throughput each of them counts for as many as it is long.
- One in sixteen acquisitions is timed. `longest` is the longest of those in a round. `least` and \
  `most` are what the least and the most served thread or task got, as parts of an equal share.
- Tasks run on tokio's multi-threaded runtime. `yielding` tasks go back to it after each section, \
  `busy` ones when it asks them to.
- Read-write `99-1` is 99 reads to a write. The data are one number.
- A lock in Redis stands beside `SET NX PX` and a compare-and-delete by `EVALSHA`, through the same \
  client crate: the least that a lock has to ask, without fence, queue or lease clock. Each round of \
  a rival is the median of 300 pairs, or of 50 over the link of `0.2 ms`: a proxy that holds \
  everything for 0.1 ms on each way. Its server is a process of its own on the same machine, as is \
  Python, whose locks take their turns in the same rounds. The server's time is what INFO \
  commandstats says of `SET` and `EVALSHA`.
- Rivals without data of their own (saa) have it beside them; std's semaphore is a `Mutex` and a \
  `Condvar`; tokio's locks are used by threads through their blocking methods, its semaphore \
  through a `block_on`.

## What was tried

- A waiter that finds the lock taken spins before it queues, also when others are in the queue \
  already. As long as it joined them at once, each entry cost a sleep and a wake-up, and the long \
  rows had half of std's throughput.
- Where sections are short, a waiter had best yield before it looks: the holder goes through dozens of \
  them while the lock is brought to another processor. Looking first, as std does, cost the short \
  rows half of their throughput. Where sections are long, it had best look first. As long as all \
  yielded first, the long rows had 0.57 to 0.63 of std's throughput on the machine below, and 0.82 to \
  1.0 on earlier ones, which changed between two states within minutes. So each gate averages how \
  long its waiters saw the permits taken, and above 0.1 µs they look first. Between 0.07 and 0.15 µs \
  the bound made no difference. To choose by a single wait instead, as was tried before, gave the long \
  rows 0.77 to 0.97 and the short ones 0.9 to 1.6.
- Two threads that pass a lock on without yielding keep all others out for time slices. So each yields \
  after sixteen times. With twice to eight times as many the throughput was the same within what runs \
  differ by, and the longest waits grew. Counted for each lock instead of each thread, \
  the longest waits were 3 to 10 ms if the count was even, perhaps since it was always the same one \
  that yielded then.
- A lock's data come right after its word, so that one cache line moves when it is handed over. As long \
  as they began 64 bytes later, the long rows had 0.89 to 0.96 of std's throughput instead of 0.95 to \
  1.05, and sections that touched no data 1.0 to 1.16. The short rows went from 1.1 of parking_lot's to 1.3.
- In a read-write lock it is the other way round: with the data next to the word, every reader that \
  comes or goes takes them away from the others. Apart from it, short rows with 1 % writes have 1.3 to 1.6 of \
  std's throughput instead of 0.96 to 1.24, and long ones 1.0 to 1.15 instead of 0.87 to 1.0. Half \
  reads, half writes, and long sections have 0.81 to 0.86 of std's that way, and had 0.57 to 0.98 with \
  one line; to have the data fetched while the word is, with the instruction that x86 has for it, gave \
  0.93 to 0.97. It is not done, since nothing portable says it (all these from runs of five to nine rounds, not recorded).
- A bypass budget of 4096 is the smallest of those below that keeps the throughput with a hog. Without \
  one, 64 would do.
- With four threads the longest wait is about one time slice of the scheduler, 4 ms here, in which \
  the holder is not running. No lock can do anything about that, and half of std's is out of reach \
  where std's is such a slice, too.
- Five times the throughput of async-lock and saa is reached where their waiters sleep, and is not \
  where they seldom do: with few threads, in bursts, and among readers.

## What these figures do not show

- Two virtual processors share a cache, perhaps a core. More of them, on several sockets, are not \
  shown.
- Programs of the lowest priority may have run meanwhile. They take only what would be idle, yet \
  something of the caches. They are not counted as a disturbance.
- A yield means something else to other schedulers than to Linux's.
- The rows of a lock in Redis were measured with a priority above that of all other programs, on another \
  machine than the rest: two virtual processors of an AMD EPYC. They \
  serve the caller, the driver, the server and the proxy there, so which of them share one \
  weighs more than what they do. The machine's other guests change that within minutes, and its host: a \
  handover over the link took 2.6 to 3.7 round trips in a dozen runs on one host where threads woke slowly, \
  and 2.4 to 2.7 in eighteen runs on the one of the table. A busy machine makes tasks on a far server \
  slower: each of their requests waits for two threads to be woken, a bare one for one.
";

const REMOTE: &str = "\
A pair is two calls of scripts here, and `SET` and one call in the rows `bare`. rslock, redis-lock and \
distributed-lock-redis send what `bare` sends, from the caller's own task; over the link they cost that, \
and a little less than this lock. On loopback they cost nearly twice as much, since there a thread that asks alone \
looks for its answer instead of sleeping. redlock makes a connection for each command. None of them has a \
fence or a queue: who finds the lock taken asks again after a random time, which is what the handover \
takes there; distributed-lock-redis gives up at once.

In the rows `dropped` two names are taken in turn, and each lock is let go of with its guard, as its \
crate's documentation shows for leaving a scope; a turn ends when all that was sent has been answered. Our \
release is under way while the next lock is asked for, which saves a round trip. The guards of rslock and \
distributed-lock-redis release nothing when they are dropped, so they take no part; redis-lock has no \
guard for tasks, and a call that ends with the work instead.

What a pair of ours costs more is the server's time and, for a task on a server that is not near, two changes of \
thread for each request, to the driver's thread and back, which are also why dropped futures and guards are always \
cleaned up. A caller who blocks does the driver's work on its own thread, unless another one does \
already; and whoever is alone asks a near server itself. A server that gets one request at a time finds its caches cold, so all it does takes up to \
twice as long there as in a pipeline. That a thread wakes late on a machine that others use \
weighs more on a task of ours than on `bare`, which has one thread to wake instead of three.

The bar of the handover is three round trips on a connection in use; on loopback three of one that has \
rested as long as the waiter has, since waking up is most of either there. The bar of the tasks is \
by bare calls of the lock's own scripts; the third row is what far less work for the server gives.

The bar of the server's time is 12 µs where a bare pair takes 1.9, as it did on the machine for which the bar was set; \
so 6.3 times a bare one, of the same state of the caches. Sent at once, ours took 8.5 to 11 µs here, and a bare one 1.4 to 1.9. The \
bar of a task's pair over the link is 1.15 of `bare`; to be ahead of the three crates as well, which send what `bare` \
sends, the server would have to do all it does for a pair in the time of theirs.

What was done about it: a release writes once instead of twice, the functions of the queue are made \
only where there is one, and the token is read only while somebody holds, which took a pair that is \
sent at once from 13.4 µs to what the row says; and what the driver is asked for in one turn goes out \
together, which took a pair of one of 1,000 tasks from 45 µs to 20.

That who is alone asks a near server itself came last (src/redis/driver/express.rs). Before and after in turn, in three \
runs of six rounds: a task's pair on loopback took 1.6 to 1.8 of bare and takes 0.6; rslock's takes 1.0 to 1.1. With \
dropped guards it took 0.9 of redis-lock's call, and takes 0.5 to 0.8. The server's work for a pair went from 24 to 16 \
µs, since its caches stay warmer. Over the link a task's pair took 0.99 to 1.12 of bare and takes 1.07 to 1.14.

Before that, callers who block were made to drive. Before and after in turn, five and seven \
rounds each, with a priority above that of all other programs: blocking, a pair on loopback took 4.2 and 3.9 \
of bare and takes 1.5 (0.54 of redis-py's); over the link it took 1.16 and 1.28, and takes 1.03 and 1.07. The handover \
over the link took 2.8 to 3.3 round trips and takes 2.7 to 2.8; on loopback it went from 195 µs to 142, which is still \
more than three rested round trips. The server took 11.5 µs for a pair and takes 9.0, beside 1.6 for a bare one \
both times. Tasks are as they were: over the link 1.13 and 1.10, and on loopback 1.6 of bare in some runs and 4.3 in \
others, before as after, by which threads share a core. What was tried besides:

- To let all who block lead in turn, instead of one of them: with eight threads on one source a pair took \
  1.4 times as long as when the driver's thread stays at it, since each answer woke the next one to lead.
- To have a task write its request itself also on a far server, and leave the answer to the driver: 1.13 to 1.18 of \
  bare over the link, where 1.04 to 1.10 is what the driver takes, since two threads are woken at a time. The same for \
  who blocks was a little quicker in pairs (1.00 to 1.24, else 1.08 to 1.26), and slower in handovers.
- To look for up to 0.2 ms, or always after a message of the server: no quicker handovers, in three runs \
  each. Nor was it any to give way to other threads while looking, in ten.
- To have the runtime of the task itself wait for the answer of a far server: 1.00 to 1.02 of bare and of \
  the three crates, in two runs of nine rounds, where it is 1.07 to 1.11 else. So the two changes of thread are \
  all that a task of ours lacks there. It is not done: tokio tells nobody whether a runtime has I/O, and \
  panics if it has none; and all others' runtimes have reactors of their own.
- What went out with them: a timer that was armed anew for each pair, with a write to wake the thread that \
  armed it, and a system call for each token. A pair is two writes, two reads and two waits for \
  them now, as few as there can be, and two looks of the runtime's.
";

/// Writes the page, and draws its pictures.
pub fn write() -> Result<()> {
    let contended: Vec<Figures<Round>> = record::load("contended")?;
    let sweep: Vec<Figures<Round>> = record::load("sweep")?;
    let alone: Vec<Figures<f64>> = record::load("alone")?;
    let queued: Vec<Figures<f64>> = record::load("queued")?;
    let remote: Vec<Figures<f64>> = record::load("redis")?;

    let mut reached: Vec<Bar> = alone.iter().filter_map(bars::alone).collect();
    reached.extend(contended.iter().flat_map(bars::contended));
    reached.extend(bars::queued(&queued));
    reached.extend(remote.iter().flat_map(bars::remote));

    let mut page = String::from("# Performance\n\n");
    page += HOW;
    writeln!(page, "\nMeasured on {}.\n", machine())?;
    write_bars(&mut page, &reached)?;
    if contended.is_empty() {
        page +=
            "No row of threads or tasks has been recorded yet, so their bars are not judged.\n\n";
    }
    write_families(&mut page, &contended)?;
    for (title, rows) in [("One thread", &alone), ("A great many waiters", &queued)] {
        if !rows.is_empty() {
            writeln!(page, "## {title}\n")?;
        }
        for row in rows {
            writeln!(page, "{}\n", tables::timed(row))?;
        }
    }
    if !remote.is_empty() {
        writeln!(page, "## A lock in Redis\n\n{REMOTE}")?;
    }
    for row in &remote {
        writeln!(page, "{}\n", tables::remote(row))?;
    }
    if !sweep.is_empty() {
        page += "## Bypass budgets\n\nHow often newcomers may overtake the head of the queue.\n\n";
    }
    for row in &sweep {
        writeln!(page, "{}\n", tables::sweep(row))?;
    }
    let path = record::folder().with_extension("md");
    fs::write(&path, page.trim_end().to_owned() + "\n")
        .with_context(|| format!("writing {}", path.display()))
}

/// How many bars are reached, and which.
fn write_bars(page: &mut String, reached: &[Bar]) -> Result<()> {
    let count = |verdict| reached.iter().filter(|bar| bar.verdict() == verdict).count();
    writeln!(
        page,
        "## What was to be reached\n\n{} of {} bars are reached, {} miss theirs within the floor, {} \
         are missed. Those of threads hold where there are at least two a core.\n\n{}\n",
        count(Verdict::Met),
        reached.len(),
        count(Verdict::Floor),
        count(Verdict::Missed),
        tables::bars(reached),
    )?;
    Ok(())
}

/// Rows that differ by the number of workers only stand together, under their picture.
fn write_families(page: &mut String, rows: &[Figures<Round>]) -> Result<()> {
    let mut families: Vec<&str> = rows.iter().map(|row| plots::family(&row.row)).collect();
    families.dedup();
    for family in families {
        let rows: Vec<_> = rows.iter().filter(|row| plots::family(&row.row) == family).collect();
        plots::draw(family, &rows, &record::folder())?;
        writeln!(page, "## {family}\n\n![{family}](performance/{})\n", plots::file_name(family))?;
        for row in rows {
            writeln!(page, "{}\n", tables::contended(row))?;
            if row.disturbed > 0 {
                writeln!(
                    page,
                    "Others used the machine in {} turns of this row.\n",
                    row.disturbed
                )?;
            }
        }
    }
    Ok(())
}

/// The machine in general terms.
fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (model, is_guest) = processor().unwrap_or_else(|| (env::consts::ARCH.to_owned(), false));
    let kind = if is_guest { "virtual cores" } else { "cores" };
    format!("{cores} {kind} of {model}, {}", env::consts::OS)
}

#[cfg(target_os = "linux")]
fn processor() -> Option<(String, bool)> {
    use procfs::{CpuInfo, Current};

    let info = CpuInfo::current().ok()?;
    let model = info.model_name(0)?.to_owned();
    Some((model, info.flags(0)?.contains(&"hypervisor")))
}

#[cfg(not(target_os = "linux"))]
fn processor() -> Option<(String, bool)> {
    None
}
