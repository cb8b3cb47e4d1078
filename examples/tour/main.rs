//! The tour: real work under contention, checked, and measured beside std's locks.
//!
//! - [`accounts`]: threads and async tasks move money under one `LocalLock`;
//! - [`words`]: a bounded pool of workers counts words under a `LocalSemaphore`;
//! - [`cache`]: many read and few write a cache under a `ReadWriteLock`.
//!
//! Each runs twice, with warded and with std, from the same code. What counts as an operation, and
//! how waits are measured from the outside, is in [`measure`].
//!
//! `cargo run --release --package warded-examples --example tour`

#[cfg(not(loom))]
mod accounts;
#[cfg(not(loom))]
mod cache;
#[cfg(not(loom))]
mod measure;
#[cfg(not(loom))]
mod table;
#[cfg(not(loom))]
mod words;

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
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
