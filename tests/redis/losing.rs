//! Leases that end while they are held, and leases that are kept.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use warded::{BaseLock, Loss, RedisError, RedisLock, Wait};

use super::server::{Server, until};

const MS: Duration = Duration::from_millis(1);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn validity_ends_before_the_lease_and_everybody_is_told() {
    let server = Server::start();
    let lock = server.builder("jobs").ttl(400 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    let (tell, told) = mpsc::channel();
    held.on_lost(move |loss| tell.send((loss, Instant::now())).unwrap());
    let loss = runtime().block_on(held.lost());
    assert_eq!(loss, Loss::Expired);
    assert!(!held.is_valid() && held.remaining().is_zero());
    assert_eq!(told.recv().unwrap().0, Loss::Expired);
    // The grace keeps others out a little longer.
    assert!(lock.locked().unwrap(), "the server's lease ended before the holder was told");
    assert!(matches!(held.extend(1_000 * MS), Err(RedisError::Lost { loss: Loss::Expired })));
    let again = lock.lock().unwrap();
    assert!(again.fence() > held.fence());
    let over = held.release();
    assert!(matches!(over, Err(RedisError::Lost { loss: Loss::TakenOver })), "{over:?}");
    assert!(again.is_valid() && server.look().token("jobs").is_some());
    again.release().unwrap();
}

#[test]
fn a_release_after_the_lease_says_so() {
    let server = Server::start();
    let lock = server.builder("jobs").ttl(100 * MS).build().unwrap();
    let held = lock.lock().unwrap();
    thread::sleep(200 * MS);
    let over = held.release();
    assert!(matches!(over, Err(RedisError::Lost { loss: Loss::Expired })), "{over:?}");
    assert!(lock.acquire(Wait::Never).unwrap());
    thread::sleep(200 * MS);
    assert!(!lock.owned().unwrap() && !lock.extend(1_000 * MS).unwrap());
    assert!(lock.release().is_err());
}

#[test]
fn renewal_keeps_a_lock_until_max_hold() {
    let server = Server::start();
    let lock = server.builder("jobs").ttl(300 * MS).renew(1_000 * MS).build().unwrap();
    let began = Instant::now();
    let held = lock.lock().unwrap();
    while began.elapsed() < 1_000 * MS {
        assert!(held.is_valid(), "lost after {:?}", began.elapsed());
        assert!(server.lock("jobs").try_lock().unwrap().is_none());
        thread::sleep(20 * MS);
    }
    assert_eq!(runtime().block_on(held.lost()), Loss::Expired);
    let kept = began.elapsed();
    assert!(kept < 1_500 * MS, "{kept:?}");
}

#[test]
fn work_is_dropped_when_the_lock_is_lost() {
    struct Told(mpsc::Sender<Instant>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(Instant::now()).unwrap();
        }
    }
    let server = Server::start();
    let lock = server.builder("jobs").ttl(300 * MS).grace(300 * MS).build().unwrap();
    runtime().block_on(async {
        let held = lock.lock_async().await.unwrap();
        // A busy machine wakes this thread late, which is what the grace is for.
        let lease_ends = Instant::now() + held.remaining() + 300 * MS;
        let (tell, told) = mpsc::channel();
        let ended = held
            .run(async move {
                let _told = Told(tell);
                std::future::pending::<()>().await;
            })
            .await;
        assert!(matches!(ended, Err(RedisError::Lost { .. })));
        assert!(told.recv().unwrap() <= lease_ends, "the work went on after the lease ended");
        // The next one is well within its lease.
        let held = lock.lock_async().await.unwrap();
        assert_eq!(held.run(async { 7 }).await.unwrap(), 7);
        held.release_async().await.unwrap();
    });
}

/// Failure 13 is in `failures`; this is the driver's side without renewal and with it.
#[test]
fn a_deleted_lock_is_noticed_within_a_third_of_the_ttl() {
    let server = Server::start();
    for renew in [false, true] {
        let lock = server.builder("jobs").ttl(1_500 * MS);
        let lock = if renew { lock.renew(60_000 * MS) } else { lock };
        let held = lock.build().unwrap().lock().unwrap();
        server.look().run("DEL warded:l:{jobs}");
        let began = Instant::now();
        assert_eq!(runtime().block_on(held.lost()), Loss::Deleted);
        assert!(began.elapsed() < 600 * MS, "{:?}", began.elapsed());
        assert!(matches!(held.release(), Err(RedisError::Lost { loss: Loss::Deleted })));
    }
}

/// The server forgets the marks of old attempts. That another holder came it knows still.
#[test]
fn a_release_is_told_of_the_next_holder_also_when_its_mark_is_forgotten() {
    let server = Server::start();
    let late = server.builder("jobs").ttl(100 * MS).build().unwrap().lock().unwrap();
    let mut look = server.look();
    let fields: Vec<String> =
        redis::cmd("HKEYS").arg("warded:l:{jobs}").query(&mut look.0).unwrap();
    let next = server.lock("jobs").lock().unwrap();
    for lane in fields.iter().filter(|field| field.len() > 1) {
        look.run(&format!("HDEL warded:l:{{jobs}} {lane}"));
    }
    let told = late.release();
    assert!(matches!(told, Err(RedisError::Lost { loss: Loss::TakenOver })), "{told:?}");
    next.release().unwrap();
}

#[test]
fn nobody_is_told_of_a_loss_after_a_release() {
    let server = Server::start();
    let lock = server.builder("jobs").ttl(150 * MS).renew(60_000 * MS).build().unwrap();
    let (tell, told) = mpsc::channel::<Loss>();
    let held = lock.lock().unwrap();
    held.on_lost(move |loss| tell.send(loss).unwrap());
    held.release().unwrap();
    assert!(told.recv_timeout(400 * MS).is_err());
}

#[test]
fn two_thousand_holds_share_a_source() {
    let server = Server::start();
    let source = server.source();
    let held: Vec<_> = (0..2_000)
        .map(|number| {
            let lock = RedisLock::new(format!("job {number}"), source.clone()).unwrap();
            lock.try_lock().unwrap().unwrap()
        })
        .collect();
    assert!(held.iter().all(warded::RedisGuard::is_valid));
    drop(held);
    source.flush().unwrap();
    until("all are free", || {
        !RedisLock::new("job 1999", source.clone()).unwrap().locked().unwrap()
    });
}
