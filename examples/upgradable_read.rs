//! Looking first, writing only if needed, with nobody writing in between.
//!
//! With a plain read and then a write, another writer may come between the two, so the look would
//! have to be repeated. An upgradable reader stands beside other readers, and becomes the writer
//! when they have left. Going back down, no writer comes in between either.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    use std::thread;

    use warded::{ReadWriteLock, UpgradableGuard, WriteGuard};

    static SETTINGS: ReadWriteLock<Option<String>> = ReadWriteLock::new(None);

    /// Loads the settings once, whoever asks first; tells whether it was this caller.
    fn load() -> bool {
        let looking = SETTINGS.upgradable();
        if looking.is_some() {
            return false;
        }
        let mut writing = UpgradableGuard::upgrade(looking);
        assert!(writing.is_none(), "nobody has written since the look");
        *writing = Some(String::from("colour = green"));
        let reading = WriteGuard::downgrade(writing);
        assert_eq!(reading.as_deref(), Some("colour = green"));
        true
    }

    let loaded = thread::scope(|scope| {
        let callers = [(); 4].map(|()| scope.spawn(load));
        callers.map(|caller| caller.join().expect("it does not panic"))
    });
    assert_eq!(loaded.iter().filter(|&&loaded| loaded).count(), 1);
    println!("Four asked, one loaded: {:?}", SETTINGS.read());
}
