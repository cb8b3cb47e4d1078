//! The tour: real work under contention, checked, and measured beside std's locks.
//!
//! - [`accounts`]: threads and async tasks move money under one `LocalLock`;
//! - [`words`]: a bounded pool of workers counts words under a `LocalSemaphore`;
//! - [`cache`]: many read and few write a cache under a `ReadWriteLock`.
//!
//! Each runs twice, with warded and with std, from the same code. What counts as an operation, and
//! how waits are measured from the outside, is in [`measure`].
//!
//! `cargo run --release --package warded-examples`
//!
//! `cargo run --release --example tour` is the same, which the crate itself has too, so that it is found in
//! the root; but cargo compiles all that tests and benchmarks need first.
//!
//! With the feature `redis` and `--redis <url>` the accounts are served by several [`processes`]
//! instead, under one `RedisLock`:
//!
//! ```sh
//! cargo run --release --package warded-examples --features redis -- --redis redis://127.0.0.1:6379
//! ```

#[cfg(not(loom))]
mod accounts;
#[cfg(not(loom))]
mod cache;
#[cfg(all(not(loom), feature = "redis"))]
mod ledger;
#[cfg(not(loom))]
mod measure;
#[cfg(all(not(loom), feature = "redis"))]
mod processes;
#[cfg(not(loom))]
mod table;
#[cfg(all(not(loom), feature = "redis"))]
mod teller;
#[cfg(not(loom))]
mod words;

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => within_this_process(),
        ["--redis", url] => in_redis(url),
        // What the tour starts itself.
        #[cfg(feature = "redis")]
        ["--redis", url, "--teller", number, tour] => {
            let number = number.parse().expect("the tour numbers its tellers");
            ended(teller::work(url, tour, number).map(|()| true))
        }
        _ => {
            eprintln!("usage: tour [--redis <url>]");
            std::process::ExitCode::from(2)
        }
    }
}

#[cfg(all(not(loom), feature = "redis"))]
fn in_redis(url: &str) -> std::process::ExitCode {
    ended(processes::tour(url))
}

#[cfg(all(not(loom), not(feature = "redis")))]
fn in_redis(_: &str) -> std::process::ExitCode {
    eprintln!("this part of the tour needs the feature redis: run it with --features redis");
    std::process::ExitCode::from(2)
}

#[cfg(all(not(loom), feature = "redis"))]
fn ended(found: Result<bool, Box<dyn std::error::Error>>) -> std::process::ExitCode {
    use std::process::ExitCode;

    match found {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the tour broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(loom))]
fn within_this_process() -> std::process::ExitCode {
    use std::process::ExitCode;

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("Locks under contention, on {cores} processors: warded's, then std's.\n");

    let outcomes: Vec<measure::Outcome> =
        [accounts::tour(), words::tour(), cache::tour()].into_iter().flatten().collect();

    println!("\n{}\n", table::of(&outcomes));
    println!(
        "overtaken: how many others entered while one wanted in, at the most. Counted from the"
    );
    println!(
        "outside, and so with those that came before it had a place in a queue, or a processor.\n"
    );

    let mut code = ExitCode::SUCCESS;
    for outcome in &outcomes {
        match &outcome.checked {
            Ok(finding) => println!("ok      {}, {}: {finding}", outcome.work, outcome.lock),
            Err(wrong) => {
                println!("WRONG   {}, {}: {wrong}", outcome.work, outcome.lock);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
