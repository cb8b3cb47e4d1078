//! A pool of workers that counts the words of this project's own source files, a bounded number of
//! workers at a time.
//!
//! A semaphore that let too many in would be seen by the count of those inside; one that lost a
//! permit would end in too few.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use warded::LocalSemaphore;

use crate::measure::{Outcome, Run, Waits};

const WORKERS: usize = 8;
const AT_A_TIME: u32 = 3;

pub fn tour() -> Vec<Outcome> {
    vec![count_words::<LocalSemaphore>(), count_words::<CondvarSemaphore>()]
}

/// What bounds the workers.
trait Pool: Sync {
    const LOCK: &'static str;

    fn open(permits: u32) -> Self;
    fn with_permit(&self, work: impl FnOnce());
    fn free(&self) -> u32;
}

impl Pool for LocalSemaphore {
    const LOCK: &'static str = "warded LocalSemaphore";

    fn open(permits: u32) -> Self {
        // A file takes a thousand times as long as an entry, so keeping turns costs nothing here.
        Self::new(permits).with_bypass(4)
    }

    fn with_permit(&self, work: impl FnOnce()) {
        let _permit = self.permit().expect("nobody closes the pool");
        work();
    }

    fn free(&self) -> u32 {
        self.available_permits()
    }
}

/// What std offers instead: a number under a lock, and a condition.
struct CondvarSemaphore {
    free: Mutex<u32>,
    given_back: Condvar,
}

impl Pool for CondvarSemaphore {
    const LOCK: &'static str = "std Mutex + Condvar";

    fn open(permits: u32) -> Self {
        Self { free: Mutex::new(permits), given_back: Condvar::new() }
    }

    fn with_permit(&self, work: impl FnOnce()) {
        let free = self.free.lock().expect("no holder panics");
        let mut free =
            self.given_back.wait_while(free, |free| *free == 0).expect("no holder panics");
        *free -= 1;
        drop(free);
        work();
        *self.free.lock().expect("no holder panics") += 1;
        self.given_back.notify_one();
    }

    fn free(&self) -> u32 {
        *self.free.lock().expect("no holder panics")
    }
}

/// A source file and the number of its words, counted before the workers begin.
struct Source {
    path: PathBuf,
    words: usize,
}

fn words_in(path: &Path) -> io::Result<usize> {
    Ok(fs::read_to_string(path)?.split_whitespace().count())
}

/// The Rust files under this folder, without what is hidden or built.
fn sources(folder: &Path, found: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                sources(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(Source { words: words_in(&path)?, path });
        }
    }
    Ok(())
}

/// What the workers share.
struct Count {
    /// How many files were handed out. They go round: after the last comes the first again.
    handed_out: AtomicUsize,
    words: AtomicU64,
    wrong: AtomicU64,
    inside: AtomicU32,
    most_inside: AtomicU32,
}

fn count_words<P: Pool>() -> Outcome {
    let work = "word count";
    let mut files = Vec::new();
    // Two packages have this example: one stands in the root, one below it.
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = package.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    let found = sources(project.unwrap_or(package), &mut files);

    let run = Run::new();
    let pool = P::open(AT_A_TIME);
    let count = Count {
        handed_out: AtomicUsize::new(0),
        words: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        inside: AtomicU32::new(0),
        most_inside: AtomicU32::new(0),
    };
    let mut waits = Waits::default();
    let took = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..WORKERS).map(|_| scope.spawn(|| worker(&run, &pool, &files, &count))).collect();
        let took = run.watch(work, P::LOCK);
        for worker in workers {
            waits.merge(worker.join().expect("no worker panics"));
        }
        took
    });

    let checked = match found {
        Ok(()) => count.check(&files, pool.free()),
        Err(error) => Err(format!("the sources cannot be read: {error}")),
    };
    Outcome { work, lock: P::LOCK, waits, took, checked }
}

fn worker(run: &Run, pool: &impl Pool, files: &[Source], count: &Count) -> Waits {
    let mut waits = Waits::default();
    while run.goes_on() && !files.is_empty() {
        let arrival = run.arrive();
        pool.with_permit(|| {
            run.enter(&arrival, &mut waits);
            let inside = count.inside.fetch_add(1, Ordering::Relaxed) + 1;
            count.most_inside.fetch_max(inside, Ordering::Relaxed);
            count.next_of(files);
            count.inside.fetch_sub(1, Ordering::Relaxed);
        });
    }
    waits
}

impl Count {
    /// Counts the words of the next file.
    fn next_of(&self, files: &[Source]) {
        let file = &files[self.handed_out.fetch_add(1, Ordering::Relaxed) % files.len()];
        match words_in(&file.path) {
            Ok(words) if words == file.words => {
                self.words.fetch_add(words as u64, Ordering::Relaxed);
            }
            _ => {
                self.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Compares with the sequential count.
    fn check(self, files: &[Source], free: u32) -> Result<String, String> {
        let most_inside = self.most_inside.into_inner();
        let counted = self.handed_out.into_inner();
        let words = self.words.into_inner();
        if files.is_empty() {
            return Err("there are no source files".into());
        }
        let sum = |files: &[Source]| files.iter().map(|file| file.words as u64).sum::<u64>();
        let (rounds, rest) = (counted / files.len(), counted % files.len());
        let expected = rounds as u64 * sum(files) + sum(&files[..rest]);
        if words != expected || self.wrong.into_inner() > 0 {
            return Err(format!("{words} words in {counted} files instead of {expected}"));
        }
        if most_inside > AT_A_TIME || free != AT_A_TIME {
            return Err(format!(
                "{most_inside} workers at a time, and {free} permits in the end, instead of \
                 {AT_A_TIME}"
            ));
        }
        Ok(format!(
            "{words} words in {counted} files, as counted alone; {most_inside} of {WORKERS} workers \
             at a time"
        ))
    }
}
