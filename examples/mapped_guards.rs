//! Handing out a part of what a lock protects: the guard is narrowed, and the lock stays held.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::thread;

    use warded::{
        LocalLock, LockGuard, MappedLockGuard, OwnedMappedReadGuard, OwnedReadGuard, ReadWriteLock,
    };

    /// Callers change a balance without seeing the map, or that there is one.
    struct Bank {
        balances: LocalLock<BTreeMap<&'static str, u64>>,
    }

    impl Bank {
        fn balance(&self, owner: &str) -> Option<MappedLockGuard<'_, u64>> {
            LockGuard::try_map(self.balances.lock(), |balances| balances.get_mut(owner)).ok()
        }
    }

    let bank = Bank { balances: LocalLock::new(BTreeMap::from([("ann", 10), ("bob", 20)])) };
    *bank.balance("ann").expect("she has an account") += 5;
    assert_eq!(bank.balance("ann").as_deref(), Some(&15));
    assert!(bank.balance("eve").is_none());

    // An owned guard keeps the lock alive itself, so a part of it can go to another thread.
    let text = Arc::new(ReadWriteLock::new(String::from("many words")));
    let word: OwnedMappedReadGuard<String, str> =
        OwnedReadGuard::map(text.read_owned(), |text| &text[5..]);
    drop(text);
    let length = thread::spawn(move || word.len()).join().expect("it does not panic");
    println!("The last word has {length} letters.");
}
