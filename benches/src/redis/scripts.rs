//! The lock's own scripts, called without the lock: what is left is what its client costs.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use redis::{Cmd, Connection, Script};

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                include_str!("../../../src/redis/scripts/_queue.lua"),
                include_str!(concat!("../../../src/redis/scripts/", $name)),
            ))
        })
    };
}

static ACQUIRE: LazyLock<Script> = script!("acquire.lua");
static RELEASE: LazyLock<Script> = script!("release.lua");

/// The commands of one name.
pub struct Pair {
    keys: [String; 3],
    stamp: Cell<u64>,
}

impl Pair {
    /// Nothing is sent yet.
    pub fn new(name: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        let keys = ["l", "q", "w"].map(|kind| format!("warded:{kind}:{{{name}}}"));
        Self { keys, stamp: Cell::new(now.as_micros() as u64 + 30_000_000) }
    }

    /// Has the server know the scripts.
    pub fn load(connection: &mut Connection) {
        for script in [&ACQUIRE, &RELEASE] {
            script.load(connection).expect("the server runs");
        }
    }

    /// An acquire, and its release.
    pub fn commands(&self) -> [Cmd; 2] {
        self.stamp.set(self.stamp.get() + 1);
        let token = format!("{:032x}", self.stamp.get());
        [&ACQUIRE, &RELEASE].map(|script| {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(3).arg(&self.keys).arg(&token);
            command.arg("0123456789abcdef:0").arg(self.stamp.get());
            if script.get_hash() == ACQUIRE.get_hash() {
                command.arg(31_000).arg("1000 30000 pid 17 on host");
                command.arg("16 3000 warded:c:0123456789abcdef0123456789abcdef");
            }
            command
        })
    }
}
