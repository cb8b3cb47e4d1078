//! Many threads or tasks at one primitive. `cargo bench --bench contended -- --help` tells the rest.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(not(loom))]
    warded_benches::contended::main()?;
    Ok(())
}
