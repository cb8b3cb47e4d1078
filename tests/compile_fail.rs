//! What must not compile. Each file has one mistake, beside what the compiler says of it, and no
//! more of that than the mistake itself: nothing that quotes this crate's or std's lines.
//!
//! A new compiler may put it into other words: look at what it says now, and if it is still the same
//! mistake, run with `TRYBUILD=overwrite`.
//!
//! Which guards may go to other threads is in tests/auto_traits.rs.
#![cfg(not(loom))]

#[test]
fn mistakes() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
