//! Everything that a person runs.
fn main() {}
