//! The read-write lock: readers together, writers alone, and those who change from one to the other.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use warded::model::Pristine;
use warded::{ReadWriteLock, UpgradableGuard, WriteGuard};

use crate::harness::{About, BESIDE_A_FUTURE, BUDGETS, CROWDED, Suite, THREE_THREADS, TWO_THREADS};
use crate::steps::{
    CountingWaker, Protected, beside, block_on, poll, poll_and_drop, poll_with, soon, step, twice,
};

type Shared = Protected<ReadWriteLock>;

fn read_write(budget: u16) -> Arc<Shared> {
    Protected::new(ReadWriteLock::new(()).with_bypass(budget))
}

/// Every model's end: all ways in work, and nothing is left over.
fn finish(shared: &Shared) {
    let looking = shared.by.try_upgradable().expect("nobody is in, and nobody waits");
    let Ok(writing) = UpgradableGuard::try_upgrade(looking) else { panic!("nobody else reads") };
    shared.data.write();
    drop(writing);
    assert!(shared.by.is_pristine(), "something is left over in the state word");
}

fn read(shared: &Shared) {
    step("reads");
    let _guard = shared.by.read();
    shared.data.read();
}

fn write(shared: &Shared) {
    step("writes");
    let _guard = shared.by.write();
    shared.data.write();
}

fn read_twice(shared: &Shared) {
    read(shared);
    read(shared);
}

fn two_attempts(shared: &Shared) {
    for _ in 0..2 {
        if let Some(_guard) = shared.by.try_read() {
            shared.data.read();
        }
    }
}

fn write_twice(shared: &Shared) {
    write(shared);
    write(shared);
}

fn read_async(shared: &Shared) {
    step("awaits a read");
    block_on(async {
        let _guard = shared.by.read_async().await;
        shared.data.read();
    });
}

fn write_async(shared: &Shared) {
    step("awaits a write");
    block_on(async {
        let _guard = shared.by.write_async().await;
        shared.data.write();
    });
}

fn write_within_time(shared: &Shared) {
    step("writes within a time");
    if let Some(_guard) = shared.by.try_write_for(soon()) {
        shared.data.write();
    }
}

fn read_within_time(shared: &Shared) {
    step("reads within a time");
    if let Some(_guard) = shared.by.try_read_for(soon()) {
        shared.data.read();
    }
}

fn write_cancelled(shared: &Shared) {
    step("polls for a write once");
    if let Some(_guard) = poll_and_drop(shared.by.write_async()) {
        shared.data.write();
    }
}

/// Reads, then writes, and asserts that nobody wrote in between.
fn look_and_write(shared: &Shared) {
    step("reads upgradably");
    let looking = shared.by.upgradable();
    let seen = shared.data.read();
    step("upgrades");
    let _writing = UpgradableGuard::upgrade(looking);
    assert_eq!(shared.data.read(), seen, "another writer came in between");
    shared.data.write();
}

fn look_and_write_async(shared: &Shared) {
    step("awaits an upgradable read");
    block_on(async {
        let looking = shared.by.upgradable_async().await;
        let seen = shared.data.read();
        step("awaits the upgrade");
        let _writing = UpgradableGuard::upgrade_async(looking).await;
        assert_eq!(shared.data.read(), seen, "another writer came in between");
        shared.data.write();
    });
}

fn reader_against_writer(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[read_twice], write_twice);
    finish(&shared);
}

fn two_readers_and_a_writer(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[read_twice, |shared| twice(shared, read_async)], write_twice);
    finish(&shared);
}

fn reader_and_two_writers(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write_twice, |shared| twice(shared, write_async)], read_twice);
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

fn writer_within_time(budget: u16) {
    let shared = read_write(budget);
    let reading = shared.by.read();
    beside(&shared, &[|shared| twice(shared, write_within_time), read_twice], |shared| {
        shared.data.read();
        drop(reading);
        read(shared);
    });
    finish(&shared);
}

fn reader_within_time(budget: u16) {
    let shared = read_write(budget);
    beside(
        &shared,
        &[|shared| {
            read_within_time(shared);
            read_within_time(shared);
        }],
        write_twice,
    );
    finish(&shared);
}

fn writer_cancelled(budget: u16) {
    let shared = read_write(budget);
    let reading = shared.by.read();
    beside(&shared, &[|shared| twice(shared, write_cancelled), read_twice], |shared| {
        shared.data.read();
        drop(reading);
        read(shared);
    });
    finish(&shared);
}

fn readers_start_at_once(budget: u16) {
    let shared = read_write(budget);
    let writing = shared.by.write();
    let waker = CountingWaker::new();
    let mut readers: [_; 3] = std::array::from_fn(|_| Box::pin(shared.by.read_async()));
    for reader in &mut readers {
        assert!(poll_with(reader.as_mut(), &waker).is_pending());
    }
    beside(&shared, &[read_twice], |shared| {
        shared.data.write();
        drop(writing);
    });
    assert_eq!(waker.wakes(), 3, "every reader's turn has come");
    let guards = readers.map(|mut reader| poll(reader.as_mut()));
    assert!(guards.iter().all(|guard| guard.is_ready()), "they read together");
    drop(guards);
    finish(&shared);
}

fn reader_overtakes(budget: u16) {
    let shared = Arc::new((read_write(budget), AtomicU32::new(0)));
    let reading = shared.0.by.read();
    let mut head = pin!(shared.0.by.write_async());
    assert!(poll(head.as_mut()).is_pending());
    let overtake = |shared: &(Arc<Shared>, AtomicU32)| {
        for _ in 0..2 {
            if let Some(_guard) = shared.0.by.try_read() {
                shared.0.data.read();
                shared.1.fetch_add(1, Ordering::Relaxed);
            }
        }
        // Counted against nothing.
        shared.0.by.try_read_recursive();
    };
    beside(&shared, &[overtake], |shared| {
        drop(reading);
        overtake(shared);
    });
    let overtaken = shared.1.load(Ordering::Relaxed);
    assert!(overtaken <= budget.into(), "overtaken {overtaken} times with a budget of {budget}");
    let guard = block_on(head);
    shared.0.data.write();
    drop(guard);
    finish(&shared.0);
}

fn recursive_reader(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write_twice], |shared| {
        for _ in 0..2 {
            let outer = shared.by.read();
            let inner = shared.by.read_recursive();
            shared.data.read();
            drop(outer);
            shared.data.read();
            drop(inner);
        }
    });
    finish(&shared);
}

fn upgrade_against_readers(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[read_twice], |shared| {
        look_and_write(shared);
        look_and_write(shared);
    });
    finish(&shared);
}

fn upgrade_against_writer(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write_twice], |shared| {
        look_and_write(shared);
        look_and_write_async(shared);
    });
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

fn upgrade_against_both(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write_twice, read_twice], |shared| twice(shared, look_and_write));
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

/// The writer stands in the queue, and a reader in the way, when the upgrade comes.
fn upgrade_before_queued_writer(budget: u16) {
    let shared = read_write(budget);
    let looking = shared.by.upgradable();
    let reading = shared.by.read();
    let mut writer = pin!(shared.by.write_async());
    assert!(poll(writer.as_mut()).is_pending());
    let seen = shared.data.read();
    beside(&shared, &[two_attempts], |shared| {
        drop(reading);
        let writing = UpgradableGuard::upgrade(looking);
        assert_eq!(shared.data.read(), seen, "another writer came in between");
        shared.data.write();
        drop(writing);
    });
    let writing = block_on(writer);
    shared.data.write();
    drop(writing);
    finish(&shared);
}

/// The reader has been called when the upgrade comes before it.
fn upgrade_before_called_reader(budget: u16) {
    let shared = read_write(budget);
    let writing = shared.by.write();
    beside(&shared, &[read_twice], |shared| {
        shared.data.write();
        let mut looking = WriteGuard::downgrade_to_upgradable(writing);
        let reading = shared.by.read_recursive();
        let seen = shared.data.read();
        let mut upgrade = Box::pin(UpgradableGuard::upgraded_async(&mut looking));
        assert!(poll(upgrade.as_mut()).is_pending(), "somebody reads");
        drop(reading);
        let writing = block_on(upgrade);
        assert_eq!(shared.data.read(), seen, "another writer came in between");
        shared.data.write();
        drop(writing);
    });
    assert_eq!(shared.data.read(), 2);
    finish(&shared);
}

/// The reader has been called, and nobody polls it, when the upgrade comes before it.
fn upgrade_before_unpolled_reader(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[two_attempts], |shared| {
        for _ in 0..2 {
            let writing = shared.by.write();
            let mut reader = Box::pin(shared.by.read_async());
            assert!(poll(reader.as_mut()).is_pending());
            let mut looking = WriteGuard::downgrade_to_upgradable(writing);
            let reading = shared.by.read_recursive();
            let mut upgrade = Box::pin(UpgradableGuard::upgraded_async(&mut looking));
            assert!(poll(upgrade.as_mut()).is_pending(), "somebody reads");
            drop(reading);
            let writing = block_on(upgrade);
            shared.data.write();
            drop(writing);
            drop(looking);
            drop(block_on(reader));
        }
    });
    assert_eq!(shared.data.read(), 2);
    finish(&shared);
}

fn two_upgrades(budget: u16) {
    let shared = read_write(budget);
    beside(
        &shared,
        &[|shared| {
            look_and_write_async(shared);
            look_and_write(shared);
        }],
        |shared| {
            look_and_write(shared);
            look_and_write(shared);
        },
    );
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

fn cancelled_upgrade(budget: u16) {
    let shared = read_write(budget);
    let mut looking = shared.by.upgradable();
    let reading = shared.by.read();
    beside(&shared, &[write, read_twice], |shared| {
        let seen = shared.data.read();
        for _ in 0..2 {
            drop(poll_and_drop(UpgradableGuard::upgraded_async(&mut looking)));
            assert_eq!(shared.data.read(), seen, "the cancelled upgrade lost its read");
        }
        drop(reading);
        drop(looking);
    });
    finish(&shared);
}

fn upgrade_within_time(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[read_twice], |shared| {
        for _ in 0..2 {
            let looking = shared.by.upgradable();
            let seen = shared.data.read();
            match UpgradableGuard::try_upgrade_for(looking, soon()) {
                Ok(_writing) => shared.data.write(),
                Err(_looking) => assert_eq!(shared.data.read(), seen),
            }
        }
    });
    finish(&shared);
}

fn upgraded_and_back(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write, read_twice], |shared| {
        let mut looking = shared.by.upgradable();
        for _ in 0..2 {
            let seen = shared.data.read();
            let writing = UpgradableGuard::upgraded(&mut looking);
            shared.data.write();
            drop(writing);
            assert_eq!(shared.data.read(), seen + 1, "another writer came in between");
        }
    });
    assert_eq!(shared.data.read(), 3);
    finish(&shared);
}

fn downgrade(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write, read_twice], |shared| {
        for _ in 0..2 {
            let writing = shared.by.write();
            shared.data.write();
            let seen = shared.data.read();
            let reading = WriteGuard::downgrade(writing);
            assert_eq!(shared.data.read(), seen, "another writer came in between");
            drop(reading);
        }
    });
    assert_eq!(shared.data.read(), 3);
    finish(&shared);
}

fn downgrade_against_writer(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write_twice], |shared| {
        for _ in 0..2 {
            let writing = shared.by.write();
            shared.data.write();
            let seen = shared.data.read();
            let reading = WriteGuard::downgrade(writing);
            assert_eq!(shared.data.read(), seen, "another writer came in between");
            drop(reading);
        }
    });
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

fn upgraded_and_back_against_writer(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write_twice], |shared| {
        let mut looking = shared.by.upgradable();
        for _ in 0..2 {
            let seen = shared.data.read();
            let writing = UpgradableGuard::upgraded(&mut looking);
            shared.data.write();
            drop(writing);
            assert_eq!(shared.data.read(), seen + 1, "another writer came in between");
        }
    });
    assert_eq!(shared.data.read(), 4);
    finish(&shared);
}

fn cancelled_upgrade_against_writer(budget: u16) {
    let shared = read_write(budget);
    beside(&shared, &[write_twice], |shared| {
        for _ in 0..2 {
            let mut looking = shared.by.upgradable();
            let reading = shared.by.read_recursive();
            let seen = shared.data.read();
            drop(poll_and_drop(UpgradableGuard::upgraded_async(&mut looking)));
            assert_eq!(shared.data.read(), seen, "the cancelled upgrade lost its read");
            drop(reading);
        }
    });
    assert_eq!(shared.data.read(), 2);
    finish(&shared);
}

fn downgrade_in_steps(budget: u16) {
    let shared = read_write(budget);
    beside(
        &shared,
        &[|shared| {
            look_and_write(shared);
            read(shared);
        }],
        |shared| {
            let writing = shared.by.write();
            shared.data.write();
            let looking = WriteGuard::downgrade_to_upgradable(writing);
            let seen = shared.data.read();
            let reading = UpgradableGuard::downgrade(looking);
            assert_eq!(shared.data.read(), seen, "another writer came in between");
            drop(reading);
            read(shared);
        },
    );
    assert_eq!(shared.data.read(), 2);
    finish(&shared);
}

pub fn models(suite: &mut Suite) {
    const ALONE: &str = "a writer is alone, and each sees what the earlier ones did";
    const LIVE: &str = "nobody waits for ever, and nothing is left over";
    const NONE_BETWEEN: &str = "no writer comes between an upgradable read and its upgrade";
    const TOGETHER: &str = "readers at the front start at once";
    const BOUND: &str = "a waiter with k before it is overtaken at most (k + 1) * B times";
    let mut add = |model: &str, claim, threads, operations, adversary, bounds, run| {
        let model = format!("read-write/{model}");
        suite.model(About { model, claim, threads, operations, adversary }, BUDGETS, bounds, run);
    };
    add(
        "reader-against-writer",
        ALONE,
        2,
        "write twice; read twice",
        "none",
        TWO_THREADS,
        reader_against_writer,
    );
    add(
        "two-readers-and-a-writer",
        ALONE,
        3,
        "write twice; read twice; read awaited twice",
        "none",
        CROWDED,
        two_readers_and_a_writer,
    );
    add(
        "reader-and-two-writers",
        ALONE,
        3,
        "read twice; write twice; write awaited twice",
        "none",
        THREE_THREADS,
        reader_and_two_writers,
    );
    add(
        "writer-within-time",
        LIVE,
        3,
        "read, read; write within a time, twice; read twice",
        "timeout",
        CROWDED,
        writer_within_time,
    );
    add(
        "reader-within-time",
        LIVE,
        2,
        "write twice; read within a time, twice",
        "timeout",
        TWO_THREADS,
        reader_within_time,
    );
    add(
        "writer-cancelled",
        LIVE,
        3,
        "read, read; write polled once, twice; read twice",
        "cancelled future",
        CROWDED,
        writer_cancelled,
    );
    add(
        "readers-start-at-once",
        TOGETHER,
        2,
        "a writer leaves before 3 futures; read twice",
        "more waiters than one batch",
        TWO_THREADS,
        readers_start_at_once,
    );
    add(
        "reader-overtakes",
        BOUND,
        2,
        "a write waits; try_read twice each",
        "newcomers",
        TWO_THREADS,
        reader_overtakes,
    );
    add(
        "recursive-reader",
        LIVE,
        2,
        "read in a read, twice; write twice",
        "none",
        TWO_THREADS,
        recursive_reader,
    );
    add(
        "upgrade-against-readers",
        NONE_BETWEEN,
        2,
        "upgradable, upgrade, twice; read twice",
        "none",
        TWO_THREADS,
        upgrade_against_readers,
    );
    add(
        "upgrade-against-writer",
        NONE_BETWEEN,
        2,
        "upgradable, upgrade, twice; write twice",
        "none",
        TWO_THREADS,
        upgrade_against_writer,
    );
    add(
        "upgrade-against-both",
        NONE_BETWEEN,
        3,
        "upgradable, upgrade, twice; write twice; read twice",
        "none",
        CROWDED,
        upgrade_against_both,
    );
    add(
        "upgrade-before-queued-writer",
        NONE_BETWEEN,
        2,
        "upgrade before a write that waits; try to read twice",
        "none",
        TWO_THREADS,
        upgrade_before_queued_writer,
    );
    add(
        "upgrade-before-called-reader",
        LIVE,
        2,
        "write, upgradable, read, upgrade awaited; read twice",
        "an upgrade after a reader was called",
        TWO_THREADS,
        upgrade_before_called_reader,
    );
    add(
        "upgrade-before-unpolled-reader",
        LIVE,
        2,
        "write, upgradable, read, upgrade awaited, twice; try to read twice",
        "a reader that was called and is not polled",
        BESIDE_A_FUTURE,
        upgrade_before_unpolled_reader,
    );
    add(
        "two-upgrades",
        NONE_BETWEEN,
        2,
        "upgradable, upgrade, twice each",
        "none",
        TWO_THREADS,
        two_upgrades,
    );
    add(
        "cancelled-upgrade",
        LIVE,
        3,
        "upgradable, upgrade polled once, twice; write; read twice",
        "cancelled future",
        CROWDED,
        cancelled_upgrade,
    );
    add(
        "upgrade-within-time",
        LIVE,
        2,
        "upgradable, upgrade within a time, twice; read twice",
        "timeout",
        TWO_THREADS,
        upgrade_within_time,
    );
    add(
        "upgraded-and-back",
        NONE_BETWEEN,
        3,
        "upgradable, write, upgradable, twice; write; read twice",
        "none",
        CROWDED,
        upgraded_and_back,
    );
    add(
        "downgrade",
        NONE_BETWEEN,
        3,
        "write, read, twice; write; read twice",
        "none",
        CROWDED,
        downgrade,
    );
    add(
        "downgrade-against-writer",
        NONE_BETWEEN,
        2,
        "write, read, twice; write twice",
        "none",
        TWO_THREADS,
        downgrade_against_writer,
    );
    add(
        "upgraded-and-back-against-writer",
        NONE_BETWEEN,
        2,
        "upgradable, write, upgradable, twice; write twice",
        "none",
        TWO_THREADS,
        upgraded_and_back_against_writer,
    );
    add(
        "cancelled-upgrade-against-writer",
        LIVE,
        2,
        "upgradable, upgrade polled once, twice; write twice",
        "cancelled future",
        THREE_THREADS,
        cancelled_upgrade_against_writer,
    );
    add(
        "downgrade-in-steps",
        NONE_BETWEEN,
        2,
        "write, upgradable, read, read; upgradable, upgrade, read",
        "none",
        TWO_THREADS,
        downgrade_in_steps,
    );
}
