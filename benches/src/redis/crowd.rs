//! A thousand tasks on one connection, each with a lock of its own.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use redis::Script;
use redis::aio::ConnectionLike;
use tokio::runtime::Runtime;
use warded::{RedisLock, RedisSource};

use super::pairs::{COMPARE_AND_DELETE, bare};
use super::scripts::Pair;
use super::server::client;
use crate::rows::Rival;

const TASKS: usize = 1_000;

/// The nanoseconds of a pair while each task makes so many. The second sends the lock's own scripts,
/// the third what a lock without fences and queues would send.
pub fn rivals(port: u16, pairs: usize) -> Vec<Rival<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = Rc::new(runtime.expect("a runtime can be made"));
    let source = RedisSource::from(client(port));
    let connect = async { client(port).get_multiplexed_async_connection().await };
    let connection = runtime.block_on(connect).expect("the server runs");
    Pair::load(&mut client(port).get_connection().expect("the server runs"));

    let ours = move |task| {
        let lock = RedisLock::new(format!("crowd {task}"), source.clone());
        let lock = lock.expect("the name is one");
        async move {
            for _ in 0..pairs {
                let held = lock.lock_async().await.expect("it is free");
                held.release_async().await.expect("it was held");
            }
        }
    };
    let calling = connection.clone();
    let scripts = move |task| {
        let (mut connection, pair) = (calling.clone(), Pair::new(&format!("bare crowd {task}")));
        async move {
            for _ in 0..pairs {
                for command in pair.commands() {
                    let answer = connection.req_packed_command(&command).await;
                    answer.expect("the server knows the scripts");
                }
            }
        }
    };
    let least = move |task| {
        let (mut connection, key) = (connection.clone(), format!("crowd {task}"));
        let release = Arc::new(Script::new(COMPARE_AND_DELETE));
        async move {
            for _ in 0..pairs {
                bare(&mut connection, &key, &release).await;
            }
        }
    };
    vec![
        rival("warded", pairs, &runtime, ours),
        rival("bare calls of its scripts", pairs, &runtime, scripts),
        rival("bare SET and EVALSHA", pairs, &runtime, least),
    ]
}

fn rival<F: Future<Output = ()> + Send + 'static>(
    name: &str,
    pairs: usize,
    runtime: &Rc<Runtime>,
    task: impl Fn(usize) -> F + 'static,
) -> Rival<f64> {
    let runtime = runtime.clone();
    let run = move || {
        let began = Instant::now();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS).map(|number| tokio::spawn(task(number))).collect();
            for task in tasks {
                task.await.expect("no task has failed");
            }
        });
        began.elapsed().as_nanos() as f64 / (TASKS * pairs) as f64
    };
    Rival { name: name.to_owned(), run: Box::new(run) }
}
