//! Transfers between accounts, by threads and by async tasks, under one lock.
//!
//! A lock that let two in at once would lose or make money, and a witness beside it would tell.

use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use async_executor::Executor;
use futures_lite::future::{block_on, yield_now};
use warded::LocalLock;

use crate::measure::{Outcome, Run, Waits};

pub const ACCOUNTS: usize = 64;
const EACH: u64 = 1_000;
pub const TOTAL: u64 = ACCOUNTS as u64 * EACH;

const THREADS: usize = 4;
const TASKS: usize = 4;
/// Threads that run the tasks.
const EXECUTORS: usize = 2;

/// One transfer in so many is an audit instead.
const AUDIT: u64 = 1_000;

pub fn tour() -> Vec<Outcome> {
    vec![transfers::<LocalLock<Accounts>>(), transfers::<Mutex<Accounts>>()]
}

/// A lock around the accounts.
trait Bank: Sync {
    const LOCK: &'static str;

    fn open(accounts: Accounts) -> Self;
    fn enter(&self, business: impl FnOnce(&mut Accounts));
    fn enter_async(
        &self,
        business: impl FnOnce(&mut Accounts) + Send,
    ) -> impl Future<Output = ()> + Send;
    fn close(self) -> Accounts;
}

impl Bank for LocalLock<Accounts> {
    const LOCK: &'static str = "warded LocalLock";

    fn open(accounts: Accounts) -> Self {
        Self::new(accounts)
    }

    fn enter(&self, business: impl FnOnce(&mut Accounts)) {
        business(&mut self.lock());
    }

    async fn enter_async(&self, business: impl FnOnce(&mut Accounts) + Send) {
        business(&mut *self.lock_async().await);
    }

    fn close(self) -> Accounts {
        self.into_inner()
    }
}

impl Bank for Mutex<Accounts> {
    const LOCK: &'static str = "std Mutex";

    fn open(accounts: Accounts) -> Self {
        Self::new(accounts)
    }

    fn enter(&self, business: impl FnOnce(&mut Accounts)) {
        business(&mut self.lock().expect("no holder panics"));
    }

    /// std's lock cannot be awaited: the task blocks the thread that runs it.
    async fn enter_async(&self, business: impl FnOnce(&mut Accounts) + Send) {
        self.enter(business);
    }

    fn close(self) -> Accounts {
        self.into_inner().expect("no holder panics")
    }
}

/// What the lock protects.
pub struct Accounts {
    pub balances: Vec<u64>,
    pub failed_audits: u64,
}

impl Accounts {
    pub fn new() -> Self {
        Self { balances: vec![EACH; ACCOUNTS], failed_audits: 0 }
    }

    fn transfer(&mut self, from: usize, to: usize, amount: u64) {
        let amount = amount.min(self.balances[from]);
        self.balances[from] -= amount;
        self.balances[to] += amount;
    }

    pub fn total(&self) -> u64 {
        self.balances.iter().sum()
    }

    /// One customer's business, chosen by chance.
    pub fn serve(&mut self) {
        if fastrand::u64(..AUDIT) == 0 {
            self.failed_audits += u64::from(self.total() != TOTAL);
        } else {
            let (from, to) = (fastrand::usize(..ACCOUNTS), fastrand::usize(..ACCOUNTS));
            self.transfer(from, to, fastrand::u64(1..100));
        }
    }
}

/// Sees whether two are inside at once, even if no money is lost by it.
#[derive(Default)]
struct Witness {
    inside: AtomicBool,
    intrusions: AtomicU64,
}

impl Witness {
    fn watch(&self, business: impl FnOnce()) {
        if self.inside.swap(true, Ordering::Relaxed) {
            self.intrusions.fetch_add(1, Ordering::Relaxed);
        }
        business();
        self.inside.store(false, Ordering::Relaxed);
    }
}

fn transfers<B: Bank>() -> Outcome {
    let work = "transfers";
    let bank = B::open(Accounts::new());
    let witness = Witness::default();
    let run = Run::new();
    let executor = Executor::new();
    let tasks: Vec<_> =
        (0..TASKS).map(|_| executor.spawn(serve_as_task(&run, &bank, &witness))).collect();

    let mut waits = Waits::default();
    let took = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| serve_as_thread(&run, &bank, &witness))).collect();
        // An executor's thread runs whichever task is ready while it waits for those that it is
        // given here.
        let mut tasks = tasks.into_iter();
        let executors: Vec<_> = (0..EXECUTORS)
            .map(|_| {
                let own: Vec<_> = tasks.by_ref().take(TASKS / EXECUTORS).collect();
                let executor = &executor;
                scope.spawn(move || {
                    block_on(executor.run(async {
                        let mut waits = Waits::default();
                        for task in own {
                            waits.merge(task.await);
                        }
                        waits
                    }))
                })
            })
            .collect();
        let took = run.watch(work, B::LOCK);
        for worker in threads.into_iter().chain(executors) {
            waits.merge(worker.join().expect("no worker panics"));
        }
        took
    });

    drop(executor);
    let accounts = bank.close();
    let (total, failed_audits) = (accounts.total(), accounts.failed_audits);
    let intrusions = witness.intrusions.into_inner();
    let checked = if (total, failed_audits, intrusions) == (TOTAL, 0, 0) {
        Ok(format!("{ACCOUNTS} accounts hold {TOTAL} in all, as at the beginning"))
    } else {
        Err(format!(
            "{total} in all instead of {TOTAL}, {failed_audits} failed audits, and {intrusions} \
             times somebody came in beside another"
        ))
    };
    Outcome { work, lock: B::LOCK, waits, took, checked }
}

fn serve_as_thread(run: &Run, bank: &impl Bank, witness: &Witness) -> Waits {
    let mut waits = Waits::default();
    while run.goes_on() {
        let arrival = run.arrive();
        bank.enter(|accounts| {
            run.enter(&arrival, &mut waits);
            witness.watch(|| accounts.serve());
        });
    }
    waits
}

async fn serve_as_task(run: &Run, bank: &impl Bank, witness: &Witness) -> Waits {
    let mut waits = Waits::default();
    while run.goes_on() {
        let arrival = run.arrive();
        bank.enter_async(|accounts| {
            run.enter(&arrival, &mut waits);
            witness.watch(|| accounts.serve());
        })
        .await;
        yield_now().await; // the other tasks, too, want the thread
    }
    waits
}
