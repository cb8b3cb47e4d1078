//! Whatever else a [`LocalSemaphore`] does: add, forget, close, merge, split, and its errors.
#![cfg(not(loom))]

mod hand;

use std::sync::Arc;
use std::thread;

use warded::{BaseSemaphore, LocalSemaphore, LockError, PermitError, PermitOverflow, Wait};

use crate::hand::Task;

const MAX: u32 = LocalSemaphore::MAX_PERMITS;
static WORKERS: LocalSemaphore = LocalSemaphore::new(3).with_bypass(1);

#[test]
fn a_static_one() {
    thread::scope(|scope| {
        for n in 0..6 {
            scope.spawn(move || {
                for _ in 0..500 {
                    drop(WORKERS.permits(1 + n % 3).unwrap());
                }
            });
        }
    });
    assert_eq!(WORKERS.available_permits(), 3);
}

#[test]
fn one_permit_by_default() {
    let semaphore = LocalSemaphore::default();
    assert_eq!((semaphore.available_permits(), semaphore.total_permits()), (1, 1));
    assert_eq!(semaphore.name(), None);
}

#[test]
fn shown() {
    let semaphore = LocalSemaphore::new(3).with_name("workers");
    let permit = semaphore.permit().unwrap();
    let shown = r#"LocalSemaphore { name: "workers", available: 2, total: 3, closed: false }"#;
    assert_eq!(format!("{semaphore:?}"), shown);
    assert_eq!(format!("{permit:?}"), format!("Permit {{ semaphore: {shown}, count: 1 }}"));
}

/// More than there are in all is an error at once, in every way of asking.
#[test]
fn too_many() {
    let semaphore = Arc::new(LocalSemaphore::new(2));
    let all = semaphore.permits(2).unwrap();
    let too_many = Some(PermitError::TooMany { asked: 3, max: 2 });
    let for_ever = std::time::Duration::MAX;
    assert_eq!(semaphore.permits(3).err(), too_many);
    assert_eq!(semaphore.try_permits(3).err(), too_many);
    assert_eq!(semaphore.try_permits_for(3, for_ever).err(), too_many);
    assert_eq!(semaphore.permits_owned(3).err(), too_many);
    assert_eq!(semaphore.try_permits_owned(3).err(), too_many);
    assert_eq!(semaphore.try_permits_owned_for(3, for_ever).err(), too_many);
    assert_eq!(pollster::block_on(semaphore.permits_async(3)).err(), too_many);
    assert_eq!(pollster::block_on(semaphore.permits_owned_async(3)).err(), too_many);
    drop(all);
    let none = LocalSemaphore::new(0);
    assert_eq!(none.permit().err(), Some(PermitError::TooMany { asked: 1, max: 0 }));
    assert!(matches!(none.acquire(Wait::Forever), Err(LockError::NoPermits { name: None })));
    assert!(matches!(none.hold(Wait::Never), Err(LockError::NoPermits { .. })));
    assert_eq!(
        semaphore.permits(u32::MAX).err(),
        Some(PermitError::TooMany { asked: u32::MAX, max: 2 })
    );
}

#[test]
fn no_permits_are_always_free() {
    let semaphore = LocalSemaphore::new(1).with_bypass(0);
    let all = semaphore.permit().unwrap();
    let waiter = Task::waiting(semaphore.permit_async());
    let nothing = semaphore.permits(0).unwrap();
    assert_eq!(nothing.count(), 0);
    drop((nothing, waiter, all));
    assert_eq!(semaphore.available_permits(), 1);
    semaphore.close();
    assert_eq!(semaphore.permits(0).err(), Some(PermitError::Closed));
}

#[test]
fn adding() {
    let semaphore = LocalSemaphore::new(0).with_bypass(0);
    semaphore.add_permits(1).unwrap();
    let one = semaphore.permit().unwrap();
    let mut two = Task::waiting(semaphore.permit_async());
    let mut three = Task::waiting(semaphore.permit_async());
    semaphore.add_permits(2).unwrap();
    assert_eq!((two.wakes(), three.wakes()), (1, 1));
    assert_eq!((semaphore.available_permits(), semaphore.total_permits()), (2, 3));
    drop((two.poll().unwrap(), three.poll().unwrap(), one));
    assert_eq!(semaphore.permits(3).unwrap().count(), 3);
    semaphore.add_permits(0).unwrap();
    assert_eq!(semaphore.total_permits(), 3);
}

/// Overflow is an error and changes nothing, whether permits are free or out.
#[test]
fn overflow() {
    let semaphore = LocalSemaphore::new(MAX);
    assert_eq!(semaphore.add_permits(1), Err(PermitOverflow { max: MAX, added: 1 }));
    assert_eq!(semaphore.add_permits(u32::MAX), Err(PermitOverflow { max: MAX, added: u32::MAX }));
    assert_eq!((semaphore.available_permits(), semaphore.total_permits()), (MAX, MAX));
    let all = semaphore.permits(MAX).unwrap();
    assert_eq!(semaphore.available_permits(), 0);
    assert_eq!(semaphore.add_permits(1), Err(PermitOverflow { max: MAX, added: 1 }));
    // The largest needs there are stand in the queue together.
    let mut first = Task::waiting(semaphore.permits_async(MAX));
    let mut second = Task::waiting(semaphore.permits_async(MAX));
    drop(all);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first.poll().unwrap());
    assert_eq!(second.wakes(), 1);
    drop(second.poll().unwrap());
    assert_eq!(semaphore.available_permits(), MAX);
    assert_eq!(semaphore.forget_permits(u32::MAX), MAX);
    semaphore.add_permits(MAX).unwrap();
    assert_eq!(semaphore.available_permits(), MAX);
}

#[test]
#[should_panic(expected = "more permits than MAX_PERMITS")]
fn more_than_the_most() {
    let _ = LocalSemaphore::new(MAX + 1);
}

#[test]
fn forgetting_free_ones() {
    let semaphore = LocalSemaphore::new(3).with_bypass(0);
    let one = semaphore.permit().unwrap();
    assert_eq!(semaphore.forget_permits(1), 1);
    assert_eq!((semaphore.available_permits(), semaphore.total_permits()), (1, 2));
    // Those that are out stay.
    assert_eq!(semaphore.forget_permits(9), 1);
    assert_eq!((semaphore.available_permits(), semaphore.total_permits()), (0, 1));
    assert_eq!(semaphore.forget_permits(1), 0);
    drop(one);
    assert_eq!(semaphore.available_permits(), 1);
}

/// A waiter that needs more than is left is told so, and those behind it go on.
#[test]
fn forgetting_under_a_waiter() {
    let semaphore = LocalSemaphore::new(3).with_bypass(0);
    let one = semaphore.permit().unwrap();
    let mut large = Task::waiting(semaphore.permits_async(3));
    let mut small = Task::waiting(semaphore.permit_async());
    assert_eq!(semaphore.forget_permits(1), 1);
    assert_eq!(large.wakes(), 1, "it can never have three");
    assert_eq!(small.wakes(), 1, "one is free");
    let error = large.poll().unwrap().err();
    assert_eq!(error, Some(PermitError::TooMany { asked: 3, max: 2 }));
    drop((small.poll().unwrap().unwrap(), one));
    assert_eq!(semaphore.available_permits(), 2);
}

/// It had been called, and the permits that it was called for are gone when it looks.
#[test]
fn forgetting_under_a_called_waiter() {
    let semaphore = LocalSemaphore::new(2).with_bypass(0);
    let both = semaphore.permits(2).unwrap();
    let mut task = Task::waiting(semaphore.permits_async(2));
    drop(both);
    assert_eq!(task.wakes(), 1);
    assert_eq!(semaphore.forget_permits(1), 1);
    // It may have to look twice: once to be recalled, once to be dismissed.
    let result = task.poll().unwrap_or_else(|| {
        assert_eq!(task.wakes(), 2, "it would wait for ever");
        task.poll().expect("it can never have two")
    });
    assert_eq!(result.err(), Some(PermitError::TooMany { asked: 2, max: 1 }));
    assert_eq!(semaphore.available_permits(), 1);
}

#[test]
fn forgetting_held_ones() {
    let semaphore = Arc::new(LocalSemaphore::new(5));
    semaphore.permits(2).unwrap().forget();
    assert_eq!((semaphore.available_permits(), semaphore.total_permits()), (3, 3));
    semaphore.permits_owned(1).unwrap().forget();
    assert_eq!((semaphore.available_permits(), semaphore.total_permits()), (2, 2));
    assert_eq!(Arc::strong_count(&semaphore), 1);
}

#[test]
fn closing() {
    let semaphore = Arc::new(LocalSemaphore::new(2).with_name("workers"));
    let permit = semaphore.permit().unwrap();
    let mut many = Task::waiting(semaphore.permits_async(2));
    let mut owned = Task::waiting(semaphore.permits_owned_async(2));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || semaphore.permits(2).map(drop))
        })
        .collect();
    semaphore.close();
    assert!(semaphore.is_closed());
    assert_eq!((many.wakes(), owned.wakes()), (1, 1));
    let closed = Some(PermitError::Closed);
    assert_eq!(many.poll().unwrap().err(), closed);
    assert_eq!(owned.poll().unwrap().err(), closed);
    for thread in threads {
        assert_eq!(thread.join().unwrap().err(), closed);
    }
    // Later callers too, although a permit is free.
    assert_eq!(semaphore.permit().err(), closed);
    assert_eq!(semaphore.try_permit().err(), closed);
    assert_eq!(semaphore.try_permit_for(std::time::Duration::MAX).err(), closed);
    assert_eq!(pollster::block_on(semaphore.permit_async()).err(), closed);
    assert_eq!(semaphore.permits_owned(9).err(), closed);
    assert!(matches!(
        semaphore.acquire(Wait::Forever),
        Err(LockError::Closed { name: Some(name) }) if name == "workers"
    ));
    assert!(matches!(semaphore.hold(Wait::Never), Err(LockError::Closed { .. })));
    drop(permit);
    assert_eq!(semaphore.available_permits(), 2);
    semaphore.close();
    semaphore.add_permits(1).unwrap();
    assert_eq!(semaphore.permit().err(), closed);
}

/// Of many that wait, closing leaves none asleep.
#[test]
fn closing_wakes_everybody() {
    let semaphore = LocalSemaphore::new(1);
    let _permit = semaphore.permit().unwrap();
    let mut tasks: Vec<_> = (0..100).map(|_| Task::waiting(semaphore.permit_async())).collect();
    semaphore.close();
    for task in &mut tasks {
        assert_eq!(task.wakes(), 1);
        assert_eq!(task.poll().unwrap().err(), Some(PermitError::Closed));
    }
}

/// One that was called for a permit and does not take it before the semaphore is closed gets none.
#[test]
fn closing_under_a_called_waiter() {
    let semaphore = LocalSemaphore::new(1);
    let permit = semaphore.permit().unwrap();
    let mut task = Task::waiting(semaphore.permit_async());
    drop(permit);
    assert_eq!(task.wakes(), 1);
    semaphore.close();
    assert_eq!(task.poll().unwrap().err(), Some(PermitError::Closed));
    assert_eq!(semaphore.available_permits(), 1);
}

#[test]
fn splitting_and_merging() {
    let semaphore = LocalSemaphore::new(5);
    let mut permits = semaphore.permits(4).unwrap();
    let mut two = permits.split(2).unwrap();
    assert!(permits.split(3).is_none());
    assert_eq!((permits.count(), two.count()), (2, 2), "a split that fails changes nothing");
    let nothing = two.split(0).unwrap();
    assert_eq!(nothing.count(), 0);
    let rest = two.split(2).unwrap();
    assert_eq!((two.count(), rest.count()), (0, 2));
    drop(two);
    assert_eq!(semaphore.available_permits(), 1);
    permits.merge(rest).unwrap();
    permits.merge(nothing).unwrap();
    assert_eq!((permits.count(), semaphore.available_permits()), (4, 1));
    drop(permits);
    assert_eq!(semaphore.available_permits(), 5);
}

#[test]
fn permits_of_another_semaphore_do_not_merge() {
    let (one, other) = (LocalSemaphore::new(1), LocalSemaphore::new(1));
    let mut permit = one.permit().unwrap();
    let stranger = permit.merge(other.permit().unwrap()).unwrap_err();
    assert_eq!((permit.count(), stranger.count()), (1, 1));
    drop(permit);
    assert_eq!((one.available_permits(), other.available_permits()), (1, 0));
    drop(stranger);
    assert_eq!(other.available_permits(), 1);
}

#[test]
fn owned_permits() {
    let semaphore = Arc::new(LocalSemaphore::new(3));
    let mut permits = semaphore.permits_owned(3).unwrap();
    let one = permits.split(1).unwrap();
    assert_eq!(Arc::strong_count(&semaphore), 3);
    thread::spawn(move || drop(one)).join().unwrap();
    assert_eq!(semaphore.available_permits(), 1);
    let again = semaphore.try_permits_owned(1).unwrap();
    permits.merge(again).unwrap();
    assert_eq!((permits.count(), Arc::strong_count(&semaphore)), (3, 2));
    let weak = Arc::downgrade(&semaphore);
    drop(semaphore);
    assert_eq!(weak.upgrade().unwrap().available_permits(), 0);
    drop(permits);
    assert!(weak.upgrade().is_none(), "an owned permit keeps the semaphore alive, and no longer");
}

/// An owned future keeps the semaphore alive too.
#[test]
fn an_owned_future_that_waits() {
    let semaphore = Arc::new(LocalSemaphore::new(1));
    let permit = semaphore.permits_owned(1).unwrap();
    let mut task = Task::waiting(semaphore.permits_owned_async(1));
    drop(semaphore);
    drop(permit);
    assert_eq!(task.poll().unwrap().unwrap().count(), 1);
}

#[test]
fn messages() {
    let show = |error: PermitError| error.to_string();
    assert_eq!(show(PermitError::Unavailable), "the permits are not free");
    assert_eq!(show(PermitError::Closed), "the semaphore is closed: it gives out no permits");
    let too_many = show(PermitError::TooMany { asked: 3, max: 2 });
    assert!(too_many.starts_with("3 permits were asked for, but the semaphore has 2 in all"));
    assert!(too_many.contains("add_permits"), "it says what to do");
    let overflow = PermitOverflow { max: MAX, added: 1 }.to_string();
    assert!(overflow.contains(&MAX.to_string()), "{overflow}");
}
