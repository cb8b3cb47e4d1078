//! Hands `--cfg loom` on to the documentation tests: rustdoc does not read RUSTFLAGS.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_LOOM").is_some() {
        println!("cargo::rustc-cfg=loom");
    }
}
