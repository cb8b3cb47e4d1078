//! The client's decisions one by one, with a clock that can be set.

use super::*;

const MS: u64 = 1_000_000;
const SERVER: u64 = 1_700_000_000_000_000;

struct Desk {
    client: Client,
    now: u64,
}

impl Desk {
    fn unconnected() -> Self {
        let temper =
            Temper { answer_timeout: Duration::from_secs(1), patience: Duration::from_secs(5) };
        let mut last = 0;
        let entropy = Box::new(move || {
            last += 1;
            last
        });
        Self { client: Client::new("desk".repeat(4), temper, entropy), now: MS }
    }

    fn new() -> Self {
        let mut desk = Self::unconnected();
        // Something to connect for.
        let asked = desk.tell(Event::Read { ask: 1_000, key: "k".into() });
        assert!(matches!(asked[..], [Action::Connect]));
        let sent = desk.moment();
        let up = desk.tell(Event::Up { node: 0, server: SERVER, sent });
        let [Action::Send { call, .. }] = up[..] else { panic!("{up:?}") };
        desk.answer(call, Reply::Read { value: None, now: SERVER });
        desk
    }

    fn moment(&self) -> Moment {
        Moment(self.now)
    }

    fn later(&mut self, ms: u64) {
        self.now += ms * MS;
    }

    /// The server's time now, if its clock is never set.
    fn server(&self) -> u64 {
        SERVER + self.now / 1_000
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.client.on(Moment(self.now), event, &mut actions);
        actions
    }

    fn answer(&mut self, call: CallId, reply: Reply) -> Vec<Action> {
        self.tell(Event::Reply { call, node: 0, reply: Ok(reply) })
    }

    fn terms(&self, max_hold: Option<Duration>) -> Arc<Terms> {
        Arc::new(Terms {
            keys: Keys::new("w", None, "x").unwrap(),
            parts: Box::default(),
            ttl: Duration::from_secs(3),
            grace: Duration::from_millis(300),
            owner: "me".to_owned(),
            bypass: 16,
            waiter_ttl: Duration::from_secs(3),
            retry_delay: Duration::from_millis(100),
            polling: false,
            max_hold,
        })
    }

    /// A hold that was passed on to here, of a lock that was granted when the server was started.
    fn take_over(&mut self, ask: AskId, passed: Passed) -> HoldId {
        let (terms, token) = (self.terms(None), passed.token.clone());
        let look = sent_call(&self.tell(Event::TakeOver { ask, terms, passed }));
        let (now, left) = (self.server(), Duration::from_secs(3));
        let info = "300 3000 they".to_owned();
        let held =
            self.answer(look, Reply::Status(Status { now, fence: SERVER, left, token, info }));
        match &held[..] {
            [Action::Answer { answer: Answer::Granted(granted), .. }] => granted[0].hold,
            other => panic!("{other:?}"),
        }
    }

    /// A lock that is asked for and granted.
    fn hold(&mut self, max_hold: Option<Duration>) -> HoldId {
        let terms = self.terms(max_hold);
        let sent = self.tell(Event::Lock { ask: 1, terms, patience: Patience::Try });
        let call = sent_call(&sent);
        let (left, now) = (Duration::from_millis(3_300), self.server());
        let granted = self.answer(call, Reply::Granted { fences: vec![7], left, now });
        match granted[..] {
            [Action::Answer { answer: Answer::Granted(ref granted), .. }] => granted[0].hold,
            _ => panic!("{granted:?}"),
        }
    }
}

fn sent_call(actions: &[Action]) -> CallId {
    match actions {
        [.., Action::Send { call, .. }] => *call,
        other => panic!("nothing was sent: {other:?}"),
    }
}

#[test]
fn failure_7_the_machine_is_suspended_while_it_holds() {
    let mut desk = Desk::new();
    let hold = desk.hold(Some(Duration::from_secs(3_600)));
    // The clock runs on during a suspend; the next thing that happens is an hour later.
    desk.later(3_600_000);
    let actions = desk.tell(Event::Tick);
    let lost = actions.iter().any(
        |action| matches!(action, Action::Lost { loss: Loss::Expired, hold: of } if *of == hold),
    );
    assert!(lost, "{actions:?}");
    // Whatever the renewal that was on its way says, it stays lost.
    let more = desk.tell(Event::Extend { hold, ask: 2, more: Duration::from_secs(1) });
    assert!(matches!(
        more[..],
        [Action::Answer { answer: Answer::Failed(RedisError::Lost { loss: Loss::Expired }), .. }]
    ));
}

#[test]
fn failure_11_a_step_of_the_servers_clock_has_all_holds_looked_at() {
    let mut desk = Desk::new();
    let hold = desk.hold(None);
    desk.later(100);
    // Another answer shows that the server's clock was set forward by two seconds.
    let terms = desk.terms(None);
    let call = sent_call(&desk.tell(Event::Status { ask: 2, terms }));
    let stepped = desk.server() + 2_000_000;
    let (left, token) = (Duration::from_millis(1_200), format!("{:032x}", 1));
    let info = "300 3000 me".to_owned();
    let status = Status { now: stepped, fence: 7, left, token, info };
    let actions = desk.answer(call, Reply::Status(status.clone()));
    let check = sent_call(&actions);
    let actions = desk.answer(check, Reply::Status(status));
    let [Action::Valid { hold: of, until }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(of, hold);
    // 1,200 ms are left, 300 of them grace.
    assert!(until <= desk.moment() + Duration::from_millis(888), "{until:?}");
}

#[test]
fn renewal_ends_with_the_release_even_when_it_must_be_sent_again() {
    let mut desk = Desk::new();
    let hold = desk.hold(Some(Duration::from_secs(3_600)));
    desk.later(1_000);
    let renewal = desk.tell(Event::Tick);
    assert!(matches!(renewal[..], [Action::Send { request: Request::Extend { .. }, .. }]));
    desk.tell(Event::Release { hold, ask: None });
    let failure = RedisError::Timeout { after: Duration::ZERO };
    assert!(matches!(desk.tell(Event::Down { failure })[..], [Action::Connect]));
    let (server, sent) = (desk.server(), desk.moment());
    let again = desk.tell(Event::Up { node: 0, server, sent });
    assert!(
        matches!(again[..], [Action::Send { request: Request::Release { .. }, .. }]),
        "{again:?}"
    );
}

#[test]
fn a_grant_that_comes_too_late_is_given_back() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let call = sent_call(&desk.tell(Event::Lock { ask: 1, terms, patience: Patience::Try }));
    // Not so late that the connection counts as dead, but the lease is over by then.
    desk.later(900);
    let (left, now) = (Duration::from_millis(1_150), desk.server());
    let actions = desk.answer(call, Reply::Granted { fences: vec![7], left, now });
    assert!(
        matches!(
            actions[..],
            [
                Action::Send { request: Request::Release { .. }, .. },
                Action::Send { request: Request::Acquire { .. }, .. },
            ]
        ),
        "{actions:?}"
    );
}

#[test]
fn a_try_that_has_passed_a_release_before_it_is_made_again_and_not_for_ever() {
    let mut desk = Desk::new();
    let refuse = |desk: &mut Desk, call| {
        let (left, now) = (Duration::from_secs(3), desk.server());
        desk.answer(call, Reply::Busy { left, now })
    };
    let attempt = |desk: &mut Desk| {
        let terms = desk.terms(None);
        sent_call(&desk.tell(Event::Lock { ask: 2, terms, patience: Patience::Try }))
    };
    let is_refused =
        |actions: &[Action]| matches!(actions, [Action::Answer { ask: 2, answer: Answer::Busy }]);
    let hold = desk.hold(None);
    let release = sent_call(&desk.tell(Event::Release { hold, ask: None }));
    let mut call = attempt(&mut desk);
    for _ in 0..MOST_IN_VAIN {
        call = sent_call(&refuse(&mut desk, call));
    }
    assert!(is_refused(&refuse(&mut desk, call)));
    let call = attempt(&mut desk);
    let now = desk.server();
    desk.answer(release, Reply::Released { now });
    let again = sent_call(&refuse(&mut desk, call));
    // That one was behind nothing.
    assert!(is_refused(&refuse(&mut desk, again)));
}

/// A try would be refused as often as it is repeated while the release waits for its turn.
#[test]
fn a_release_that_was_put_off_goes_ahead_of_the_try_that_is_made_again() {
    let mut desk = Desk::new();
    let hold = desk.hold(None);
    let release = sent_call(&desk.tell(Event::Release { hold, ask: None }));
    desk.tell(Event::Reply { call: release, node: 0, reply: Err(busy()) });
    let terms = desk.terms(None);
    let call = sent_call(&desk.tell(Event::Lock { ask: 2, terms, patience: Patience::Try }));
    let (left, now) = (Duration::from_secs(3), desk.server());
    let again = desk.answer(call, Reply::Busy { left, now });
    assert!(
        matches!(
            again[..],
            [
                Action::Send { call, request: Request::Release { .. } },
                Action::Send { request: Request::Acquire { .. }, .. },
            ] if call == release
        ),
        "{again:?}"
    );
    let resends = |(_, timer): &(Moment, Timer)| matches!(timer, Timer::Resend(_));
    assert!(!desk.client.timers.iter().any(resends), "it is under way");
}

/// A lease that is shorter than the way to the server.
#[test]
fn who_waits_for_a_lock_that_is_always_granted_too_late_is_told() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let patience = Patience::Endless;
    let mut actions = desk.tell(Event::Lock { ask: 1, terms, patience });
    for _ in 0..=MOST_IN_VAIN {
        let acquire = actions.iter().find_map(|action| match action {
            Action::Send { call, request: Request::Acquire { .. } } => Some(*call),
            _ => None,
        });
        desk.later(900);
        let (left, now) = (Duration::from_millis(1_150), desk.server());
        let granted = Reply::Granted { fences: vec![7], left, now };
        actions = desk.answer(acquire.expect("it tries again"), granted);
    }
    let is_told = |action: &Action| {
        matches!(
            action,
            Action::Answer { ask: 1, answer: Answer::Failed(RedisError::Timeout { .. }) }
        )
    };
    assert!(actions.iter().any(is_told), "{actions:?}");
}

#[test]
fn each_of_those_who_wait_has_a_patience_of_its_own() {
    let mut desk = Desk::new();
    let lock = |desk: &Desk, ask| {
        let terms = desk.terms(None);
        Event::Lock { ask, terms, patience: Patience::Endless }
    };
    let down = Event::Down { failure: RedisError::Timeout { after: Duration::ZERO } };
    desk.tell(lock(&desk, 1));
    desk.tell(down);
    desk.later(4_900);
    desk.tell(lock(&desk, 2));
    let answered = |actions: &[Action]| -> Vec<AskId> {
        let ask = |action: &Action| match action {
            // It says how long that was, and not how long some part of it was.
            Action::Answer { ask, answer: Answer::Failed(RedisError::Timeout { after }) } => {
                assert_eq!(*after, Duration::from_secs(5));
                Some(*ask)
            }
            _ => None,
        };
        actions.iter().filter_map(ask).collect()
    };
    desk.later(100);
    assert_eq!(answered(&desk.tell(Event::Tick)), [1]);
    desk.later(4_899);
    assert!(answered(&desk.tell(Event::Tick)).is_empty());
    desk.later(1);
    assert_eq!(answered(&desk.tell(Event::Tick)), [2]);
}

#[test]
fn a_deadline_that_has_passed_makes_a_try_also_before_there_is_a_connection() {
    let mut desk = Desk::unconnected();
    let (terms, patience) = (desk.terms(None), Patience::Until(desk.moment()));
    let asked = desk.tell(Event::Lock { ask: 1, terms, patience });
    assert!(matches!(asked[..], [Action::Connect]), "{asked:?}");
    desk.later(1);
    assert!(desk.tell(Event::Tick).is_empty());
    let (server, sent) = (desk.server(), desk.moment());
    let up = desk.tell(Event::Up { node: 0, server, sent });
    assert!(
        matches!(up[..], [Action::Send { request: Request::Acquire { wait: false, .. }, .. }]),
        "{up:?}"
    );
}

/// The connection for messages may be dead, too, and nobody would notice.
#[test]
fn with_a_new_connection_comes_a_new_subscription() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let patience = Patience::Endless;
    let call = sent_call(&desk.tell(Event::Lock { ask: 1, terms, patience }));
    let (left, now) = (Duration::from_secs(3), desk.server());
    let busy = desk.answer(call, Reply::Busy { left, now });
    assert!(matches!(busy[..], [Action::Listen]), "{busy:?}");
    desk.tell(Event::Listening);
    desk.tell(Event::Down { failure: RedisError::Timeout { after: Duration::ZERO } });
    let (server, sent) = (desk.server(), desk.moment());
    let up = desk.tell(Event::Up { node: 0, server, sent });
    assert!(up.iter().any(|action| matches!(action, Action::Listen)), "{up:?}");
}

/// A server, or what is before it, that lets itself be reached and then hangs up.
#[test]
fn connections_that_bring_no_answer_are_made_with_pauses() {
    let mut desk = Desk::new();
    desk.hold(None);
    let down = |desk: &mut Desk| {
        let failure = RedisError::Timeout { after: Duration::ZERO };
        desk.tell(Event::Down { failure })
    };
    let mut connects = 0;
    let mut actions = down(&mut desk);
    for _ in 0..100 {
        while actions.iter().any(|action| matches!(action, Action::Connect)) {
            connects += 1;
            assert!(connects < 10, "{connects} connections in a second");
            let (server, sent) = (desk.server(), desk.moment());
            desk.tell(Event::Up { node: 0, server, sent });
            actions = down(&mut desk);
        }
        desk.later(10);
        actions = desk.tell(Event::Tick);
    }
    assert!(connects > 2, "{connects} connections in a second");
}

#[test]
fn a_long_lease_that_was_passed_on_keeps_no_other_lane() {
    let mut desk = Desk::new();
    let at = |desk: &mut Desk, ms| {
        let attempt = desk.client.attempt(Moment(desk.now), desk.terms(None));
        desk.client.lend(desk.moment() + Duration::from_millis(ms), attempt);
    };
    at(&mut desk, 1_000_000);
    (0..10).for_each(|_| at(&mut desk, 1_000));
    desk.later(2_000);
    let attempt = desk.client.attempt(desk.moment(), desk.terms(None));
    assert_eq!((attempt.number, desk.client.lent.len()), (1, 1));
}

/// A password is changed: a server of a cluster refuses the login, as the reply to what was asked.
#[test]
fn a_release_outlasts_a_login_that_is_refused() {
    let mut desk = Desk::new();
    let hold = desk.hold(None);
    let release = sent_call(&desk.tell(Event::Release { hold, ask: None }));
    let refused = redis::RedisError::from((redis::ErrorKind::AuthenticationFailed, "WRONGPASS"));
    let reply = Err(RedisError::classify(refused));
    desk.tell(Event::Reply { call: release, node: 1, reply });
    desk.later(20);
    assert_eq!(sent_call(&desk.tell(Event::Tick)), release);
}

#[test]
fn an_unanswered_request_is_sent_again_on_a_new_connection_only() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let first = sent_call(&desk.tell(Event::Lock { ask: 1, terms, patience: Patience::Try }));
    desk.later(999);
    assert!(desk.tell(Event::Tick).is_empty());
    desk.later(1);
    let late = desk.tell(Event::Tick);
    let [Action::Break { call, failure }] = &late[..] else { panic!("{late:?}") };
    assert_eq!(*call, first);
    let failure = failure.clone();
    assert!(matches!(desk.tell(Event::Down { failure })[..], [Action::Connect]));
    desk.later(5);
    let (server, sent) = (desk.server(), desk.moment());
    let again = desk.tell(Event::Up { node: 0, server, sent });
    assert_eq!(sent_call(&again), first);
    // Validity counts from the second sending, and never from the lease that was asked for.
    let (left, now) = (Duration::from_millis(2_300), desk.server());
    let granted = desk.answer(first, Reply::Granted { fences: vec![7], left, now });
    let [Action::Answer { answer: Answer::Granted(granted), .. }] = &granted[..] else {
        panic!("{granted:?}")
    };
    assert_eq!(granted[0].valid_until, desk.moment() + Duration::from_millis(2_300 - 300 - 23));
}

#[test]
fn a_server_that_never_answers_is_reported_and_the_attempt_cleaned_up() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    desk.tell(Event::Lock { ask: 1, terms, patience: Patience::Try });
    let mut actions = Vec::new();
    let mut failed = None;
    for _ in 0..600 {
        desk.later(10);
        actions.extend(desk.tell(Event::Tick));
        let broken = |action: &Action| matches!(action, Action::Connect | Action::Break { .. });
        if actions.iter().any(broken) {
            let failure = RedisError::Timeout { after: Duration::from_secs(1) };
            actions = desk.tell(Event::Down { failure });
        }
        failed = failed.or_else(|| {
            actions.iter().find_map(|action| match action {
                Action::Answer { answer: Answer::Failed(failure), .. } => Some(failure.clone()),
                _ => None,
            })
        });
    }
    assert!(matches!(failed, Some(RedisError::Timeout { .. })));
    // The server comes back: what may have been granted is ended.
    let (server, sent) = (desk.server(), desk.moment());
    let up = desk.tell(Event::Up { node: 0, server, sent });
    assert!(matches!(up[..], [Action::Send { request: Request::Release { .. }, .. }]), "{up:?}");
}

/// The servers of a cluster have clocks of their own. Who is ahead of the others sets no clock.
#[test]
fn the_clocks_of_a_cluster_are_told_apart() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let ahead = desk.server() + 20_000_000;
    let first = sent_call(&desk.tell(Event::Status { ask: 1, terms: terms.clone() }));
    let status = |now| {
        let (token, info) = (String::new(), String::new());
        Reply::Status(Status { now, fence: 1, left: Duration::ZERO, token, info })
    };
    desk.tell(Event::Reply { call: first, node: 1, reply: Ok(status(ahead)) });
    let hold = desk.hold(None);
    for node in [0, 1, 0, 1] {
        desk.later(1);
        let asked = desk.tell(Event::Status { ask: 2, terms: terms.clone() });
        let now = if node == 1 { ahead } else { desk.server() };
        let (call, reply) = (sent_call(&asked), Ok(status(now)));
        let told = desk.tell(Event::Reply { call, node, reply });
        assert!(matches!(told[..], [Action::Answer { .. }]), "{hold} is looked after: {told:?}");
    }
    // What is stamped is in time at the one that is ahead.
    let sent = desk.tell(Event::Lock { ask: 3, terms, patience: Patience::Try });
    let [Action::Send { request: Request::Acquire { attempt, .. }, .. }] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert!(attempt.stamp >= ahead + MAX_DELAY.as_micros() as u64);
}

/// One server of a cluster loses its connection: what was sent there is sent again, and what was
/// sent elsewhere is not.
#[test]
fn what_was_lost_with_one_server_of_a_cluster_is_sent_again() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let lost = sent_call(&desk.tell(Event::Status { ask: 1, terms: terms.clone() }));
    let _elsewhere = sent_call(&desk.tell(Event::Status { ask: 2, terms }));
    let failure = RedisError::Timeout { after: Duration::from_secs(1) };
    let told = desk.tell(Event::Reply { call: lost, node: 1, reply: Err(failure) });
    assert!(told.is_empty(), "{told:?}");
    desk.later(20);
    let again = desk.tell(Event::Tick);
    assert!(matches!(again[..], [Action::Send { call, .. }] if call == lost), "{again:?}");
}

/// A holder writes and hands its lock over; the next process's write must not count as overtaken.
#[test]
fn writes_are_numbered_in_order_across_a_handover() {
    fn number(desk: &mut Desk) -> u64 {
        let (key, value): (Arc<str>, Arc<[u8]>) = ("k".into(), [].into());
        match desk.tell(Event::Write { ask: 2, key, fence: 7, value })[..] {
            [Action::Send { request: Request::Write { seq, .. }, .. }] => seq,
            ref other => panic!("{other:?}"),
        }
    }
    let (mut giver, mut taker) = (Desk::new(), Desk::new());
    giver.hold(None);
    // It believes that the server's clock is ahead of where it is.
    giver.later(500);
    let (first, second) = (number(&mut giver), number(&mut giver));
    let written = giver.client.next_write(giver.moment());
    taker.take_over(1, Passed { token: "t".to_owned(), written, generation: 1 });
    let third = number(&mut taker);
    assert!(first < second && second < third, "{first}, {second}, {third}");
}

/// The first of them gives up before anybody sees what it has.
#[test]
fn who_takes_over_with_the_same_text_again_numbers_extensions_above_the_former_ones() {
    fn extend(desk: &mut Desk, hold: HoldId) -> u64 {
        let more = Duration::from_secs(1);
        match desk.tell(Event::Extend { hold, ask: 7, more })[..] {
            [Action::Send { request: Request::Extend { seq, .. }, call }] => {
                let (left, now) = (Duration::from_secs(3), desk.server());
                desk.answer(call, Reply::Extended { left, now });
                seq
            }
            ref other => panic!("{other:?}"),
        }
    }
    let (mut first, mut second) = (Desk::new(), Desk::new());
    let passed = Passed { token: "t".to_owned(), written: 0, generation: 1 };
    let hold = first.take_over(1, passed.clone());
    let mut last = 0;
    for _ in 0..100 {
        first.later(1);
        last = extend(&mut first, hold);
    }
    first.tell(Event::Leak { hold });
    second.later(101);
    let hold = second.take_over(1, passed);
    assert!(extend(&mut second, hold) > last);
}

/// The former holder's may be in use again by the time the hold ends, and then the server would take the
/// release for one of a later attempt's.
#[test]
fn a_hold_that_was_taken_over_has_a_lane_of_this_client() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let passed = Passed { token: "t".to_owned(), written: 0, generation: 1 };
    let hold = desk.take_over(1, passed);
    // Nobody else's attempt gets it meanwhile.
    let try_lock = Event::Lock { ask: 2, terms, patience: Patience::Try };
    let (other, release) = (desk.tell(try_lock), desk.tell(Event::Release { hold, ask: Some(3) }));
    match (&other[..], &release[..]) {
        (
            [Action::Send { request: Request::Acquire { attempt: other, .. }, .. }],
            [Action::Send { request: Request::Release { attempt }, .. }],
        ) => {
            assert_eq!(attempt.token, "t");
            assert!(attempt.lane.starts_with(&desk.client.id) && attempt.lane != other.lane);
        }
        sent => panic!("{sent:?}"),
    }
}

/// Another source has a clock that is ahead, and nobody told this one of its number.
#[test]
fn a_write_behind_one_of_another_source_is_numbered_above_it() {
    let mut desk = Desk::new();
    let (key, value): (Arc<str>, Arc<[u8]>) = ("k".into(), [].into());
    let call = sent_call(&desk.tell(Event::Write { ask: 2, key, fence: 7, value }));
    let (last, now) = (desk.server() + 1_000_000, desk.server());
    let again = desk.answer(call, Reply::Outnumbered { last, now });
    let [Action::Send { call, request: Request::Write { seq, .. } }] = &again[..] else {
        panic!("{again:?}")
    };
    assert_eq!(*seq, last + 1);
    let written = desk.answer(*call, Reply::Written { written: true, now });
    assert!(
        matches!(written[..], [Action::Answer { ask: 2, answer: Answer::Written(true) }]),
        "{written:?}"
    );
}

fn busy() -> RedisError {
    RedisError::Busy(redis::RedisError::from((redis::ErrorKind::Io, "BUSY")))
}

/// The server would take an extension that another one has passed for a repeat.
#[test]
fn no_extension_passes_one_that_is_put_off() {
    let mut desk = Desk::new();
    let hold = desk.hold(None);
    let more = Duration::from_secs(10);
    let first = sent_call(&desk.tell(Event::Extend { hold, ask: 2, more }));
    desk.tell(Event::Reply { call: first, node: 0, reply: Err(busy()) });
    let second = desk.tell(Event::Extend { hold, ask: 3, more });
    assert!(second.is_empty(), "{second:?}");
    desk.later(20);
    assert_eq!(sent_call(&desk.tell(Event::Tick)), first);
    let (left, now) = (Duration::from_millis(13_300), desk.server());
    let done = desk.answer(first, Reply::Extended { left, now });
    let answered =
        |action: &Action| matches!(action, Action::Answer { ask: 2, answer: Answer::Extended, .. });
    assert!(done.iter().any(answered), "{done:?}");
    assert_ne!(sent_call(&done), first);
}

#[test]
fn an_extension_that_was_not_sent_before_the_release_never_is() {
    let mut desk = Desk::new();
    let hold = desk.hold(None);
    let more = Duration::from_secs(10);
    desk.tell(Event::Extend { hold, ask: 2, more });
    assert!(desk.tell(Event::Extend { hold, ask: 3, more }).is_empty());
    let released = desk.tell(Event::Release { hold, ask: None });
    assert!(
        matches!(
            released[..],
            [
                Action::Answer { ask: 3, answer: Answer::Failed(RedisError::Lost { .. }) },
                Action::Send { request: Request::Release { .. }, .. },
            ]
        ),
        "{released:?}"
    );
}

/// An extension that fails for good leaves the way to the next one.
#[test]
fn the_next_extension_is_sent_when_one_has_failed() {
    let mut desk = Desk::new();
    let hold = desk.hold(None);
    let more = Duration::from_secs(10);
    let first = sent_call(&desk.tell(Event::Extend { hold, ask: 2, more }));
    desk.tell(Event::Extend { hold, ask: 3, more });
    let full = RedisError::OutOfMemory(redis::RedisError::from((redis::ErrorKind::Io, "OOM")));
    let failed = desk.tell(Event::Reply { call: first, node: 0, reply: Err(full) });
    assert!(
        matches!(
            failed[..],
            [
                Action::Answer { ask: 2, answer: Answer::Failed(RedisError::OutOfMemory(_)) },
                Action::Send { request: Request::Extend { .. }, .. },
            ]
        ),
        "{failed:?}"
    );
}

#[test]
fn a_release_that_the_server_does_not_take_now_is_sent_again() {
    let mut desk = Desk::new();
    let hold = desk.hold(None);
    let release = sent_call(&desk.tell(Event::Release { hold, ask: Some(2) }));
    let refusal = || RedisError::NoReplicas(redis::RedisError::from((redis::ErrorKind::Io, "few")));
    let told = desk.tell(Event::Reply { call: release, node: 0, reply: Err(refusal()) });
    assert!(
        matches!(
            told[..],
            [Action::Answer { ask: 2, answer: Answer::Failed(RedisError::Unconfirmed(_)) }]
        ),
        "{told:?}"
    );
    desk.later(20);
    assert_eq!(sent_call(&desk.tell(Event::Tick)), release);
    // Not beyond the lease.
    desk.tell(Event::Reply { call: release, node: 0, reply: Err(refusal()) });
    desk.later(10_000);
    desk.tell(Event::Tick);
    assert!(desk.client.is_idle());
}

/// The server may have done it, and would keep the lock for the hour.
#[test]
fn a_release_is_sent_for_as_long_as_an_unanswered_extension_may_last() {
    let mut desk = Desk::new();
    let hold = desk.hold(None);
    desk.tell(Event::Extend { hold, ask: 2, more: Duration::from_secs(3_600) });
    let failure = || RedisError::Timeout { after: Duration::ZERO };
    desk.tell(Event::Down { failure: failure() });
    desk.tell(Event::Release { hold, ask: None });
    for _ in 0..1_100 {
        desk.later(10);
        if desk.tell(Event::Tick).iter().any(|action| matches!(action, Action::Connect)) {
            desk.tell(Event::Down { failure: failure() });
        }
    }
    let (server, sent) = (desk.server(), desk.moment());
    let up = desk.tell(Event::Up { node: 0, server, sent });
    assert!(matches!(up[..], [Action::Send { request: Request::Release { .. }, .. }]), "{up:?}");
}

/// Each try to subscribe is a connection, and a user without a right to channels never succeeds.
#[test]
fn waiters_do_not_hurry_a_subscription_that_failed() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let asked = desk.tell(Event::Lock { ask: 2, terms, patience: Patience::Endless });
    let [Action::Send { call, request: Request::Acquire { ref attempt, .. } }] = asked[..] else {
        panic!("{asked:?}")
    };
    let left = Duration::from_secs(3);
    let busy = |desk: &Desk| Reply::Busy { left, now: desk.server() };
    let waits = desk.answer(call, busy(&desk));
    assert!(matches!(waits[..], [Action::Listen]), "{waits:?}");
    assert!(desk.tell(Event::Deaf).is_empty());
    let retry = sent_call(&desk.tell(Event::Told { token: attempt.token.clone() }));
    let waits = desk.answer(retry, busy(&desk));
    assert!(waits.is_empty(), "{waits:?}");
    desk.later(20);
    let listens = desk.tell(Event::Tick);
    assert!(matches!(listens[..], [Action::Listen]), "{listens:?}");
    // Nobody waits when it fails again; who comes then finds it resting, too.
    desk.tell(Event::Abandon { ask: 2 });
    desk.tell(Event::Deaf);
    let terms = desk.terms(None);
    let asked = desk.tell(Event::Lock { ask: 3, terms, patience: Patience::Endless });
    let waits = desk.answer(sent_call(&asked), busy(&desk));
    assert!(waits.is_empty(), "{waits:?}");
}

/// The last fence that the server knows of tells a successor from a grant that the server lost.
#[test]
fn what_became_of_a_lost_grant_is_told_by_the_last_fence() {
    for (last, loss) in [(8, Loss::TakenOver), (6, Loss::Deleted), (0, Loss::Deleted)] {
        let mut desk = Desk::new();
        let hold = desk.hold(None);
        let more = Duration::from_secs(1);
        let call = sent_call(&desk.tell(Event::Extend { hold, ask: 2, more }));
        let now = desk.server();
        let told = desk.answer(call, Reply::Gone { last, now });
        assert!(
            told.iter()
                .any(|action| matches!(action, Action::Lost { loss: is, .. } if *is == loss))
        );
        let call = sent_call(&desk.tell(Event::Release { hold, ask: Some(3) }));
        let told = desk.answer(call, Reply::Gone { last, now });
        assert_eq!(loss_of(&told), Some(loss), "{told:?}");

        let mut desk = Desk::new();
        let hold = desk.hold(None);
        desk.later(1_100);
        let call = sent_call(&desk.tell(Event::Tick));
        let status = Status {
            now: desk.server(),
            fence: last,
            left: Duration::from_secs(1),
            token: "another".to_owned(),
            info: String::new(),
        };
        let told = desk.answer(call, Reply::Status(status));
        assert!(
            matches!(told[..], [Action::Lost { hold: of, loss: is }] if of == hold && is == loss),
            "{told:?}"
        );
    }
}

/// The server's clock was set forward, say.
#[test]
fn a_lease_that_ended_early_has_expired() {
    let mut desk = Desk::new();
    desk.hold(None);
    desk.later(1_100);
    let call = sent_call(&desk.tell(Event::Tick));
    let (now, left, token, info) = (desk.server(), Duration::ZERO, String::new(), String::new());
    let told = desk.answer(call, Reply::Status(Status { now, fence: 7, left, token, info }));
    assert!(matches!(told[..], [Action::Lost { loss: Loss::Expired, .. }]), "{told:?}");
}

/// Its token may still stand in the queue, where it would be in everybody's way.
#[test]
fn a_waiter_whose_attempt_is_over_leaves_the_queue_and_begins_anew() {
    let mut desk = Desk::new();
    let terms = desk.terms(None);
    let patience = Patience::Endless;
    let call = sent_call(&desk.tell(Event::Lock { ask: 1, terms, patience }));
    let now = desk.server();
    let sent = desk.answer(call, Reply::Over { now });
    assert!(
        matches!(
            sent[..],
            [
                Action::Send { request: Request::Release { .. }, .. },
                Action::Send { request: Request::Acquire { wait: true, .. }, .. },
            ]
        ),
        "{sent:?}"
    );
}

/// What the release of a lost lock is answered with.
fn loss_of(actions: &[Action]) -> Option<Loss> {
    actions.iter().find_map(|action| match action {
        Action::Answer { answer: Answer::Failed(RedisError::Lost { loss }), .. } => Some(*loss),
        _ => None,
    })
}

#[test]
fn a_release_that_the_server_may_have_forgotten_is_unconfirmed() {
    for (minutes, is_known) in [(0, true), (1, false)] {
        let mut desk = Desk::new();
        desk.client.temper.patience = Duration::from_secs(600);
        let hold = desk.hold(None);
        sent_call(&desk.tell(Event::Release { hold, ask: Some(2) }));
        let failure = RedisError::Timeout { after: Duration::from_secs(1) };
        desk.tell(Event::Down { failure });
        desk.later(minutes * 60_000 + 500);
        let (server, sent) = (desk.server(), desk.moment());
        desk.tell(Event::Tick);
        let again = sent_call(&desk.tell(Event::Up { node: 0, server, sent }));
        let told = desk.answer(again, Reply::Gone { last: 0, now: server });
        let unconfirmed = |action: &Action| {
            let Action::Answer { answer, .. } = action else { return false };
            matches!(answer, Answer::Failed(RedisError::Unconfirmed(_)))
        };
        assert_eq!(loss_of(&told).is_some(), is_known, "{told:?}");
        assert_eq!(told.iter().any(unconfirmed), !is_known, "{told:?}");
    }
}
