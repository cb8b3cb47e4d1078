//! What the primitives are held against: a reference that knows no atomics and takes one step at a
//! time, and the search for a run of it that explains what a program's calls were answered.
//!
//! A call of a primitive is not one step: it looks, queues, takes and leaves the list, and others
//! may come in between. So the reference has these steps, and a history is explained if the steps of
//! each call can be put between its beginning and its end such that each gets the answer that it got.

use std::collections::HashSet;

use warded::PermitError;

/// What a primitive is, before anybody uses it.
#[derive(Clone, Copy)]
pub struct Rules {
    pub permits: u32,
    /// How often newcomers may overtake a head.
    pub budget: u16,
}

/// A call, as the reference knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// Takes permits.
    Acquire { need: u32, urgency: Urgency, patience: Patience },
    /// Gives permits back.
    Release(u32),
    /// The same, and lets no newcomer overtake the head any more.
    ReleaseFairly(u32),
    /// Lets nobody in any more.
    Close,
    /// There are more permits from now on.
    Add(u32),
    /// Takes free permits away for good, up to so many.
    Forget(u32),
}

/// How an acquiring call stands to those that wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Urgency {
    /// Overtakes within the budget, and queues behind them.
    None,
    /// Overtakes regardless, and queues behind them.
    Recursive,
    /// Overtakes regardless, and queues before them.
    Upgrade,
}

/// For how long an acquiring call waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Patience {
    None,
    /// Until some moment or other: time over, or a future dropped.
    Some,
    Endless,
}

/// What a call comes back with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    Done,
    Unavailable,
    Closed,
    TooMany,
    Forgotten(u32),
}

impl From<PermitError> for Answer {
    fn from(error: PermitError) -> Self {
        match error {
            PermitError::Unavailable => Self::Unavailable,
            PermitError::Closed => Self::Closed,
            PermitError::TooMany { .. } => Self::TooMany,
            other => panic!("the reference knows nothing of: {other}"),
        }
    }
}

/// A call begins, or ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    Begin(Call),
    End(Answer),
}

/// What happened, in order, and in which thread.
pub type History = Vec<(usize, Event)>;

/// In which order a history's events count.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// As they stand.
    RealTime,
    /// Only within each thread: where stale values may be read, what came first may be unseen.
    Program,
}

/// Whether some run of the reference gives those answers.
pub fn explains(rules: Rules, history: &History, order: Order) -> bool {
    let threads = 1 + history.iter().map(|(thread, _)| *thread).max().unwrap_or(0);
    let start = Run {
        free: rules.permits,
        max: rules.permits,
        closed: false,
        bypass: 0,
        queue: Vec::new(),
        stages: vec![Stage::Idle; threads],
    };
    match order {
        Order::RealTime => {
            let mut runs = HashSet::from([start]);
            for &(thread, event) in history {
                let after = all_from(runs, |run| run.steps(rules));
                runs = after.into_iter().filter_map(|run| run.meets(thread, event)).collect();
            }
            !runs.is_empty()
        }
        Order::Program => {
            let events: Vec<Vec<Event>> = (0..threads)
                .map(|thread| {
                    let of_thread = history.iter().filter(|(number, _)| *number == thread);
                    of_thread.map(|(_, event)| *event).collect()
                })
                .collect();
            let begun = HashSet::from([(start, vec![0; threads])]);
            let reached = all_from(begun, |(run, met)| {
                let mut next: Vec<_> =
                    run.steps(rules).into_iter().map(|run| (run, met.clone())).collect();
                for thread in 0..threads {
                    let event = events[thread].get(met[thread]);
                    if let Some(run) = event.and_then(|event| run.clone().meets(thread, *event)) {
                        let mut met = met.clone();
                        met[thread] += 1;
                        next.push((run, met));
                    }
                }
                next
            });
            reached
                .iter()
                .any(|(_, met)| met.iter().zip(&events).all(|(met, all)| *met == all.len()))
        }
    }
}

/// Everything that can be reached from there.
fn all_from<S>(start: HashSet<S>, next: impl Fn(&S) -> Vec<S>) -> HashSet<S>
where
    S: Clone + Eq + std::hash::Hash,
{
    let mut waiting: Vec<S> = start.iter().cloned().collect();
    let mut reached = start;
    while let Some(state) = waiting.pop() {
        for state in next(&state) {
            if reached.insert(state.clone()) {
                waiting.push(state);
            }
        }
    }
    reached
}

/// The reference in the course of a run.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Run {
    free: u32,
    max: u32,
    closed: bool,
    /// How often the head has been overtaken.
    bypass: u16,
    /// Who waits for how much, in order.
    queue: Vec<(usize, u32)>,
    /// How far each thread has come with its call.
    stages: Vec<Stage>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Idle,
    Begun(Call),
    /// It has seen that it may not enter.
    Outside {
        need: u32,
        urgency: Urgency,
        patience: Patience,
    },
    Queued {
        need: u32,
        patience: Patience,
    },
    /// It is to leave the queue.
    Dismissed(Answer),
    /// It has taken its permits, and still stands in the queue.
    Inside,
    /// The maximum is raised, and the permits are yet to appear.
    Adding(u32),
    /// The permits are gone, and the maximum is yet to be lowered.
    Forgetting(u32),
    Over(Answer),
}

impl Run {
    /// This run after a call has begun or ended, if that is how it stands.
    fn meets(mut self, thread: usize, event: Event) -> Option<Self> {
        let (from, to) = match event {
            Event::Begin(call) => (Stage::Idle, Stage::Begun(call)),
            Event::End(answer) => (Stage::Over(answer), Stage::Idle),
        };
        let fits = self.stages[thread] == from;
        self.stages[thread] = to;
        fits.then_some(self)
    }

    /// What this run may come to by one step of one thread.
    fn steps(&self, rules: Rules) -> Vec<Self> {
        (0..self.stages.len()).flat_map(|thread| self.steps_of(thread, rules)).collect()
    }

    fn steps_of(&self, thread: usize, rules: Rules) -> Vec<Self> {
        let to = |stage, change: &dyn Fn(&mut Self)| {
            let mut run = self.clone();
            run.stages[thread] = stage;
            change(&mut run);
            run
        };
        let over = |answer, change: &dyn Fn(&mut Self)| to(Stage::Over(answer), change);
        match self.stages[thread] {
            Stage::Idle | Stage::Over(_) => Vec::new(),
            Stage::Begun(Call::Acquire { need, urgency, patience }) => {
                vec![
                    self.newcomer_enters(thread, need, urgency, rules)
                        .unwrap_or_else(|| to(Stage::Outside { need, urgency, patience }, &|_| {})),
                ]
            }
            Stage::Outside { need, urgency, patience } => {
                let refused = self.refused(need).map(|why| over(why, &|_| {}));
                let mut next = Vec::from_iter(refused);
                if patience == Patience::None {
                    if next.is_empty() {
                        next.push(over(Answer::Unavailable, &|_| {}));
                    }
                } else {
                    next.extend(self.newcomer_enters(thread, need, urgency, rules));
                    next.push(to(Stage::Queued { need, patience }, &|run| match urgency {
                        Urgency::None | Urgency::Recursive => run.queue.push((thread, need)),
                        Urgency::Upgrade => run.queue.insert(0, (thread, need)),
                    }));
                }
                next
            }
            Stage::Queued { need, patience } => {
                let dismissed = self.refused(need).map(|why| to(Stage::Dismissed(why), &|_| {}));
                let mut next = Vec::from_iter(dismissed);
                if patience == Patience::Some {
                    next.push(over(Answer::Unavailable, &|run| run.leave_queue(thread)));
                }
                if self.turn_has_come(thread) {
                    next.push(to(Stage::Inside, &|run| run.free -= need));
                }
                next
            }
            Stage::Dismissed(why) => vec![over(why, &|run| run.leave_queue(thread))],
            Stage::Inside => vec![over(Answer::Done, &|run| run.leave_queue(thread))],
            Stage::Begun(Call::Release(n)) => vec![over(Answer::Done, &|run| run.free += n)],
            Stage::Begun(Call::ReleaseFairly(n)) => vec![over(Answer::Done, &|run| {
                run.free += n;
                if !run.queue.is_empty() {
                    run.bypass = rules.budget;
                }
            })],
            Stage::Begun(Call::Close) => vec![over(Answer::Done, &|run| run.closed = true)],
            Stage::Begun(Call::Add(n)) => vec![to(Stage::Adding(n), &|run| run.max += n)],
            Stage::Adding(n) => vec![over(Answer::Done, &|run| run.free += n)],
            Stage::Begun(Call::Forget(n)) => {
                let forgotten = n.min(self.free);
                vec![to(Stage::Forgetting(forgotten), &|run| run.free -= forgotten)]
            }
            Stage::Forgetting(n) => vec![over(Answer::Forgotten(n), &|run| run.max -= n)],
        }
    }

    /// What this run is when `thread` enters without having queued, if it may.
    fn newcomer_enters(
        &self,
        thread: usize,
        need: u32,
        urgency: Urgency,
        rules: Rules,
    ) -> Option<Self> {
        let overtakes = !self.queue.is_empty() && urgency == Urgency::None;
        if self.closed || need > self.free || (overtakes && self.bypass == rules.budget) {
            return None;
        }
        let mut run = self.clone();
        run.free -= need;
        run.bypass += u16::from(overtakes);
        run.stages[thread] = Stage::Over(Answer::Done);
        Some(run)
    }

    /// Why somebody with this need will never get in.
    fn refused(&self, need: u32) -> Option<Answer> {
        if self.closed {
            Some(Answer::Closed)
        } else {
            (need > self.max).then_some(Answer::TooMany)
        }
    }

    /// The needs of all up to and including it fit into the free permits. The dismissed need
    /// nothing.
    fn turn_has_come(&self, thread: usize) -> bool {
        let last = self.queue.iter().position(|(waiter, _)| *waiter == thread);
        let ahead = &self.queue[..=last.expect("it is in the queue")];
        let waiting =
            ahead.iter().filter(|(waiter, _)| !matches!(self.stages[*waiter], Stage::Dismissed(_)));
        !self.closed && waiting.map(|(_, need)| need).sum::<u32>() <= self.free
    }

    /// The head's leaving clears the budget.
    fn leave_queue(&mut self, thread: usize) {
        let was_head = self.queue.first().is_some_and(|(waiter, _)| *waiter == thread);
        self.queue.retain(|(waiter, _)| *waiter != thread);
        if was_head {
            self.bypass = 0;
        }
    }
}
