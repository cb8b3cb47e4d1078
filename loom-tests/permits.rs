//! The semaphore, where needs differ and the permits themselves come and go.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use warded::model::Pristine;
use warded::{BaseSemaphore, LocalSemaphore, PermitError, Wait};

use crate::harness::{About, BESIDE_A_FUTURE, BUDGETS, CROWDED, Suite, TWO_THREADS};
use crate::steps::{
    CountingWaker, Protected, beside, block_on, poll, poll_and_drop, poll_with, soon, step, twice,
};

type Shared = Protected<LocalSemaphore>;

fn semaphore(permits: u32, budget: u16) -> Arc<Shared> {
    Protected::new(LocalSemaphore::new(permits).with_bypass(budget))
}

/// Every model's end: all permits are there and can be had, and nothing is left over.
fn finish(shared: &Shared, permits: u32) {
    let all = shared.by.try_permits(permits).expect("nobody has any, and nobody waits");
    shared.data.write();
    drop(all);
    assert_eq!((shared.by.available_permits(), shared.by.total_permits()), (permits, permits));
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

/// Whoever has both of two permits is alone.
fn take_two(shared: &Shared) {
    step("takes 2");
    let permits = shared.by.permits(2).expect("there are two");
    shared.data.write();
    drop(permits);
}

fn take_one(shared: &Shared) {
    step("takes 1");
    let permit = shared.by.permit().expect("it is not closed");
    shared.data.read();
    drop(permit);
}

fn await_one(shared: &Shared) {
    step("awaits 1");
    block_on(async {
        let _permit = shared.by.permit_async().await.expect("it is not closed");
        shared.data.read();
    });
}

fn one_after_another(shared: &Shared) {
    take_one(shared);
    take_one(shared);
}

fn two_attempts(shared: &Shared) {
    for _ in 0..2 {
        if let Ok(_permit) = shared.by.try_permit() {
            shared.data.read();
        }
    }
}

fn two_within_time(shared: &Shared) {
    step("takes 2 within a time");
    if let Ok(permits) = shared.by.try_permits_for(2, soon()) {
        shared.data.write();
        drop(permits);
    }
}

fn many_against_few(budget: u16) {
    let shared = semaphore(2, budget);
    beside(&shared, &[one_after_another], |shared| {
        take_two(shared);
        take_two(shared);
    });
    assert_eq!(shared.data.read(), 2);
    finish(&shared, 2);
}

fn many_against_two_few(budget: u16) {
    let shared = semaphore(2, budget);
    beside(&shared, &[one_after_another, |shared| twice(shared, await_one)], |shared| {
        twice(shared, take_two);
    });
    assert_eq!(shared.data.read(), 2);
    finish(&shared, 2);
}

fn overtaken(budget: u16) {
    let shared = semaphore(2, budget);
    let held = shared.by.permits(2).expect("there are two");
    beside(&shared, &[one_after_another, |shared| twice(shared, take_two)], |shared| {
        shared.data.write();
        drop(held);
        take_one(shared);
    });
    finish(&shared, 2);
}

/// Two are called, one of their permits goes to a newcomer that keeps it, and the first recalls the
/// second.
fn recalled(budget: u16) {
    let shared = semaphore(2, budget);
    let held = shared.by.permits(2).expect("there are two");
    let mut kept = None;
    beside(&shared, &[one_after_another, one_after_another], |_| {
        drop(held);
        kept = shared.by.try_permit().ok();
    });
    drop(kept);
    finish(&shared, 2);
}

/// Two are called, and a newcomer takes permits: while it keeps them, the second may not enter before
/// the first, which nobody polls.
fn called_in_turn(budget: u16) {
    let shared = Arc::new((semaphore(2, budget), AtomicU32::new(0)));
    let held = shared.0.by.permits(2).expect("there are two");
    let mut first = Box::pin(shared.0.by.permit_async());
    let mut second = Box::pin(shared.0.by.permit_async());
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());

    let keep = |shared: &(Arc<Shared>, AtomicU32)| {
        let mut kept = Vec::new();
        for _ in 0..2 {
            kept.extend(shared.0.by.try_permit());
            shared.1.store(kept.len() as u32, Ordering::Relaxed);
        }
        shared.1.store(0, Ordering::Relaxed);
    };
    beside(&shared, &[keep], |shared| {
        drop(held);
        for _ in 0..2 {
            let kept_before = shared.1.load(Ordering::Relaxed);
            let entered = poll(second.as_mut()).is_ready();
            let kept = kept_before.min(shared.1.load(Ordering::Relaxed));
            assert!(!entered || kept == 0, "the second went in, and left nothing for the first");
            if entered {
                break;
            }
        }
    });
    drop(block_on(first).expect("it is not closed"));
    drop(second);
    finish(&shared.0, 2);
}

/// A newcomer takes one of two permits that come free, and keeps it: the waiter gets the other.
fn kept_by_a_newcomer(budget: u16) {
    let shared = semaphore(2, budget);
    let held = shared.by.permits(2).expect("there are two");
    let keep = |shared: &Shared| {
        shared.by.acquire(Wait::Never).expect("it is not closed");
    };
    beside(&shared, &[one_after_another, keep], |_| drop(held));
    // It may have been refused.
    let _ = shared.by.release();
    finish(&shared, 2);
}

fn many_within_time(budget: u16) {
    let shared = semaphore(2, budget);
    beside(&shared, &[one_after_another], |shared| {
        two_within_time(shared);
        two_within_time(shared);
    });
    finish(&shared, 2);
}

fn cancelled_head(budget: u16) {
    let shared = semaphore(2, budget);
    let held = shared.by.permit().expect("there are two");
    let mut head = Box::pin(shared.by.permits_async(2));
    assert!(poll(head.as_mut()).is_pending());
    beside(&shared, &[one_after_another], |_| drop(head));
    drop(held);
    finish(&shared, 2);
}

fn unpolled_head(budget: u16) {
    let shared = semaphore(2, budget);
    let held = shared.by.permits(2).expect("there are two");
    let mut head = pin!(shared.by.permit_async());
    assert!(poll(head.as_mut()).is_pending());
    beside(&shared, &[one_after_another], |shared| {
        shared.data.write();
        drop(held);
        one_after_another(shared);
    });
    let permit = block_on(head).expect("it is not closed");
    drop(permit);
    finish(&shared, 2);
}

/// More than one batch of wakers.
fn all_called_at_once(budget: u16) {
    let shared = semaphore(3, budget);
    let mut held = shared.by.permits(3).expect("there are three");
    let two = held.split(2).expect("two of three");
    let waker = CountingWaker::new();
    let mut waiters: [_; 3] = std::array::from_fn(|_| Box::pin(shared.by.permit_async()));
    for waiter in &mut waiters {
        assert!(poll_with(waiter.as_mut(), &waker).is_pending());
    }
    beside(&shared, &[two_attempts], |_| {
        drop(held);
        drop(two);
    });
    assert_eq!(waker.wakes(), 3, "everybody's turn has come");
    for waiter in waiters {
        drop(block_on(waiter));
    }
    finish(&shared, 3);
}

/// Between a releaser's look at the word and its taking the list, another has had the list, and has
/// left the same word behind: the second's turn still is to come.
fn same_word_again(budget: u16) {
    fn queue_and_leave(shared: &Shared) {
        for _ in 0..2 {
            drop(poll_and_drop(shared.by.permit_async()));
        }
    }
    let shared = semaphore(3, budget);
    let mut one = shared.by.permits(3).expect("there are three");
    let two = one.split(2).expect("two of three");
    let mut first = Box::pin(shared.by.permit_async());
    let mut second = Box::pin(shared.by.permits_async(2));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    beside(&shared, &[queue_and_leave], |_| drop(one));
    drop(two);
    drop(block_on(first));
    drop(block_on(second));
    finish(&shared, 3);
}

fn close(budget: u16) {
    fn until_closed(shared: &Shared) {
        for _ in 0..2 {
            match shared.by.permit() {
                Ok(permit) => {
                    shared.data.write();
                    drop(permit);
                }
                Err(error) => assert_eq!(error, PermitError::Closed),
            }
        }
    }
    fn async_until_closed(shared: &Shared) {
        block_on(async {
            for _ in 0..2 {
                match shared.by.permit_async().await {
                    Ok(_permit) => shared.data.write(),
                    Err(error) => assert_eq!(error, PermitError::Closed),
                }
            }
        });
    }
    let shared = semaphore(1, budget);
    let held = shared.by.permit().expect("nobody else is here");
    beside(&shared, &[until_closed, async_until_closed], |shared| {
        shared.data.write();
        shared.by.close();
        drop(held);
    });
    assert_eq!(shared.by.try_permit().err(), Some(PermitError::Closed));
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

/// Whoever has the permit keeps it: those that wait can only be told that the gate is closed.
fn closed_while_held(budget: u16) {
    fn is_refused(shared: &Shared) {
        assert_eq!(shared.by.permit().err(), Some(PermitError::Closed));
    }
    fn task_is_refused(shared: &Shared) {
        assert_eq!(block_on(shared.by.permit_async()).err(), Some(PermitError::Closed));
    }
    let shared = semaphore(1, budget);
    let held = shared.by.permit().expect("nobody else is here");
    let others: &[fn(&Shared)] =
        &[|shared| twice(shared, is_refused), |shared| twice(shared, task_is_refused)];
    beside(&shared, others, |shared| shared.by.close());
    drop(held);
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

/// Two take turns until one of them closes, and closes again.
fn close_twice(budget: u16) {
    fn take(shared: &Shared) {
        match shared.by.permit() {
            Ok(_permit) => shared.data.write(),
            Err(error) => assert_eq!(error, PermitError::Closed),
        }
    }
    let shared = semaphore(1, budget);
    beside(&shared, &[|shared| twice(shared, take)], |shared| {
        for _ in 0..2 {
            take(shared);
            shared.by.close();
        }
    });
    assert_eq!(shared.by.try_permit().err(), Some(PermitError::Closed));
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

/// The waiter gets its permits only because some are added: nobody gives any back.
fn added(budget: u16) {
    let shared = semaphore(1, budget);
    let held = shared.by.permit().expect("nobody else is here");
    beside(&shared, &[one_after_another], |shared| {
        shared.by.add_permits(1).expect("two are not too many");
    });
    drop(held);
    finish(&shared, 2);
}

/// The waiters are more than one batch, and the permits are added once.
fn added_to_many(budget: u16) {
    let shared = semaphore(1, budget);
    let held = shared.by.permit().expect("nobody else is here");
    let waker = CountingWaker::new();
    let mut waiters: [_; 3] = std::array::from_fn(|_| Box::pin(shared.by.permit_async()));
    for waiter in &mut waiters {
        assert!(poll_with(waiter.as_mut(), &waker).is_pending());
    }
    beside(&shared, &[two_attempts], |shared| {
        shared.by.add_permits(3).expect("four are not too many");
    });
    assert_eq!(waker.wakes(), 3, "everybody's turn has come");
    for waiter in waiters {
        drop(block_on(waiter));
    }
    drop(held);
    finish(&shared, 4);
}

fn forgotten_while_free(budget: u16) {
    let shared = semaphore(2, budget);
    let held = shared.by.permit().expect("there are two");
    beside(
        &shared,
        &[|shared| {
            let asked_too_many = shared.by.permits(2).err();
            assert_eq!(asked_too_many, Some(PermitError::TooMany { asked: 2, max: 1 }));
            take_one(shared);
        }],
        |shared| {
            assert_eq!(shared.by.forget_permits(1), 1);
            drop(held);
        },
    );
    finish(&shared, 1);
}

fn forgotten_while_held(budget: u16) {
    let shared = semaphore(2, budget);
    let held = shared.by.permit().expect("there are two");
    beside(
        &shared,
        &[|shared| {
            let asked_too_many = shared.by.permits(2).err();
            assert_eq!(asked_too_many, Some(PermitError::TooMany { asked: 2, max: 1 }));
            take_one(shared);
        }],
        |_| held.forget(),
    );
    finish(&shared, 1);
}

fn added_against_forgotten(budget: u16) {
    let shared = semaphore(1, budget);
    beside(
        &shared,
        &[|shared| {
            shared.by.add_permits(1).expect("two are not too many");
            take_two(shared);
            take_one(shared);
        }],
        |shared| {
            take_one(shared);
            take_one(shared);
        },
    );
    assert_eq!(shared.by.forget_permits(1), 1);
    finish(&shared, 1);
}

pub fn models(suite: &mut Suite) {
    const ALONE: &str = "whoever has all permits is alone, and each sees what the earlier ones did";
    const LIVE: &str = "nobody waits for ever, no permit is lost, and nothing is left over";
    const IN_TURN: &str = "of two that were called, the second leaves the first what it needs";
    const TOO_MANY: &str = "a waiter that needs more than there will ever be is told so";
    let mut add = |model: &str, claim, threads, operations, adversary, bounds, run| {
        let model = format!("semaphore/{model}");
        suite.model(About { model, claim, threads, operations, adversary }, BUDGETS, bounds, run);
    };
    add(
        "many-against-few",
        ALONE,
        2,
        "2 of 2 permits twice; 1 twice",
        "none",
        TWO_THREADS,
        many_against_few,
    );
    add(
        "many-against-two-few",
        ALONE,
        3,
        "2 of 2 permits twice; 1 twice; 1 awaited twice",
        "none",
        CROWDED,
        many_against_two_few,
    );
    add(
        "overtaken",
        LIVE,
        3,
        "2 of 2 permits given back, 1; 1 twice; 2 twice",
        "newcomers recall whoever was called",
        CROWDED,
        overtaken,
    );
    add(
        "recalled",
        LIVE,
        3,
        "2 of 2 permits given back, try 1 and keep it; 1 twice each",
        "a newcomer after two were called",
        CROWDED,
        recalled,
    );
    add(
        "called-in-turn",
        IN_TURN,
        2,
        "2 given back before 2 futures, the second polled twice; try 1 twice",
        "a newcomer after two were called",
        TWO_THREADS,
        called_in_turn,
    );
    add(
        "kept-by-a-newcomer",
        LIVE,
        3,
        "2 of 2 permits given back; 1 twice; try 1 and keep it",
        "a newcomer that keeps what it gets",
        CROWDED,
        kept_by_a_newcomer,
    );
    add(
        "many-within-time",
        LIVE,
        2,
        "2 of 2 permits within a time, twice; 1 twice",
        "timeout",
        TWO_THREADS,
        many_within_time,
    );
    add(
        "cancelled-head",
        LIVE,
        2,
        "a future at the head that wants 2 is dropped; 1 twice behind it",
        "cancelled future",
        TWO_THREADS,
        cancelled_head,
    );
    add(
        "unpolled-head",
        LIVE,
        2,
        "a future at the head is not polled, 2 given back, 1 twice; 1 twice behind it",
        "unpolled future",
        BESIDE_A_FUTURE,
        unpolled_head,
    );
    add(
        "all-called-at-once",
        LIVE,
        2,
        "1 and 2 of 3 given back before 3 futures; try 1 twice",
        "more waiters than one batch",
        TWO_THREADS,
        all_called_at_once,
    );
    add(
        "same-word-again",
        LIVE,
        2,
        "1 of 3 given back before 2 futures; 1 polled once, twice",
        "cancelled future",
        TWO_THREADS,
        same_word_again,
    );
    add("close", LIVE, 3, "closed; 1 twice; 1 awaited twice", "close", CROWDED, close);
    add(
        "closed-while-held",
        LIVE,
        3,
        "closed; 1 twice; 1 awaited twice",
        "close, and nobody gives back",
        CROWDED,
        closed_while_held,
    );
    add("close-twice", LIVE, 2, "1, closed, twice; 1 twice", "close", TWO_THREADS, close_twice);
    add("added", LIVE, 2, "1 added; 1 twice", "nobody gives back", TWO_THREADS, added);
    add(
        "added-to-many",
        LIVE,
        2,
        "3 added before 3 futures; try 1 twice",
        "more waiters than one batch",
        TWO_THREADS,
        added_to_many,
    );
    add(
        "forgotten-while-free",
        TOO_MANY,
        2,
        "1 of 2 forgotten, 1 given back; 2, then 1",
        "fewer permits",
        TWO_THREADS,
        forgotten_while_free,
    );
    add(
        "forgotten-while-held",
        TOO_MANY,
        2,
        "1 of 2 forgotten while held; 2, then 1",
        "fewer permits",
        TWO_THREADS,
        forgotten_while_held,
    );
    add(
        "added-against-few",
        ALONE,
        2,
        "1 added, 2, 1; 1 twice",
        "more permits",
        TWO_THREADS,
        added_against_forgotten,
    );
}
