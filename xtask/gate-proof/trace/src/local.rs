//! The engine's own files, as they ship.

#[path = "../../../../src/local/gate.rs"]
pub mod gate;
#[allow(unused_imports, reason = "nobody here names further orderings")]
#[path = "../../../../src/local/order.rs"]
mod order;
#[path = "../../../../src/local/parker.rs"]
mod parker;
#[path = "../../../../src/local/teller.rs"]
pub mod teller;
#[path = "../../../../src/local/waitlist.rs"]
mod waitlist;
#[path = "../../../../src/local/word.rs"]
pub mod word;

pub(crate) use order::Site;
