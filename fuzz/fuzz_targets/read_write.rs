//! Programs of a [`ReadWriteLock`](warded::ReadWriteLock) that the fuzzer finds, beside the reference.
#![no_main]

#[path = "../../tests/hand/mod.rs"]
mod hand;
#[path = "../../tests/reference/mod.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;

use crate::reference::read_write::{Op, run};

fuzz_target!(|input: (u8, Vec<Op>)| run(input.0, input.1));
