//! Programs of a [`LocalSemaphore`](warded::LocalSemaphore) that the fuzzer finds, beside the reference.
#![no_main]

#[path = "../../tests/hand/mod.rs"]
mod hand;
#[path = "../../tests/reference/mod.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;

use crate::reference::semaphore::{Op, run};

fuzz_target!(|input: (u8, Vec<Op>)| run(input.0, input.1));
