//! A lock in Redis, beside bare commands and other locks.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(not(loom))]
    warded_benches::redis::main()?;
    Ok(())
}
