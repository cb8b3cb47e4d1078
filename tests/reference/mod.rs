//! What the primitives are to do, as one sequential reference: who enters, who waits, who is woken.
//!
//! It is the documentation in code, on a plain vector of waiters, and knows nothing of words, bits
//! or hints. The programs beside it ([`lock`], [`semaphore`], [`read_write`]) make the same calls on
//! a primitive and on the reference, in one thread, with futures polled by hand, and compare after
//! each step. tests/model.rs runs random ones, and the targets of fuzz/ those that a fuzzer finds.

#![allow(dead_code, reason = "each user runs some of the programs")]

pub mod lock;
pub mod read_write;
pub mod semaphore;

use crate::hand::Task;

/// How somebody who wants to enter stands to those that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Overtakes them within the budget.
    Ordinary,
    /// Overtakes them always, and queues behind them.
    Recursive,
    /// Overtakes them always, and queues before them.
    Upgrade,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Entered,
    Waits(Id),
    Unavailable,
    Closed,
    TooMany { max: u32 },
}

/// A waiter's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    NotYet,
    Come,
    /// To leave with an error.
    Dismissed,
}

#[derive(Debug)]
struct Waiter {
    id: Id,
    need: u32,
    turn: Turn,
    /// Whether its waker is there to be called.
    registered: bool,
    wakes: usize,
}

/// A thing with permits and a queue.
#[derive(Debug)]
pub struct Reference {
    pub total: u32,
    pub free: u32,
    pub closed: bool,
    budget: u32,
    /// How often the head has been overtaken.
    overtaken: u32,
    /// Those whose turn has come, or who are dismissed, come first.
    queue: Vec<Waiter>,
    ids: usize,
}

impl Reference {
    pub fn new(permits: u32, budget: u16) -> Self {
        Self {
            total: permits,
            free: permits,
            closed: false,
            budget: budget.into(),
            overtaken: 0,
            queue: Vec::new(),
            ids: 0,
        }
    }

    fn place(&self, id: Id) -> usize {
        self.queue.iter().position(|waiter| waiter.id == id).expect("it waits")
    }

    pub fn wakes(&self, id: Id) -> usize {
        self.queue[self.place(id)].wakes
    }

    /// Enters as a newcomer, without waiting.
    pub fn try_enter(&mut self, need: u32, manner: Manner) -> Outcome {
        let overtakes = !self.queue.is_empty() && manner == Manner::Ordinary;
        if self.closed {
            Outcome::Closed
        } else if need > self.total {
            Outcome::TooMany { max: self.total }
        } else if need > self.free || overtakes && self.overtaken >= self.budget {
            Outcome::Unavailable
        } else {
            self.free -= need;
            self.overtaken += u32::from(overtakes);
            Outcome::Entered
        }
    }

    /// Enters, or queues: the first poll of a future.
    pub fn arrive(&mut self, need: u32, manner: Manner) -> Outcome {
        let outcome = self.try_enter(need, manner);
        if outcome != Outcome::Unavailable {
            return outcome;
        }
        self.ids += 1;
        let id = Id(self.ids);
        let waiter = Waiter { id, need, turn: Turn::NotYet, registered: true, wakes: 0 };
        if manner == Manner::Upgrade {
            self.queue.iter_mut().for_each(|waiter| waiter.turn = Turn::NotYet);
            self.queue.insert(0, waiter);
        } else {
            self.queue.push(waiter);
        }
        self.settle();
        Outcome::Waits(id)
    }

    /// Enters, or gives up as soon as it would sleep: a blocking wait with no time at all.
    pub fn arrive_and_give_up(&mut self, need: u32, manner: Manner) -> Outcome {
        let id = match self.arrive(need, manner) {
            Outcome::Waits(id) => id,
            outcome => return outcome,
        };
        while self.queue[self.place(id)].turn != Turn::NotYet {
            let outcome = self.poll(id);
            if outcome != Outcome::Waits(id) {
                return outcome;
            }
        }
        self.leave(id);
        Outcome::Unavailable
    }

    /// A waiter looks whether it may enter.
    pub fn poll(&mut self, id: Id) -> Outcome {
        let place = self.place(id);
        let turn = self.queue[place].turn;
        let outcome = if self.closed {
            Outcome::Closed
        } else if turn == Turn::Dismissed {
            // There were fewer than it needs when it was dismissed, whatever there is now.
            Outcome::TooMany { max: self.total.min(self.queue[place].need - 1) }
        } else {
            if turn == Turn::Come {
                self.recall();
            }
            if self.queue[place].turn == Turn::Come {
                self.free -= self.queue[place].need;
                Outcome::Entered
            } else {
                self.queue[place].registered = true;
                self.settle();
                return Outcome::Waits(id);
            }
        };
        self.leave(id);
        outcome
    }

    /// A waiter is out of the queue, for whatever reason.
    pub fn leave(&mut self, id: Id) {
        let place = self.place(id);
        self.queue.remove(place);
        if place == 0 || self.queue.is_empty() {
            self.overtaken = 0;
        }
        self.settle();
    }

    pub fn release(&mut self, n: u32) {
        self.free += n;
        self.settle();
    }

    /// Nobody overtakes the head any more.
    pub fn release_fairly(&mut self, n: u32) {
        if !self.queue.is_empty() {
            self.overtaken = self.budget;
        }
        self.release(n);
    }

    pub fn close(&mut self) {
        self.closed = true;
        self.settle();
    }

    /// Whether there was room for them.
    pub fn add(&mut self, n: u32, most: u32) -> bool {
        let fits = n <= most - self.total;
        if fits {
            self.total += n;
            self.free += n;
        }
        self.settle();
        fits
    }

    pub fn forget_free(&mut self, n: u32) -> u32 {
        let forgotten = n.min(self.free);
        self.free -= forgotten;
        self.forget_held(forgotten);
        forgotten
    }

    pub fn forget_held(&mut self, n: u32) {
        self.total -= n;
        self.settle();
    }

    /// What those need whose turn has come.
    fn called(&self) -> u64 {
        let come = self.queue.iter().filter(|waiter| waiter.turn == Turn::Come);
        come.map(|waiter| u64::from(waiter.need)).sum()
    }

    /// Everybody's turn comes whose need, with those of all before it, fits into the free permits.
    fn settle(&mut self) {
        let first = self.queue.iter().position(|waiter| waiter.turn == Turn::NotYet);
        for place in first.unwrap_or(self.queue.len())..self.queue.len() {
            let fits = self.called() + u64::from(self.queue[place].need) <= self.free.into();
            let waiter = &mut self.queue[place];
            waiter.turn = if self.closed || waiter.need > self.total {
                Turn::Dismissed
            } else if fits {
                Turn::Come
            } else {
                return;
            };
            waiter.wakes += usize::from(std::mem::take(&mut waiter.registered));
        }
    }

    /// Whose turn had come and who were overtaken since must wait again, the last first.
    fn recall(&mut self) {
        while self.called() > self.free.into() {
            let last = self.queue.iter_mut().rfind(|waiter| waiter.turn != Turn::NotYet);
            last.expect("somebody's turn had come").turn = Turn::NotYet;
        }
    }
}

/// A future under way, and who it is to the reference.
pub struct Waiting<'a, T, What> {
    pub id: Id,
    pub task: Task<'a, T>,
    /// What it will be when it is in.
    pub what: What,
}

/// Picks one of a list, if there is one.
pub fn pick<T>(list: &[T], choice: u8) -> Option<usize> {
    (!list.is_empty()).then(|| usize::from(choice) % list.len())
}

/// The budgets that programs run with.
pub fn budget(choice: u8) -> u16 {
    [0, 1, 2, 5, 4096][usize::from(choice) % 5]
}
