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
//! - **M3** An entry in a chain is alive, and no two in a chain have the same name. When its count falls
//!   to nothing and its gate is as new, it becomes vacant in the same hold of the latch. Only a vacant
//!   entry leaves its chain, in one hold of the latch with what shows that it is vacant. So whoever
//!   looks for the name counts this entry, or makes another one after it, and never are two in use at
//!   once.
//! - **M4** A table lives as long as its manager, and as long as any of its shards has an entry: when
//!   the manager goes, each such shard is given a reference to the table, and whoever takes its last
//!   entry away drops that, after the latch is freed.
//! - **M5** Freeing the latch is the last access to the shard of whoever gave up a count.
//!
//! A gate that is not as new when the last count goes is held: through `acquire`, or by a guard that
//! was forgotten on purpose. Such an entry stays, with a count of nothing.
//!
//! A few vacant entries stay in their chains: for a name that comes and goes, which finds its entry
//! again, and for new names, which take them over. They are not in use, and nobody is told of them.

use std::hash::BuildHasher;
use std::ptr::NonNull;
use std::{iter, mem};

use super::deadlock::Graph;
use super::entry::Entry;
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
    /// The next in the chain of its bucket, or of those that nobody knows any more.
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
    /// How many entries are in use: all in the chains but the vacant ones.
    len: usize,
    /// Those in the chains that went out of use last, the latest first.
    vacant: [Option<NonNull<Entry>>; VACANT],
    /// Keeps the table alive when the manager is gone (M4).
    table: Option<Arc<Table>>,
}

// SAFETY: entries are reached under the latch (M1), or by those who count them, on any thread.
unsafe impl Send for Names {}
// SAFETY: the pointer to the shard is all that is not Sync by itself, and shards are.
unsafe impl Sync for Entry {}
// SAFETY: as above.
unsafe impl Send for Entry {}

/// So many entries of a shard stay when they are vacant.
const VACANT: usize = 4;
/// An entry with more memory for its name than this does not stay.
const VACANT_NAME: usize = 128;
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
    // Out of line: in one function with its callers it made `lock_all` a tenth slower.
    #[inline(never)]
    pub(super) fn get(&self, name: &str) -> NonNull<Entry> {
        let hash = self.hasher.hash_one(name);
        let shard = self.shard(hash);
        shard.names.with(|names| {
            let entry = names.find_or_insert(hash, name, shard);
            Names::count(entry);
            entry
        })
    }

    /// Counts the entry of this name, if it is in use.
    pub(super) fn find(&self, name: &str) -> Option<NonNull<Entry>> {
        let hash = self.hasher.hash_one(name);
        self.shard(hash).names.with(|names| {
            let entry = names.find(hash, name).filter(|entry| names.is_in_use(*entry));
            entry.into_iter().for_each(Names::count);
            entry
        })
    }

    /// How many names are in use.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.names.with(|names| names.len)).sum()
    }

    /// Shows every entry in use to `look`, one shard at a time.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Entry)) {
        for shard in &self.shards {
            shard.names.with(|names| {
                for entry in names.in_use() {
                    // SAFETY: it is in a chain, and we have the latch (M3).
                    look(unsafe { entry.as_ref() });
                }
            });
        }
    }

    /// Frees the vacant entries, and says how many those were.
    pub(super) fn free_vacant(&self) -> usize {
        let take = |shard: &Shard| shard.names.with(Names::take_vacant);
        let free = |shard| iter::from_fn(|| take(shard)).take(VACANT).map(drop).count();
        self.shards.iter().map(free).sum()
    }

    /// The manager goes: nobody finds an entry any more. Those that somebody counts stay, and the
    /// table with them (M4).
    pub(super) fn abandon(table: &Arc<Self>) {
        for shard in &table.shards {
            // In one hold of the latch: afterwards no entry becomes vacant any more.
            let unreachable = shard.names.with(|names| {
                let vacant: Vec<_> = iter::from_fn(|| names.take_vacant()).collect();
                let uncounted = names.take_uncounted();
                names.table = (names.len > 0).then(|| Arc::clone(table));
                (vacant, uncounted)
            });
            drop(unreachable);
        }
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
        Self { buckets: Vec::new(), len: 0, vacant: [None; VACANT], table: None }
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
        iter::successors(first, |entry| unsafe { links(*entry, |links| links.next) })
    }

    fn in_use(&self) -> impl Iterator<Item = NonNull<Entry>> {
        let entries = self.buckets.iter().flat_map(|first| Self::chain(*first));
        entries.filter(|entry| self.is_in_use(*entry))
    }

    /// Whether an entry in a chain is not vacant.
    fn is_in_use(&self, entry: NonNull<Entry>) -> bool {
        !self.vacant.contains(&Some(entry))
    }

    #[inline]
    fn find(&self, hash: u64, name: &str) -> Option<NonNull<Entry>> {
        if self.buckets.is_empty() {
            return None;
        }
        Self::chain(self.buckets[self.bucket(hash)]).find(|entry| {
            // SAFETY: it is in a chain, and we have the latch (M2, M3).
            let key = unsafe { entry.as_ref().key() };
            key.hash == hash && key.name == name
        })
    }

    /// The entry of this name, in use from here on, though perhaps nobody counts it yet.
    #[inline]
    fn find_or_insert(&mut self, hash: u64, name: &str, shard: &Shard) -> NonNull<Entry> {
        let Some(entry) = self.find(hash, name) else {
            return self.insert(hash, name, shard);
        };
        if let Some(place) = self.vacant.iter().position(|vacant| *vacant == Some(entry)) {
            self.vacant[place] = None;
            self.len += 1;
        }
        entry
    }

    /// Gives an entry this name, which none has.
    fn insert(&mut self, hash: u64, name: &str, shard: &Shard) -> NonNull<Entry> {
        let entry = self.take_vacant().unwrap_or_else(|| Box::new(Entry::new(shard.budget, shard)));
        let entry = NonNull::from(Box::leak(entry));
        // SAFETY: nobody else knows the entry: it is in no chain (M2).
        unsafe {
            entry.as_ref().change_key(|key| {
                key.hash = hash;
                key.name.clear();
                key.name.push_str(name);
            });
        }
        if self.len == self.buckets.len() {
            self.rehash((2 * self.len).max(FEWEST_BUCKETS));
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

    /// Takes an entry out of its chain. Afterwards nobody finds it.
    ///
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
        self.len -= 1;
        // SAFETY: the name stays while we have the latch (M2).
        let name = unsafe { &entry.as_ref().key().name };
        let stays = self.table.is_none() && name.capacity() <= VACANT_NAME;
        let goes = if stays { self.vacate(entry) } else { Some(entry) };
        let Some(goes) = goes else {
            return Leftovers::default();
        };
        // SAFETY: it is in a chain: it was vacant, or somebody counted it until now (M3).
        let goes = unsafe { self.take_out(goes) };
        if self.buckets.len() > FEWEST_BUCKETS && self.len < self.buckets.len() / 8 {
            self.rehash((self.buckets.len() / 4).max(FEWEST_BUCKETS));
        }
        Leftovers {
            _entry: Some(goes),
            _table: if self.len == 0 { self.table.take() } else { None },
        }
    }

    /// # Safety
    /// The entry is in a chain, and nobody counts it.
    unsafe fn take_out(&mut self, entry: NonNull<Entry>) -> Box<Entry> {
        // SAFETY: the contract. Nobody knows it any more then, and it was made by `Box`.
        unsafe {
            self.unlink(entry);
            Box::from_raw(entry.as_ptr())
        }
    }

    /// Keeps a vacant entry in its chain. Gives the one back that has to go for it.
    #[inline]
    fn vacate(&mut self, entry: NonNull<Entry>) -> Option<NonNull<Entry>> {
        let place = self.vacant.iter().position(Option::is_none).unwrap_or(VACANT - 1);
        self.vacant[..=place].rotate_right(1);
        self.vacant[0].replace(entry)
    }

    /// Takes the entry out that has been vacant for the longest time.
    fn take_vacant(&mut self) -> Option<Box<Entry>> {
        let vacant = self.vacant.iter_mut().rev().find_map(Option::take)?;
        // SAFETY: it is in a chain, and nobody counts it (M3).
        Some(unsafe { self.take_out(vacant) })
    }

    /// The entries that nobody counts: held, and never to be released.
    fn take_uncounted(&mut self) -> Chain {
        let mut uncounted = Chain(None);
        let entries: Vec<_> = self.in_use().collect();
        for entry in entries {
            // SAFETY: it is in a chain, and we have the latch (M3).
            if unsafe { links(entry, |links| links.count) } == 0 {
                // SAFETY: as above; after it, nobody but the new chain knows it.
                unsafe {
                    self.unlink(entry);
                    links(entry, |links| links.next = uncounted.0.replace(entry));
                }
                self.len -= 1;
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
        let find = |name: &str| {
            shard
                .names
                .with(|names| names.in_use().find(|entry| names.find(HASH, name) == Some(*entry)))
        };
        let get = |name: &str| {
            shard.names.with(|names| {
                let entry = names.find_or_insert(HASH, name, shard);
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
        assert_eq!(table.free_vacant(), VACANT);
    }
}
