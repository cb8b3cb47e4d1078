//! Locks by name, beside what people use for it. `cargo bench --bench manager -- --quick` shows that
//! it runs.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    warded_benches::manager::main()
}
