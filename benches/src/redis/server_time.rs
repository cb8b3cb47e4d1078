//! How long the server works for a pair, by its own account.

use std::cell::RefCell;
use std::rc::Rc;

use redis::{Connection, Script};
use warded::RedisLock;

use super::pairs::COMPARE_AND_DELETE;
use super::scripts::Pair;
use super::server::{client, reset, stat};
use crate::rows::Rival;

/// A caller that waits for each answer finds the server's caches cold, one that sends many pairs at
/// once finds them warm.
pub fn rivals(port: u16, pairs: usize) -> Vec<Rival<f64>> {
    let connection = client(port).get_connection().expect("the server runs");
    let connection = Rc::new(RefCell::new(connection));
    let rival = |name: &str, work: Box<dyn Fn(&mut Connection)>| {
        let connection = connection.clone();
        let run = move || {
            let connection = &mut *connection.borrow_mut();
            work(connection);
            reset(connection);
            work(connection);
            nanos(connection) / pairs as f64
        };
        Rival { name: name.to_owned(), run: Box::new(run) }
    };

    let lock = RedisLock::new("server time", client(port)).expect("the name is one");
    let ours = move |_: &mut Connection| {
        for _ in 0..pairs {
            lock.lock().expect("it is free").release().expect("it was held");
        }
    };
    let one_by_one = move |connection: &mut Connection| {
        for _ in 0..pairs {
            let mut pair = redis::pipe();
            set_and_compare(&mut pair, 1);
            for command in pair.cmd_iter() {
                command.exec(connection).expect("the server runs");
            }
        }
    };
    let pair = Pair::new("server time, at once");
    let ours_at_once = move |connection: &mut Connection| {
        let mut all = redis::pipe();
        for _ in 0..pairs {
            let [acquire, release] = pair.commands();
            all.add_command(acquire).add_command(release);
        }
        all.exec(connection).expect("the server knows the scripts");
    };
    let at_once = move |connection: &mut Connection| {
        let mut all = redis::pipe();
        set_and_compare(&mut all, pairs);
        all.exec(connection).expect("the server knows the script");
    };
    load(&mut connection.borrow_mut());
    vec![
        rival("warded", Box::new(ours)),
        rival("bare", Box::new(one_by_one)),
        rival("warded's scripts, at once", Box::new(ours_at_once)),
        rival("bare, at once", Box::new(at_once)),
    ]
}

fn set_and_compare(pipeline: &mut redis::Pipeline, pairs: usize) {
    let release = Script::new(COMPARE_AND_DELETE);
    for _ in 0..pairs {
        pipeline.cmd("SET").arg("server time").arg("token").arg("NX").arg("PX").arg(30_000);
        let digest = release.get_hash();
        pipeline.cmd("EVALSHA").arg(digest).arg(1).arg("server time").arg("token");
    }
}

fn load(connection: &mut Connection) {
    let load = Script::new(COMPARE_AND_DELETE).load(connection);
    load.expect("the server runs");
    Pair::load(connection);
}

/// What the commands took that were not called by scripts: scripts of ours and of others call
/// neither of these two.
fn nanos(connection: &mut Connection) -> f64 {
    (stat(connection, "set", "usec") + stat(connection, "evalsha", "usec")) * 1e3
}
