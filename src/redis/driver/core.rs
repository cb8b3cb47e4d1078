//! The client with what it answers: all of the driver that takes no I/O of a runtime's.
//!
//! It is behind a lock. The driver holds that while it turns; and who asks may hold it, if it is
//! free, to ask the server itself. Nobody's code but ours runs under it: whom to wake and what to
//! drop is noted, and done when the lock is free.

use std::cell::Cell as Flag;
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::cell::Cell;
use super::clock;
use super::desk::Desk;
use super::express::{Answers, Express, MOST_REQUESTS, Sent};
use super::outside::contain;
use super::slot::{Grant, Open, Outcome};
use super::{LONGEST_SLEEP, Message};
use crate::redis::client::{
    Action, Answer, AskId, CallId, Client, Event, Granted, HoldId, Request,
};
use crate::redis::error::{Loss, RedisError};
use crate::redis::lease::Moment;

/// If somebody else asked so shortly before, there are many, and the driver asks for all of them
/// together.
const CROWDED: Duration = Duration::from_micros(50);

thread_local! {
    /// Whether this thread runs what others have left to be done.
    static OUTSIDE: Flag<bool> = const { Flag::new(false) };
}

/// What only the driver can do.
pub(super) enum Task {
    /// Give the link up.
    HangUp,
    Connect,
    Break {
        call: CallId,
        failure: RedisError,
    },
    Listen,
    /// Make the express connection anew.
    Board,
}

pub(super) struct Core {
    pub(super) client: Client,
    channel: Arc<str>,
    /// Who waits for an answer. Whoever is left when the driver ends is told that it is gone.
    slots: HashMap<AskId, Open>,
    cells: HashMap<HoldId, Arc<Cell>>,
    /// The requests that go out next.
    outbox: Vec<(CallId, Request)>,
    /// Those that the express connection is not for.
    for_link: Vec<(CallId, Request)>,
    pub(super) tasks: Vec<Task>,
    pub(super) express: Option<Express>,
    /// Who asked last, and when that was done with.
    last: (usize, Moment),
    /// No caller is left.
    pub(super) closed: bool,
    later: Later,
}

/// What is done when the lock is free, since it may run anybody's code.
#[derive(Default)]
pub(super) struct Later {
    wakers: Vec<Waker>,
    lost: Vec<(Arc<Cell>, Loss)>,
    /// With their callbacks, which may own anything.
    cells: Vec<Arc<Cell>>,
    slots: Vec<Open>,
}

impl Later {
    pub(super) fn run(self) {
        let before = OUTSIDE.replace(true);
        self.wakers.into_iter().for_each(|waker| contain(|| waker.wake()));
        self.lost.into_iter().for_each(|(cell, loss)| cell.lose(loss));
        self.cells.into_iter().for_each(|cell| contain(|| drop(cell)));
        drop(self.slots);
        OUTSIDE.set(before);
    }
}

impl Core {
    pub(super) fn new(client: Client, channel: Arc<str>) -> Self {
        Self {
            client,
            channel,
            slots: HashMap::new(),
            cells: HashMap::new(),
            outbox: Vec::new(),
            for_link: Vec::new(),
            tasks: Vec::new(),
            express: None,
            last: (0, Moment(0)),
            closed: false,
            later: Later::default(),
        }
    }

    /// Takes what was left in the inbox.
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Ask { ask, slot, event } => {
                self.slots.insert(ask, slot);
                self.forget_cell(&event);
                self.on(event);
            }
            Message::Tell(event) => {
                if let Event::Abandon { ask } = event {
                    self.slots.remove(&ask);
                }
                self.forget_cell(&event);
                self.on(event);
            }
            Message::Close => self.closed = true,
        }
    }

    /// Tells the client, and does what it says, or notes it.
    pub(super) fn on(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.client.on(clock::now(), event, &mut actions);
        // Doing one may lead to more.
        while !actions.is_empty() {
            for action in mem::take(&mut actions) {
                self.act(action, &mut actions);
            }
        }
    }

    fn act(&mut self, action: Action, actions: &mut Vec<Action>) {
        match action {
            Action::Connect => {
                self.cut();
                self.tasks.push(Task::Connect);
            }
            Action::Send { call, request } => self.outbox.push((call, request)),
            Action::Break { call, failure } => self.tasks.push(Task::Break { call, failure }),
            Action::Listen => self.tasks.push(Task::Listen),
            Action::Answer { ask, answer } => self.answer(ask, answer, actions),
            Action::Valid { hold, until } => {
                if let Some(cell) = self.cells.get(&hold) {
                    cell.set_valid_until(until);
                }
            }
            Action::Lost { hold, loss } => {
                if let Some(cell) = self.cells.get(&hold) {
                    cell.end();
                    self.later.lost.push((cell.clone(), loss));
                }
            }
        }
    }

    /// The link is gone, and with it all that was to be sent on it or beside it.
    fn cut(&mut self) {
        self.outbox.clear();
        self.for_link.clear();
        self.express = None;
    }

    fn answer(&mut self, ask: AskId, answer: Answer, actions: &mut Vec<Action>) {
        let outcome = match answer {
            Answer::Granted(granted) => {
                let watched = granted.into_iter().map(|granted| self.watch(granted));
                Outcome::Granted(watched.collect())
            }
            answer => Outcome::Other(answer),
        };
        let filled = match self.slots.remove(&ask) {
            Some(slot) => slot.0.fill(outcome),
            None => Err(outcome),
        };
        match filled {
            Ok(waker) => self.later.wakers.extend(waker),
            // Nobody waited for this grant any more.
            Err(Outcome::Granted(grants)) => {
                for grant in grants {
                    self.cells.remove(&grant.hold);
                    self.client.on(clock::now(), grant.decline(), actions);
                }
            }
            Err(_) => {}
        }
    }

    fn watch(&mut self, granted: Granted) -> Grant {
        let Granted { hold, fence, valid_until, attempt, generation } = granted;
        let cell = Arc::new(Cell::new(valid_until));
        self.cells.insert(hold, cell.clone());
        Grant { hold, fence, cell, attempt, generation }
    }

    fn forget_cell(&mut self, event: &Event) {
        if let Event::Release { hold, .. } | Event::Leak { hold } = event {
            self.later.cells.extend(self.cells.remove(hold));
        }
    }

    /// When the driver has to look again. With a hold that is soon: the runtime's timers stand still
    /// during a suspend, and who holds is to be told of a loss soon after it.
    pub(super) fn due(&mut self) -> Option<Moment> {
        let latest = (!self.cells.is_empty()).then(|| clock::now() + LONGEST_SLEEP);
        self.client.due().into_iter().chain(latest).min()
    }

    /// Whether something is under way that goes on only while the driver is turned.
    pub(super) fn is_busy(&self) -> bool {
        !self.client.is_idle() || !self.tasks.is_empty()
    }

    /// Sends what is alone beside the link; whether it did.
    pub(super) fn send(&mut self) -> bool {
        let is_alone = (1..=MOST_REQUESTS).contains(&self.outbox.len())
            && self.client.calls() == self.outbox.len()
            && self.tasks.is_empty();
        let Some(express) = self.express.as_mut().filter(|express| is_alone && express.is_free())
        else {
            return false;
        };
        match express.ask(mem::take(&mut self.outbox), &self.channel) {
            Sent::Answered(answers) => self.answered(answers),
            Sent::Waits => {}
            Sent::Broken(failure) => self.broken(failure),
            Sent::TooLong(requests) => self.for_link = requests,
            Sent::Closed(requests) => {
                self.for_link = requests;
                self.board();
            }
        }
        true
    }

    /// What is to be sent on the link: nothing before what is under way beside it is answered, or it might
    /// pass that.
    pub(super) fn left(&mut self) -> Vec<(CallId, Request)> {
        if self.express.as_ref().is_some_and(|express| !express.is_idle()) {
            return Vec::new();
        }
        let mut requests = mem::take(&mut self.for_link);
        requests.append(&mut self.outbox);
        requests
    }

    pub(super) fn answered(&mut self, Answers { known, unknown }: Answers) {
        self.for_link.extend(unknown);
        for (call, reply) in known {
            match reply {
                Err(failure) if failure.is_about_the_link() => return self.broken(failure),
                reply => self.on(Event::Reply { call, node: 0, reply }),
            }
        }
    }

    /// The express connection was closed while nothing was under way on it, as servers do that are
    /// told to. The link will find out by itself whether it is, too.
    pub(super) fn board(&mut self) {
        // One that never was of use is not worth another try.
        if self.express.take().is_some_and(|express| express.has_served()) {
            self.tasks.push(Task::Board);
        }
    }

    /// The driver hangs up, too: what one of two connections to a server has met, the other
    /// one will.
    pub(super) fn broken(&mut self, failure: RedisError) {
        self.cut();
        self.tasks.push(Task::HangUp);
        self.on(Event::Down { failure });
    }

    /// Whether who asks now may ask the server itself: nothing is under way, nobody else asks in turn,
    /// and it is not called by a waker of ours, which has others to wake.
    fn is_quiet(&self, asker: usize, now: Moment) -> bool {
        let (last, at) = self.last;
        let is_alone = (last == asker || now.since(at) > CROWDED) && !OUTSIDE.get();
        let quiet = self.client.calls() == 0 && self.tasks.is_empty();
        is_alone && quiet && self.express.as_ref().is_some_and(Express::is_free)
    }

    /// Asks the server, on the asker's thread, after what was left in the inbox before. Leaves the
    /// question where it is if that cannot be now.
    pub(super) fn ask(
        &mut self,
        desk: &Desk,
        question: &mut Option<Message>,
        asker: &Waker,
    ) -> Later {
        let asker = asker.data().addr();
        if self.is_quiet(asker, clock::now()) {
            desk.take().into_iter().chain(question.take()).for_each(|message| self.take(message));
            self.send();
            desk.resume(self.is_busy(), self.has_work(), self.due());
        }
        self.last = (asker, clock::now());
        self.later()
    }

    /// Whether the driver has something to do at once.
    fn has_work(&self) -> bool {
        let waits = self.express.as_ref().is_some_and(|express| !express.is_idle());
        waits || !self.tasks.is_empty() || !self.outbox.is_empty() || !self.for_link.is_empty()
    }

    /// The driver has ended. Everybody is told, as soon as the lock is free.
    pub(super) fn end(&mut self) -> Later {
        // So nobody asks here any more.
        self.cut();
        self.later.slots.extend(self.slots.drain().map(|(_, slot)| slot));
        for cell in self.cells.drain().map(|(_, cell)| cell) {
            cell.end();
            self.later.lost.push((cell, Loss::Expired));
        }
        self.later()
    }

    /// What is to be done when the lock is free.
    pub(super) fn later(&mut self) -> Later {
        mem::take(&mut self.later)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::super::express::tests::Stage;
    use super::super::slot::Slot;
    use super::*;
    use crate::redis::client::Temper;

    const NOTHING: &str = "*3\r\n:-1\r\n:7\r\n$0\r\n\r\n";

    /// A core whose express connection goes to a server that is played by the test.
    fn core(stage: Stage) -> (Core, Desk, Stage) {
        let second = Duration::from_secs(1);
        let temper = Temper { answer_timeout: second, patience: second };
        let client = Client::new("client".to_owned(), temper, Box::new(|| 7));
        let mut core = Core::new(client, "channel".into());
        core.on(Event::Up { node: 0, server: 1, sent: clock::now() });
        let (express, stage) = stage.split();
        core.express = Some(express);
        (core, Desk::default(), stage)
    }

    fn question(ask: AskId) -> (Message, Arc<Slot>) {
        let slot = Slot::new();
        let event = Event::Read { ask, key: "k".into() };
        (Message::Ask { ask, slot: Open(slot.clone()), event }, slot)
    }

    fn is_answered(slot: &Slot) -> bool {
        slot.poll(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_is_alone_has_the_answer_at_once_after_what_was_left_before() {
        let (mut core, desk, stage) = core(Stage::new());
        let (before, first) = question(1);
        desk.send(before).unwrap();
        let (message, second) = question(2);
        let mut message = Some(message);
        let server = stage.answers(NOTHING.repeat(2));
        core.ask(&desk, &mut message, Waker::noop()).run();
        server.join().unwrap();
        assert!(message.is_none(), "it was taken");
        // It may be that the answers were late.
        while !core.express.as_ref().unwrap().is_idle() {
            let answers = stage.wait(core.express.as_mut().unwrap()).unwrap();
            core.answered(answers);
        }
        assert!(is_answered(&first) && is_answered(&second));
        assert!(core.tasks.is_empty() && core.left().is_empty());
    }

    #[test]
    fn who_is_not_alone_leaves_it_to_the_driver() {
        let (mut core, desk, _stage) = core(Stage::new());
        let (message, _slot) = question(1);
        core.take(message);
        let (message, _other) = question(2);
        let mut message = Some(message);
        core.ask(&desk, &mut message, Waker::noop()).run();
        assert!(message.is_some(), "something was under way");
    }

    #[test]
    fn nothing_on_the_link_passes_what_is_under_way_beside_it() {
        let (mut core, desk, stage) = core(Stage::new());
        let (message, first) = question(1);
        core.ask(&desk, &mut Some(message), Waker::noop()).run();
        let (message, _second) = question(2);
        core.take(message);
        assert!(!core.send() && core.left().is_empty());
        stage.server().write_all(NOTHING.as_bytes()).unwrap();
        let answers = stage.wait(core.express.as_mut().unwrap()).unwrap();
        core.answered(answers);
        assert!(is_answered(&first));
        assert!(core.send() || core.left().len() == 1, "it goes as soon as that is answered");
    }

    /// Asks when it is woken.
    struct Asks(std::sync::Mutex<(Core, Desk)>, AtomicUsize);

    impl Wake for Asks {
        fn wake(self: Arc<Self>) {
            let (core, desk) = &mut *self.0.lock().unwrap();
            let (message, _slot) = question(9);
            let mut message = Some(message);
            core.ask(desk, &mut message, Waker::noop());
            self.1.fetch_add(1 + usize::from(message.is_none()), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_of_ours_that_asks_leaves_it_to_the_driver() {
        let (core, desk, _stage) = core(Stage::new());
        let asks = Arc::new(Asks(std::sync::Mutex::new((core, desk)), AtomicUsize::new(0)));
        let later = Later { wakers: vec![asks.clone().into()], ..Later::default() };
        later.run();
        assert_eq!(asks.1.load(Ordering::Relaxed), 1, "it was woken, and asked nobody");
        Waker::from(asks.clone()).wake();
        assert_eq!(asks.1.load(Ordering::Relaxed), 3, "called by anybody else, it asks the server");
    }

    #[test]
    fn a_connection_that_was_closed_is_made_anew_if_it_was_of_use() {
        for was_of_use in [true, false] {
            let mut stage = Stage::new();
            if was_of_use {
                let sent = stage.ask(1, NOTHING);
                stage.find(sent).unwrap();
            }
            stage.server().shutdown(Shutdown::Both).unwrap();
            let (mut core, desk, _stage) = core(stage);
            let (message, _slot) = question(1);
            let mut message = Some(message);
            core.ask(&desk, &mut message, Waker::noop()).run();
            assert!(core.express.is_none());
            assert_eq!(core.left().len(), 1, "it goes by the link");
            assert_eq!(matches!(core.tasks[..], [Task::Board]), was_of_use);
            assert_eq!(core.tasks.len(), usize::from(was_of_use));
        }
    }

    #[test]
    fn an_answer_about_the_link_breaks_it() {
        let (mut core, ..) = core(Stage::new());
        let failure = Err(RedisError::Timeout { after: Duration::ZERO });
        core.answered(Answers { known: vec![(1, failure)], unknown: Vec::new() });
        assert!(core.express.is_none());
        assert!(matches!(core.tasks[0], Task::HangUp));
    }
}
