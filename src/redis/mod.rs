//! Locks in Redis.
//!
//! ```text
//! lock.rs, guard.rs, source.rs   what users touch
//!        │ events, by a message     ▲ answers, into a slot
//! driver/                        one task: connections, timers, wake-ups
//!        │ on(now, event)           ▲ actions
//! client.rs, lease.rs            decides; no I/O
//!        │ wire.rs: requests        ▲ replies
//! scripts/*.lua                  decide on the server
//! ```

mod all;
mod client;
mod driver;
mod error;
mod fence;
mod guard;
mod keys;
mod lease;
mod lock;
mod preflight;
mod source;
mod sweep;
mod wire;

pub(crate) use all::lock_all;
pub use driver::RedisServer;
pub use error::{Loss, RedisError};
pub use fence::{FencedKey, FencedRegister, StaleFence};
pub use guard::{Handover, Lost, RedisGuard};
pub(crate) use lock::patience;
pub use lock::{RedisLock, RedisLockBuilder};
pub use preflight::Preflight;
pub use source::{RedisSource, RedisSourceBuilder};
pub(crate) use sweep::Total;
