//! The same accounts, served by several processes under one `RedisLock`.
//!
//! In the middle one process is killed while it holds the lock, and one sleeps through its lease
//! and writes afterwards. Neither may cost anybody money: the first has written nothing, and the
//! second's write is refused, because its fencing token is older than the last one seen.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::accounts::{ACCOUNTS, TOTAL};
use crate::ledger::Ledger;
use crate::teller::{Bank, Order, TTL, word};

const TELLERS: usize = 4;
/// Who is killed in the second stage, and who oversleeps in the third.
const DOOMED: usize = 1;
const SLEEPER: usize = 2;

/// For how long a stage goes on, after its mishap if it has one.
const LASTS: Duration = Duration::from_millis(2_000);
/// How long a teller may take to say what it has to say.
const PATIENCE: Duration = Duration::from_secs(20);

/// The tour. Errors are about the server or the processes; what was found wrong with the accounts
/// is printed, and gives false.
pub fn tour(url: &str) -> Result<bool, Box<dyn Error>> {
    let tour = format!("{:016x}", fastrand::u64(..));
    let bank = Bank::of(url, &tour, "head of the bank")?;
    println!("{TELLERS} processes, one RedisLock with a ttl of {TTL:?}, on this server:");
    println!("{}\n", bank.lock.source().preflight()?);
    let opening = bank.lock.lock()?;
    bank.ledger.write(opening.fence(), Ledger::open(TELLERS).to_text())?;
    opening.release()?;

    let day = day(url, &tour, &bank);
    let closing = bank.lock.lock()?;
    let (_, ledger) = bank.read()?;
    closing.release()?;
    let mut server = redis::Client::open(url)?.get_connection()?;
    redis::cmd("DEL").arg(&bank.key).exec(&mut server)?;
    let day = day?;

    println!("\n{}\n", table(&day.stages));
    println!(
        "wait: from asking for the lock to having it. A dead holder keeps the others out for its ttl\n\
         and the grace that the server adds, {:?}, less what had passed of it.\n",
        TTL + TTL / 10
    );
    let findings = [
        money(&ledger),
        customers(&ledger, &day.served),
        Ok(format!(
            "teller {DOOMED} was killed while it held the lock; the next one wrote {:.2} s later",
            day.takeover.as_secs_f64()
        )),
        overslept(&day.overslept),
    ];
    for finding in &findings {
        match finding {
            Ok(right) => println!("ok      {right}"),
            Err(wrong) => println!("WRONG   {wrong}"),
        }
    }
    Ok(findings.iter().all(Result::is_ok))
}

fn money(ledger: &Ledger) -> Result<String, String> {
    match (ledger.accounts.total(), ledger.accounts.failed_audits) {
        (TOTAL, 0) => Ok(format!("{ACCOUNTS} accounts hold {TOTAL} in all, as at the beginning")),
        (total, failed) => {
            Err(format!("{total} in all instead of {TOTAL}, and {failed} failed audits"))
        }
    }
}

/// What the tellers were told was written must be there, and nothing else.
fn customers(ledger: &Ledger, served: &[u64]) -> Result<String, String> {
    if ledger.served == served {
        let all = HumanCount(served.iter().sum());
        return Ok(format!(
            "each of the {all} operations that a teller did is in the accounts once"
        ));
    }
    Err(format!("the tellers did {served:?} operations, and the accounts say {:?}", ledger.served))
}

fn overslept(said: &str) -> Result<String, String> {
    match said {
        "false false" => Ok(format!(
            "teller {SLEEPER} overslept its lease: its guard said so, and its write was refused"
        )),
        _ => Err(format!("valid and written, after teller {SLEEPER} overslept its lease: {said}")),
    }
}

/// A stage of the day.
struct Stage {
    name: &'static str,
    waits: Vec<u64>,
    took: Duration,
}

/// What is known at the end.
struct Day {
    stages: Vec<Stage>,
    served: Vec<u64>,
    /// From the kill to the next write.
    takeover: Duration,
    overslept: String,
}

fn day(url: &str, tour: &str, bank: &Bank) -> Result<Day, Box<dyn Error>> {
    let (say, said) = channel();
    let mut tellers = Vec::new();
    for number in 0..TELLERS {
        tellers.push(Teller::hire(url, tour, number, say.clone())?);
    }
    drop(say);
    let mut ears = Ears { said, waits: Vec::new(), served: vec![0; TELLERS] };
    ears.hear(word::READY, TELLERS)?;
    let mut stages = Vec::new();

    let began = next_stage(&mut tellers)?;
    watch("all at work", bank)?;
    let mut end = |name, began: Instant, ears: &mut Ears, tellers: usize| {
        ears.hear(word::SERVED, tellers)?;
        let (waits, took) = (std::mem::take(&mut ears.waits), began.elapsed());
        stages.push(Stage { name, waits, took });
        Ok::<(), Box<dyn Error>>(())
    };
    let next = next_stage(&mut tellers)?;
    end("all at work", began, &mut ears, TELLERS)?;

    let began = next;
    tellers[DOOMED].tell(Order::StandStill)?;
    ears.hear(word::INSIDE, 1)?;
    let (before, _) = bank.read()?;
    tellers.remove(DOOMED).kill()?;
    let killed = Instant::now();
    while bank.read()?.0 == before && killed.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    let takeover = killed.elapsed();
    watch("one was killed inside", bank)?;
    let next = next_stage(&mut tellers)?;
    end("one was killed inside", began, &mut ears, tellers.len())?;

    let began = next;
    let sleeper = tellers.iter_mut().find(|teller| teller.number == SLEEPER);
    sleeper.ok_or("the sleeper is gone")?.tell(Order::Oversleep)?;
    let overslept = ears.hear(word::OVERSLEPT, 1)?;
    watch("one overslept its lease", bank)?;
    for teller in &mut tellers {
        teller.tell(Order::End)?;
    }
    end("one overslept its lease", began, &mut ears, tellers.len())?;
    for teller in tellers {
        teller.part()?;
    }
    Ok(Day { stages, served: ears.served, takeover, overslept })
}

fn next_stage(tellers: &mut [Teller]) -> Result<Instant, Box<dyn Error>> {
    for teller in tellers {
        teller.tell(Order::Stage)?;
    }
    Ok(Instant::now())
}

/// Shows the progress until the time is over.
fn watch(name: &str, bank: &Bank) -> Result<(), Box<dyn Error>> {
    let style = "{prefix:<36} [{bar:30}] {msg}";
    let bar = ProgressBar::new(LASTS.as_millis() as u64)
        .with_style(ProgressStyle::with_template(style).expect("the template is well formed"))
        .with_prefix(name.to_owned());
    let began = Instant::now();
    while began.elapsed() < LASTS {
        thread::sleep(Duration::from_millis(50));
        bar.set_position(began.elapsed().as_millis() as u64);
        let served: u64 = bank.read()?.1.served.iter().sum();
        bar.set_message(format!("{} operations so far", HumanCount(served)));
    }
    bar.finish();
    if bar.is_hidden() {
        println!("{name}: done"); // no terminal, so no bar was seen
    }
    Ok(())
}

fn table(stages: &[Stage]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["stage", "operations", "per second", "median wait", "longest wait"]);
    for Stage { name, waits, took } in stages {
        let mut waits = waits.clone();
        waits.sort_unstable();
        let ms = |wait: Option<&u64>| format!("{:.2} ms", wait.map_or(0.0, |w| *w as f64 / 1e3));
        let per_second = waits.len() as f64 / took.as_secs_f64();
        let figures = [
            HumanCount(waits.len() as u64).to_string(),
            HumanCount(per_second as u64).to_string(),
            ms(waits.get(waits.len() / 2)),
            ms(waits.last()),
        ];
        let figures = figures.map(|figure| Cell::new(figure).set_alignment(CellAlignment::Right));
        table.add_row([Cell::new(name)].into_iter().chain(figures));
    }
    table
}

/// A process that serves customers; killed when dropped.
struct Teller {
    number: usize,
    child: Child,
    orders: ChildStdin,
}

/// A line of a teller: whose, the word, the rest.
type Line = (usize, String, String);

impl Teller {
    fn hire(
        url: &str,
        tour: &str,
        number: usize,
        say: Sender<Line>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?)
            .args(["--redis", url, "--teller", &number.to_string(), tour])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("a teller without an input")?;
        let lines = BufReader::new(child.stdout.take().ok_or("a teller without an output")?);
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
                if say.send((number, word.to_owned(), rest.to_owned())).is_err() {
                    break;
                }
            }
        });
        Ok(Self { number, child, orders })
    }

    fn tell(&mut self, order: Order) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.orders, "{}", order.line())?)
    }

    /// Ends it as the system ends a process: without a word.
    fn kill(mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its own end.
    fn part(mut self) -> Result<(), Box<dyn Error>> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(format!("teller {} ended with {status}", self.number).into())
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // One that has ended by itself is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is heard of all tellers.
struct Ears {
    said: Receiver<Line>,
    waits: Vec<u64>,
    served: Vec<u64>,
}

impl Ears {
    /// Listens until this word was said so many times; gives what came with the last one.
    fn hear(&mut self, wanted: &str, mut times: usize) -> Result<String, Box<dyn Error>> {
        loop {
            let (teller, word, rest) = match self.said.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("no teller said \"{wanted}\" in {PATIENCE:?}").into());
                }
                Err(RecvTimeoutError::Disconnected) => return Err("all tellers are gone".into()),
            };
            if word == word::WAITS {
                self.waits.extend(rest.split(' ').filter_map(|wait| wait.parse::<u64>().ok()));
            }
            if word == word::SERVED {
                self.served[teller] = rest.parse()?;
            }
            if word == wanted {
                times -= 1;
                if times == 0 {
                    return Ok(rest);
                }
            }
        }
    }
}
