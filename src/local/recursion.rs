//! Tells of reads that may wait for themselves, in builds with debug assertions.
//!
//! A thread that reads and reads again may stand behind a writer that waits for the first read. It
//! goes well as long as the writer may be overtaken, so it shows rarely, and then as a deadlock. So
//! it is told whenever a writer waits while it happens, whether or not it goes well this time.
//!
//! Only reads that a thread makes itself are followed: a task may go on on another thread.

#[cfg(not(all(debug_assertions, not(loom))))]
pub(crate) use absent::{Place, tell_of_second_read};
#[cfg(all(debug_assertions, not(loom)))]
pub(crate) use present::{Place, tell_of_second_read};

#[cfg(not(all(debug_assertions, not(loom))))]
mod absent {
    use crate::local::gate::Gate;

    /// Where a read began: not recorded in this build.
    pub(crate) struct Place;

    impl Place {
        #[inline(always)]
        pub(crate) const fn unknown() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn of_read(_gate: &Gate) -> Self {
            Self
        }
    }

    #[inline(always)]
    pub(crate) fn tell_of_second_read(_gate: &Gate, _name: Option<&str>) {}
}

#[cfg(all(debug_assertions, not(loom)))]
mod present {
    use std::panic::Location;
    use std::ptr;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::thread::{self, ThreadId};

    use crate::local::gate::Gate;

    /// The reads that are under way. std's lock, since ours would follow itself.
    static READS: Mutex<Vec<Read>> = Mutex::new(Vec::new());

    struct Read {
        id: u64,
        /// Compared, never followed.
        gate: usize,
        thread: ThreadId,
        place: &'static Location<'static>,
    }

    fn reads() -> MutexGuard<'static, Vec<Read>> {
        READS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(gate: &Gate) -> usize {
        ptr::from_ref(gate).addr()
    }

    /// Where a read began, known for as long as it lasts.
    pub(crate) struct Place(Option<u64>);

    impl Place {
        pub(crate) const fn unknown() -> Self {
            Self(None)
        }

        #[track_caller]
        pub(crate) fn of_read(gate: &Gate) -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let id = NEXT.fetch_add(1, Ordering::Relaxed);
            let (gate, thread) = (address(gate), thread::current().id());
            reads().push(Read { id, gate, thread, place: Location::caller() });
            Self(Some(id))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            if let Some(id) = self.0 {
                reads().retain(|read| read.id != id);
            }
        }
    }

    /// Tells if this thread reads already while somebody waits for the lock.
    #[track_caller]
    pub(crate) fn tell_of_second_read(gate: &Gate, name: Option<&str>) {
        if !gate.is_queued() {
            return;
        }
        let (address, thread) = (address(gate), thread::current().id());
        let first = reads()
            .iter()
            .find(|read| read.gate == address && read.thread == thread)
            .map(|read| read.place);
        if let Some(first) = first {
            let second = Location::caller();
            let name = name.map_or_else(String::new, |name| format!(" {name:?}"));
            eprintln!(
                "warded: the read-write lock{name} is read at {second} by a thread that has read \
                 it since {first}, while a writer waits for it: the second read may wait for that \
                 writer, and the writer for the first read. Use read_recursive for the second one."
            );
        }
    }
}
