//! Random programs of each primitive, step by step beside the reference of what they are to do.
#![cfg(not(loom))]

mod hand;
mod reference;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;
use proptest::sample::SizeRange;

use crate::reference::{lock, read_write, semaphore};

/// Programs whose operations are decoded from a few bytes each, so that a failing one shrinks
/// operation by operation.
fn program<Op>(length: impl Into<SizeRange>) -> impl Strategy<Value = Vec<Op>>
where
    Op: for<'a> Arbitrary<'a> + std::fmt::Debug,
{
    let op = any::<[u8; 8]>().prop_map(|bytes| {
        Op::arbitrary(&mut Unstructured::new(&bytes)).expect("eight bytes are enough for one")
    });
    prop::collection::vec(op, length)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn lock(choice: u8, program in program::<lock::Op>(0..120)) {
        lock::run(choice, program);
    }

    #[test]
    fn semaphore(choice: u8, program in program::<semaphore::Op>(0..120)) {
        semaphore::run(choice, program);
    }

    #[test]
    fn read_write_lock(choice: u8, program in program::<read_write::Op>(0..120)) {
        read_write::run(choice, program);
    }
}
