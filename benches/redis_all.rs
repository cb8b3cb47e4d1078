//! Several names at once in Redis, beside one.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    Ok(warded_benches::redis::all::main()?)
}
