//! The names in use: a hash table in shards, each under a latch of its own.
//!
//! ```text
//!  hash ─┬─ high bits ──▶ shard ── latch ──▶ buckets
//!        └─ low bits ───────────────────────▶ bucket ──▶ entry "a" ──▶ entry "k" ──▶ ∅
//!                                                           ▲ ▲
//!                                             handles ──────┘ └────── guards
//! ```
//!
//! A handle is a pointer to an entry and one count of it. What makes that sound:
//!
//! - **M1** An entry's links (its count, its place in a chain) are accessed under its shard's latch.
//! - **M2** The name of an entry changes only while it is in no chain and nobody counts it.
//! - **M3** An entry in a chain is alive; it leaves the chain when its count falls to nothing and its
//!   gate is as new, in the same hold of the latch. So whoever looks for the name either counts this
//!   entry before that, or makes another one after it, and never are two in use at once.
//! - **M4** A table lives as long as its manager, and as long as any of its shards has an entry: when
//!   the manager goes, each such shard is given a reference to the table, and whoever takes its last
//!   entry away drops that, after the latch is freed.
//! - **M5** Freeing the latch is the last access to the shard of whoever gave up a count.
//!
//! A gate that is not as new when the last count goes is held: through `acquire`, or by a guard that
//! was forgotten on purpose. Such an entry stays, with a count of nothing.

use std::hash::BuildHasher;
use std::mem;
use std::ptr::NonNull;

use super::deadlock::Graph;
use super::entry::{Entry, Key};
use super::latch::Latch;
use crate::sys::{Arc, NameHasher};

/// All names of one manager.
pub(super) struct Table {
    hasher: NameHasher,
    shards: Box<[Shard]>,
}

/// A part of the names. It has cache lines of its own: neighbours would share the latch's.
#[repr(align(128))]
pub(super) struct Shard {
    names: Latch<Names>,
    /// How often newcomers may overtake the head of a queue.
    budget: u16,
    /// Who waits for whom, if the manager looks for deadlocks.
    pub(super) graph: Option<Arc<Graph>>,
}

/// What an entry has under its shard's latch.
pub(super) struct Links {
    /// How many handles there are, each guard's and each waiter's among them.
    count: usize,
    /// The next in the chain: of its bucket, or of the spare ones.
    next: Option<NonNull<Entry>>,
}

impl Links {
    pub(super) const fn new() -> Self {
        Self { count: 0, next: None }
    }
}

/// A shard's table.
struct Names {
    /// Chains of entries; as many as a power of two, or none.
    buckets: Vec<Option<NonNull<Entry>>>,
    len: usize,
    /// A few entries that were in use, so that a name that comes and goes allocates nothing.
    spare: Option<NonNull<Entry>>,
    spares: usize,
    /// Keeps the table alive when the manager is gone (M4).
    table: Option<Arc<Table>>,
}

// SAFETY: entries are reached under the latch (M1), or by those who count them, on any thread.
unsafe impl Send for Names {}
// SAFETY: the pointer to the shard is all that is not Sync by itself, and shards are.
unsafe impl Sync for Entry {}
// SAFETY: as above.
unsafe impl Send for Entry {}

/// So many entries a shard keeps for names to come.
const SPARES: usize = 4;
/// A spare entry keeps the memory of a name up to this length.
const SPARE_NAME: usize = 128;
/// So many buckets a shard has at least, when it has any.
const FEWEST_BUCKETS: usize = 8;

impl Table {
    /// `shards` is a power of two.
    pub(super) fn new(shards: usize, budget: u16, graph: Option<Graph>) -> Self {
        let graph = graph.map(Arc::new);
        let shard = || Shard { names: Latch::new(Names::new()), budget, graph: graph.clone() };
        Self { hasher: NameHasher::default(), shards: (0..shards).map(|_| shard()).collect() }
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Shard {
        // The low bits choose the bucket.
        &self.shards[(hash >> 48) as usize & (self.shards.len() - 1)]
    }

    /// Counts the entry of this name, which may be a new one.
    #[inline]
    pub(super) fn get(&self, name: &str) -> NonNull<Entry> {
        let hash = self.hasher.hash_one(name);
        let shard = self.shard(hash);
        shard.names.with(|names| {
            let entry = match names.find(hash, name) {
                Some(entry) => entry,
                None => names.insert(hash, name, shard),
            };
            Names::count(entry);
            entry
        })
    }

    /// Counts the entry of this name, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<NonNull<Entry>> {
        let hash = self.hasher.hash_one(name);
        self.shard(hash).names.with(|names| {
            let entry = names.find(hash, name);
            entry.into_iter().for_each(Names::count);
            entry
        })
    }

    /// How many names are in use.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.names.with(|names| names.len)).sum()
    }

    /// Shows every entry to `look`, one shard at a time.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Entry)) {
        for shard in &self.shards {
            shard.names.with(|names| {
                for entry in names.entries() {
                    // SAFETY: it is in a chain, and we have the latch (M3).
                    look(unsafe { entry.as_ref() });
                }
            });
        }
    }

    /// Frees the spare entries, and says how many those were.
    pub(super) fn free_spares(&self) -> usize {
        let free = |shard: &Shard| {
            let spares = shard.names.with(Names::take_spares);
            spares.map(drop).count()
        };
        self.shards.iter().map(free).sum()
    }

    /// The manager goes: nobody finds an entry any more. Those that somebody counts stay, and the
    /// table with them (M4).
    pub(super) fn abandon(table: &Arc<Self>) {
        for shard in &table.shards {
            let unreachable = shard.names.with(|names| {
                let unreachable = names.take_uncounted();
                names.table = (names.len > 0).then(|| Arc::clone(table));
                unreachable
            });
            drop(unreachable);
        }
        table.free_spares();
    }
}

/// Counts an entry once more.
///
/// # Safety
/// The caller counts it already.
pub(super) unsafe fn count_again(entry: NonNull<Entry>) {
    // SAFETY: it is counted, so it is alive (M3), and its shard is (M4).
    let names = unsafe { &(*entry.as_ref().shard).names };
    names.with(|_| Names::count(entry));
}

/// Gives up one count.
///
/// # Safety
/// The caller counts the entry, and does not touch it any more.
#[inline]
pub(super) unsafe fn give_up(entry: NonNull<Entry>) {
    // SAFETY: it is counted, so it is alive (M3), and its shard is (M4). The reference covers the
    // latch alone, all of which may be freed by others as soon as it is free (M5).
    let names = unsafe { &(*entry.as_ref().shard).names };
    // SAFETY: the contract, and we have the latch.
    let leftovers = names.with(|names| unsafe { names.give_up(entry) });
    drop(leftovers);
}

/// What is to be freed when the latch is.
#[derive(Default)]
struct Leftovers {
    _entry: Option<Box<Entry>>,
    _table: Option<Arc<Table>>,
}

/// A chain of entries that nobody knows any more. Dropping it frees them.
struct Chain(Option<NonNull<Entry>>);

impl Iterator for Chain {
    type Item = Box<Entry>;

    fn next(&mut self) -> Option<Box<Entry>> {
        let first = self.0?;
        // SAFETY: nobody but this chain knows its entries, which were made by `Box`.
        let entry = unsafe { Box::from_raw(first.as_ptr()) };
        // SAFETY: as above.
        self.0 = entry.links.with(|links| unsafe { (*links).next });
        Some(entry)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// The links of an entry.
///
/// # Safety
/// The caller has the latch of the entry's shard, the entry is alive, and the links are not in use.
#[inline]
unsafe fn links<R>(entry: NonNull<Entry>, look: impl FnOnce(&mut Links) -> R) -> R {
    // SAFETY: the contract (M1).
    unsafe { entry.as_ref().links.with_mut(|links| look(&mut *links)) }
}

impl Names {
    const fn new() -> Self {
        Self { buckets: Vec::new(), len: 0, spare: None, spares: 0, table: None }
    }

    fn count(entry: NonNull<Entry>) {
        // SAFETY: callers have the latch, and found the entry in a chain or count it (M3).
        unsafe { links(entry, |links| links.count += 1) }
    }

    #[inline]
    fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// The chain that begins with `first`.
    fn chain(first: Option<NonNull<Entry>>) -> impl Iterator<Item = NonNull<Entry>> {
        // SAFETY: callers have the latch, and entries in a chain are alive (M3).
        std::iter::successors(first, |entry| unsafe { links(*entry, |links| links.next) })
    }

    fn entries(&self) -> impl Iterator<Item = NonNull<Entry>> {
        self.buckets.iter().flat_map(|first| Self::chain(*first))
    }

    #[inline]
    fn find(&self, hash: u64, name: &str) -> Option<NonNull<Entry>> {
        if self.len == 0 {
            return None;
        }
        Self::chain(self.buckets[self.bucket(hash)]).find(|entry| {
            // SAFETY: it is in a chain, and we have the latch (M2, M3).
            let key = unsafe { entry.as_ref().key() };
            key.hash == hash && key.name == name
        })
    }

    /// Makes an entry, which nobody counts yet.
    fn insert(&mut self, hash: u64, name: &str, shard: &Shard) -> NonNull<Entry> {
        if self.len == self.buckets.len() {
            self.rehash((2 * self.len).max(FEWEST_BUCKETS));
        }
        let entry = match self.spare {
            Some(spare) => {
                // SAFETY: we have the latch, and spare entries are alive.
                self.spare = unsafe { links(spare, |links| links.next) };
                self.spares -= 1;
                spare
            }
            None => NonNull::from(Box::leak(Box::new(Entry::new(shard.budget, shard)))),
        };
        // SAFETY: nobody else knows the entry: it is new, or was spare (M2).
        unsafe {
            entry.as_ref().change_key(|key| {
                key.hash = hash;
                key.name.push_str(name);
            });
        }
        self.link(entry, hash);
        self.len += 1;
        entry
    }

    fn link(&mut self, entry: NonNull<Entry>, hash: u64) {
        let bucket = self.bucket(hash);
        let next = self.buckets[bucket].replace(entry);
        // SAFETY: we have the latch, and the entry is alive.
        unsafe { links(entry, |links| links.next = next) };
    }

    /// # Safety
    /// The entry is in a chain.
    unsafe fn unlink(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the contract, and we have the latch.
        let (hash, next) = unsafe { (entry.as_ref().key().hash, links(entry, |links| links.next)) };
        let bucket = self.bucket(hash);
        let before = Self::chain(self.buckets[bucket]).take_while(|other| *other != entry).last();
        match before {
            // SAFETY: it is in the same chain, and we have the latch.
            Some(before) => unsafe { links(before, |links| links.next = next) },
            None => self.buckets[bucket] = next,
        }
        self.len -= 1;
    }

    /// Spreads the entries over so many buckets, a power of two.
    #[cold]
    fn rehash(&mut self, buckets: usize) {
        let old = mem::replace(&mut self.buckets, vec![None; buckets]);
        for first in old {
            let mut rest = first;
            while let Some(entry) = rest {
                // SAFETY: it is in a chain, and we have the latch (M2, M3).
                rest = unsafe { links(entry, |links| links.next) };
                // SAFETY: as above.
                let hash = unsafe { entry.as_ref().key().hash };
                self.link(entry, hash);
            }
        }
    }

    /// # Safety
    /// The caller counts the entry, and does not touch it any more.
    #[inline]
    unsafe fn give_up(&mut self, entry: NonNull<Entry>) -> Leftovers {
        // SAFETY: the contract, and we have the latch.
        let count = unsafe {
            links(entry, |links| {
                links.count -= 1;
                links.count
            })
        };
        // SAFETY: as above.
        let held = unsafe { !entry.as_ref().gate.is_pristine() };
        // When the manager is gone nobody can find the entry, held or not.
        if count > 0 || (held && self.table.is_none()) {
            return Leftovers::default();
        }
        // SAFETY: it is in a chain while somebody counts it (M3).
        unsafe { self.unlink(entry) };
        if self.buckets.len() > FEWEST_BUCKETS && self.len < self.buckets.len() / 8 {
            self.rehash(self.buckets.len() / 4);
        }
        if self.table.is_none() && self.spares < SPARES {
            // SAFETY: it is in no chain any more, nobody counts it, and we have the latch (M2).
            unsafe { self.keep_spare(entry) };
            return Leftovers::default();
        }
        Leftovers {
            // SAFETY: it is in no chain any more, nobody counts it, and it was made by `Box`.
            _entry: Some(unsafe { Box::from_raw(entry.as_ptr()) }),
            _table: if self.len == 0 { self.table.take() } else { None },
        }
    }

    /// # Safety
    /// Nobody else knows the entry.
    unsafe fn keep_spare(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the contract, and we have the latch.
        unsafe {
            entry.as_ref().change_key(|Key { name, .. }| {
                name.clear();
                name.shrink_to(SPARE_NAME);
            });
            links(entry, |links| links.next = self.spare.replace(entry));
        }
        self.spares += 1;
    }

    fn take_spares(&mut self) -> Chain {
        self.spares = 0;
        Chain(self.spare.take())
    }

    /// The entries that nobody counts: held, and never to be released.
    fn take_uncounted(&mut self) -> Chain {
        let mut uncounted = Chain(None);
        let entries: Vec<_> = self.entries().collect();
        for entry in entries {
            // SAFETY: it is in a chain, and we have the latch (M3).
            if unsafe { links(entry, |links| links.count) } == 0 {
                // SAFETY: as above; after it, nobody but the new chain knows it.
                unsafe {
                    self.unlink(entry);
                    links(entry, |links| links.next = uncounted.0.replace(entry));
                }
            }
        }
        uncounted
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Names that nobody can choose in practice: all of one hash, so one chain holds them all.
    #[test]
    fn names_of_one_hash_are_told_apart() {
        const HASH: u64 = 7;
        let table = Arc::new(Table::new(1, 2, None));
        let shard = &table.shards[0];
        let find = |name: &str| shard.names.with(|names| names.find(HASH, name));
        let get = |name: &str| {
            shard.names.with(|names| {
                let found = names.find(HASH, name);
                let entry = found.unwrap_or_else(|| names.insert(HASH, name, shard));
                Names::count(entry);
                entry
            })
        };
        let names: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let entries: Vec<_> = names.iter().map(|name| get(name)).collect();
        assert_eq!(table.len(), 100);
        for (name, entry) in names.iter().zip(&entries) {
            assert_eq!(find(name), Some(*entry));
        }
        // From the middle of the chain, and in both directions.
        for place in (0..100).step_by(2).chain((1..100).rev().step_by(2)) {
            // SAFETY: it was counted once above, and is not touched any more.
            unsafe { give_up(entries[place]) };
            assert_eq!(find(&names[place]), None);
        }
        assert_eq!(table.len(), 0);
        assert_eq!(table.free_spares(), SPARES);
    }
}
