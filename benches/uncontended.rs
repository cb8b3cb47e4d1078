//! One thread at one primitive, with nobody in its way.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(not(loom))]
    warded_benches::uncontended::main()?;
    Ok(())
}
