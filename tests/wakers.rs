//! A waker is user code. Whatever it does, and on whichever thread its future is polled, nobody else
//! loses a wake-up, and no permit is lost.
#![cfg(not(loom))]

mod hand;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::Duration;

use futures::future::BoxFuture;
use warded::{LocalLock, LocalSemaphore, ReadWriteLock};

use crate::hand::Task;

/// So long a test waits for what must happen before it says that it did not. No test passes by
/// waiting for it.
const HANG: Duration = Duration::from_secs(60);

/// Whoever is in a room, until it is dropped.
trait Inside: Send {}
impl<T: Send> Inside for T {}
type Guard<'a> = Box<dyn Inside + 'a>;

/// A primitive, in the terms that all of them share.
trait Room: Send + Sync {
    /// Enters so that nobody else can.
    fn occupy(&self) -> Guard<'_>;
    fn enter(&self) -> BoxFuture<'_, Guard<'_>>;
    fn enter_now(&self) -> Option<Guard<'_>>;
    fn enter_blocking(&self) -> Guard<'_>;
    /// Nobody is in, and no permit is missing.
    fn is_empty(&self) -> bool;
}

impl Room for LocalLock<u8> {
    fn occupy(&self) -> Guard<'_> {
        Box::new(self.lock())
    }
    fn enter(&self) -> BoxFuture<'_, Guard<'_>> {
        Box::pin(async { Box::new(self.lock_async().await) as Guard<'_> })
    }
    fn enter_now(&self) -> Option<Guard<'_>> {
        self.try_lock().map(|guard| Box::new(guard) as Guard<'_>)
    }
    fn enter_blocking(&self) -> Guard<'_> {
        Box::new(self.lock())
    }
    fn is_empty(&self) -> bool {
        !self.is_locked()
    }
}

/// Three permits, of which everybody wants so many.
struct Permits<const NEED: u32>(LocalSemaphore);

impl<const NEED: u32> Room for Permits<NEED> {
    fn occupy(&self) -> Guard<'_> {
        Box::new(self.0.permits(3).unwrap())
    }
    fn enter(&self) -> BoxFuture<'_, Guard<'_>> {
        Box::pin(async { Box::new(self.0.permits_async(NEED).await.unwrap()) as Guard<'_> })
    }
    fn enter_now(&self) -> Option<Guard<'_>> {
        self.0.try_permits(NEED).ok().map(|permits| Box::new(permits) as Guard<'_>)
    }
    fn enter_blocking(&self) -> Guard<'_> {
        Box::new(self.0.permits(NEED).unwrap())
    }
    fn is_empty(&self) -> bool {
        self.0.available_permits() == 3 && self.0.total_permits() == 3
    }
}

struct Readers(ReadWriteLock<u8>);

impl Room for Readers {
    fn occupy(&self) -> Guard<'_> {
        Box::new(self.0.write())
    }
    fn enter(&self) -> BoxFuture<'_, Guard<'_>> {
        Box::pin(async { Box::new(self.0.read_async().await) as Guard<'_> })
    }
    fn enter_now(&self) -> Option<Guard<'_>> {
        self.0.try_read().map(|guard| Box::new(guard) as Guard<'_>)
    }
    fn enter_blocking(&self) -> Guard<'_> {
        Box::new(self.0.read())
    }
    fn is_empty(&self) -> bool {
        !self.0.is_locked()
    }
}

struct Writers(ReadWriteLock<u8>);

impl Room for Writers {
    fn occupy(&self) -> Guard<'_> {
        Box::new(self.0.write())
    }
    fn enter(&self) -> BoxFuture<'_, Guard<'_>> {
        Box::pin(async { Box::new(self.0.write_async().await) as Guard<'_> })
    }
    fn enter_now(&self) -> Option<Guard<'_>> {
        self.0.try_write().map(|guard| Box::new(guard) as Guard<'_>)
    }
    fn enter_blocking(&self) -> Guard<'_> {
        Box::new(self.0.write())
    }
    fn is_empty(&self) -> bool {
        !self.0.is_locked()
    }
}

/// Every kind of room, with every kind of budget.
fn rooms() -> Vec<(String, Arc<dyn Room>)> {
    let mut rooms: Vec<(String, Arc<dyn Room>)> = Vec::new();
    for budget in [0, 1, LocalLock::DEFAULT_BYPASS] {
        let permits = || LocalSemaphore::new(3).with_bypass(budget);
        let read_write = || ReadWriteLock::new(0).with_bypass(budget);
        let mut add = |name: &str, room| rooms.push((format!("{name}, budget {budget}"), room));
        add("lock", Arc::new(LocalLock::new(0).with_bypass(budget)));
        add("one permit", Arc::new(Permits::<1>(permits())));
        add("two permits", Arc::new(Permits::<2>(permits())));
        add("all permits", Arc::new(Permits::<3>(permits())));
        add("readers", Arc::new(Readers(read_write())));
        add("writers", Arc::new(Writers(read_write())));
    }
    rooms
}

type Deed = Box<dyn FnOnce() + Send>;

/// A waker that does something else besides, once, each time it is told to.
#[derive(Default)]
struct Hooks {
    on_clone: Mutex<Option<Deed>>,
    on_wake: Mutex<Option<Deed>>,
    on_drop: Mutex<Option<Deed>>,
    wakes: AtomicUsize,
    /// Wakers made and not yet gone.
    alive: AtomicUsize,
}

fn run(hook: &Mutex<Option<Deed>>) {
    let deed = hook.lock().unwrap().take();
    if let Some(deed) = deed {
        deed();
    }
}

impl Hooks {
    const VTABLE: RawWakerVTable =
        RawWakerVTable::new(Self::clone, Self::wake, Self::wake_by_ref, Self::drop);

    fn waker(self: &Arc<Self>) -> Waker {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let data = Arc::into_raw(Arc::clone(self)).cast();
        // SAFETY: the functions of the table treat the data as the `Arc` that it was made of.
        unsafe { Waker::from_raw(RawWaker::new(data, &Self::VTABLE)) }
    }

    fn set(hook: &Mutex<Option<Deed>>, deed: impl FnOnce() + Send + 'static) {
        *hook.lock().unwrap() = Some(Box::new(deed));
    }

    /// # Safety
    /// `data` is of [`waker`](Self::waker), and alive.
    unsafe fn borrow<'a>(data: *const ()) -> &'a Self {
        // SAFETY: the contract.
        unsafe { &*data.cast() }
    }

    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: a waker's functions are called with its data, alive.
        let this = unsafe { Self::borrow(data) };
        run(&this.on_clone);
        this.alive.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { Arc::increment_strong_count(data.cast::<Self>()) };
        RawWaker::new(data, &Self::VTABLE)
    }

    unsafe fn wake(data: *const ()) {
        // SAFETY: `wake` owns the data; a panic on the way drops them all the same.
        let this = unsafe { Arc::from_raw(data.cast::<Self>()) };
        this.alive.fetch_sub(1, Ordering::SeqCst);
        this.wakes.fetch_add(1, Ordering::SeqCst);
        run(&this.on_wake);
    }

    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: a waker's functions are called with its data, alive.
        let this = unsafe { Self::borrow(data) };
        this.wakes.fetch_add(1, Ordering::SeqCst);
        run(&this.on_wake);
    }

    unsafe fn drop(data: *const ()) {
        // SAFETY: `drop` owns the data; a panic on the way drops them all the same.
        let this = unsafe { Arc::from_raw(data.cast::<Self>()) };
        this.alive.fetch_sub(1, Ordering::SeqCst);
        run(&this.on_drop);
    }
}

/// Who waits beside the one with the odd waker: a task that is polled by hand, and a thread.
struct Beside {
    thread: mpsc::Receiver<()>,
}

impl Beside {
    fn begin(room: &Arc<dyn Room>) -> Self {
        let (tell, thread) = mpsc::channel();
        let (queue, room) = (mpsc::channel(), Arc::clone(room));
        thread::spawn(move || {
            queue.0.send(()).unwrap();
            drop(room.enter_blocking());
            drop(room);
            tell.send(()).unwrap();
        });
        queue.1.recv().unwrap();
        Self { thread }
    }

    /// Everybody gets in, woken by nothing but the others' leaving, and leaves the room as it was.
    fn finish(self, room: &Arc<dyn Room>, mut task: Task<'_, Guard<'_>>, what: &str) {
        let mut woken = 0;
        let begun = std::time::Instant::now();
        // The task may be behind the thread, or before it; it is polled when woken, and once more
        // for the wake-up that came before.
        let mut entered = task.poll();
        while entered.is_none() {
            if task.wakes() == woken {
                thread::yield_now();
                assert!(begun.elapsed() < HANG, "{what}: the task beside was never woken");
                continue;
            }
            woken = task.wakes();
            entered = task.poll();
        }
        drop(entered);
        self.thread.recv_timeout(HANG).unwrap_or_else(|_| panic!("{what}: the thread hangs"));
        assert!(room.is_empty(), "{what}: a permit is lost");
        drop(room.occupy());
    }
}

/// When the odd waker does its deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Cloned by a newcomer that is about to queue.
    FirstClone,
    /// Cloned by a waiter that looks again and has not been called.
    CloneAsleep,
    /// Dropped for another waker.
    Replaced,
    /// Woken.
    Wake,
    /// Cloned by a waiter that was called.
    CloneCalled,
    /// Dropped by a waiter that enters.
    DropEntering,
    /// Dropped by a waiter that gives up while asleep.
    DropCancelled,
}

const MOMENTS: [Moment; 7] = [
    Moment::FirstClone,
    Moment::CloneAsleep,
    Moment::Replaced,
    Moment::Wake,
    Moment::CloneCalled,
    Moment::DropEntering,
    Moment::DropCancelled,
];

/// Takes the odd waker through its life, with a deed at one moment of it.
///
/// The deed gets the guard of whoever occupies the room, so that it may release it. Tells whether
/// there was such a moment: a lock that is called, say, enters without a new waker.
fn scenario(
    room: &Arc<dyn Room>,
    moment: Moment,
    deed: impl FnOnce(Arc<dyn Room>, Option<Guard<'static>>) + Send + 'static,
    what: &str,
) -> bool {
    let what = &format!("{what}, {moment:?}");
    // SAFETY: the guard is gone when this function ends, which borrows the room for longer.
    let occupant: Guard<'static> = unsafe { std::mem::transmute(room.occupy()) };
    let occupant = Arc::new(Mutex::new(Some(occupant)));
    let hooks = Arc::new(Hooks::default());
    let waker = hooks.waker();
    let done = Arc::new(AtomicBool::new(false));
    let mut deed = Some(Box::new({
        let (room, occupant, done) = (Arc::clone(room), Arc::clone(&occupant), Arc::clone(&done));
        move || {
            done.store(true, Ordering::SeqCst);
            let occupant = occupant.lock().unwrap().take();
            deed(room, occupant)
        }
    }) as Deed);
    let mut arm = |at: Moment, hook: &Mutex<Option<Deed>>| {
        if moment == at {
            Hooks::set(hook, deed.take().expect("each moment comes once"));
        }
    };
    // Panics are the point; what comes out of a poll is a guard or nothing.
    let poll = |task: &mut Option<Task<'_, _>>| {
        let result = catch_unwind(AssertUnwindSafe(|| task.as_mut()?.poll_with(&waker)));
        if result.is_err() {
            // As any executor: a task that panicked is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| *task = None));
        }
        result.unwrap_or(None)
    };
    let mut odd = Some(Task::new(room.enter()));
    arm(Moment::FirstClone, &hooks.on_clone);
    let early = poll(&mut odd);
    drop(early);
    let mut task = Task::new(room.enter());
    if task.poll().is_some() {
        // The deed has released the room, so the task beside begins again.
        task = Task::new(room.enter());
    }
    let beside = Beside::begin(room);
    if matches!(moment, Moment::CloneAsleep | Moment::Replaced) {
        arm(Moment::CloneAsleep, &hooks.on_clone);
        arm(Moment::Replaced, &hooks.on_drop);
        drop(poll(&mut odd));
    }
    if moment == Moment::DropCancelled {
        arm(Moment::DropCancelled, &hooks.on_drop);
        let _ = catch_unwind(AssertUnwindSafe(|| odd = None));
    }
    arm(Moment::Wake, &hooks.on_wake);
    let occupant = occupant.lock().unwrap().take();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(occupant)));
    arm(Moment::CloneCalled, &hooks.on_clone);
    arm(Moment::DropEntering, &hooks.on_drop);
    drop(poll(&mut odd));
    drop(odd);
    beside.finish(room, task, what);
    // Hooks that no moment came for must not outlive the scenario in the waker's own drop.
    for hook in [&hooks.on_clone, &hooks.on_wake, &hooks.on_drop] {
        hook.lock().unwrap().take();
    }
    drop(waker);
    assert_eq!(hooks.alive.load(Ordering::SeqCst), 0, "{what}: a waker is leaked");
    done.load(Ordering::SeqCst)
}

/// Every room, at every moment, of which each must have come in some room.
fn every_scenario(what: &str, run: impl Fn(&Arc<dyn Room>, Moment, &str) -> bool) {
    for moment in MOMENTS {
        let mut done = 0;
        for (name, room) in rooms() {
            done += usize::from(run(&room, moment, &format!("{what}, {name}")));
        }
        assert_ne!(done, 0, "{what}: {moment:?} never came");
    }
}

#[test]
fn a_panic() {
    every_scenario("release and panic", |room, moment, what| {
        let deed = |_, occupant| {
            drop(occupant);
            panic!("the waker's panic");
        };
        scenario(room, moment, deed, what)
    });
}

#[test]
fn a_panic_with_the_room_still_occupied() {
    every_scenario("panic", |room, moment, what| {
        // The guard is put aside, and goes on another thread when the panic has begun.
        let (put, aside) = mpsc::channel();
        let deed = move |_: Arc<dyn Room>, occupant: Option<Guard<'static>>| {
            put.send(occupant.map(Late)).unwrap();
            panic!("the waker's panic");
        };
        let late = thread::spawn(move || drop(aside.recv()));
        let done = scenario(room, moment, deed, what);
        late.join().unwrap();
        done
    });
}

/// A guard on its way to another thread.
struct Late(#[allow(dead_code, reason = "its drop is the point")] Guard<'static>);

/// What a waker may do with the lock from inside: enter, queue, give up, look.
fn use_it(room: &dyn Room) {
    drop(room.enter_now());
    let mut task = Task::new(room.enter());
    drop(task.poll());
    drop(task);
    let _ = room.is_empty();
}

#[test]
fn coming_back_into_the_lock() {
    every_scenario("re-enter", |room, moment, what| {
        let deed = |room: Arc<dyn Room>, occupant| {
            use_it(&*room);
            drop(occupant);
            use_it(&*room);
        };
        scenario(room, moment, deed, what)
    });
}

#[test]
fn coming_back_and_then_a_panic() {
    every_scenario("re-enter and panic", |room, moment, what| {
        let deed = |room: Arc<dyn Room>, occupant| {
            drop(occupant);
            use_it(&*room);
            panic!("the waker's panic");
        };
        scenario(room, moment, deed, what)
    });
}

/// The waker's clone releases, so its future enters at once and drops the clone, which panics: the
/// permits that it has just taken must go back.
#[test]
fn a_panic_while_permits_are_in_flight() {
    for (name, room) in rooms() {
        let occupant: Guard<'static> = {
            // SAFETY: the guard goes within the first poll, and the room is alive then.
            unsafe { std::mem::transmute(room.occupy()) }
        };
        let hooks = Arc::new(Hooks::default());
        let waker = hooks.waker();
        Hooks::set(&hooks.on_clone, move || drop(occupant));
        Hooks::set(&hooks.on_drop, || panic!("the waker's drop"));
        let mut task = Task::new(room.enter());
        let polled = catch_unwind(AssertUnwindSafe(|| task.poll_with(&waker).is_some()));
        assert!(polled.is_err(), "{name}: the drop of the clone panics");
        drop(task);
        assert!(room.is_empty(), "{name}: a permit is lost");
        drop(room.occupy());
    }
}

/// Of many waiters that are woken at once, each one's waker panics, and all are woken all the same.
#[test]
fn many_panics_at_once() {
    for many in [1, 2, 7, 8, 9, 16, 17, 40] {
        let lock = ReadWriteLock::new(0);
        let writer = lock.write();
        let hooks: Vec<_> = (0..many).map(|_| Arc::new(Hooks::default())).collect();
        let mut tasks: Vec<_> = hooks
            .iter()
            .map(|hooks| {
                let mut task = Task::new(lock.read_async());
                let waker = hooks.waker();
                assert!(task.poll_with(&waker).is_none());
                Hooks::set(&hooks.on_wake, || panic!("the waker's panic"));
                task
            })
            .collect();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(writer))).is_err(), "one panic comes out");
        for hooks in &hooks {
            assert_eq!(hooks.wakes.load(Ordering::SeqCst), 1);
        }
        let guards: Vec<_> = tasks.iter_mut().map(|task| task.poll().expect("called")).collect();
        assert_eq!(guards.len(), many);
        drop(guards);
        assert!(!lock.is_locked());
    }
}

/// A guard that is dropped by a panic releases, although the waker of the next one panics too.
#[test]
fn a_wakers_panic_during_another() {
    let lock = LocalLock::new(0);
    let hooks = Arc::new(Hooks::default());
    let waker = hooks.waker();
    let mut task = Task::new(lock.lock_async());
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _guard = lock.lock();
        assert!(task.poll_with(&waker).is_none());
        Hooks::set(&hooks.on_wake, || panic!("the waker's panic"));
        panic!("the holder's panic");
    }));
    assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "the holder's panic");
    assert_eq!(hooks.wakes.load(Ordering::SeqCst), 1);
    assert!(task.poll().is_some());
}

/// Polled here first and there next, as work-stealing executors do.
#[test]
fn first_poll_on_one_thread_and_second_on_another() {
    for (name, room) in rooms() {
        let occupant = room.occupy();
        let mut task = Task::waiting(room.enter());
        let beside = Beside::begin(&room);
        thread::scope(|scope| {
            let (polled, again) = (mpsc::channel(), mpsc::channel());
            let (room, name) = (&room, &name);
            scope.spawn(move || {
                assert!(task.poll().is_none());
                polled.0.send(()).unwrap();
                again.1.recv().unwrap();
                beside.finish(room, task, name);
            });
            polled.1.recv().unwrap();
            drop(occupant);
            again.0.send(()).unwrap();
        });
    }
}

/// The waker of the latest poll is the one that is called.
#[test]
fn a_new_waker_at_every_poll() {
    for (name, room) in rooms() {
        let occupant = room.occupy();
        let mut task = Task::new(room.enter());
        let wakers: Vec<_> = (0..5).map(|_| Arc::new(Hooks::default())).collect();
        for hooks in &wakers {
            assert!(task.poll_with(&hooks.waker()).is_none());
        }
        drop(occupant);
        let wakes: Vec<_> = wakers.iter().map(|hooks| hooks.wakes.load(Ordering::SeqCst)).collect();
        assert_eq!(wakes, [0, 0, 0, 0, 1], "{name}");
        drop(task.poll().expect("it was called"));
        for hooks in &wakers {
            assert_eq!(hooks.alive.load(Ordering::SeqCst), 0, "{name}: a waker is leaked");
        }
    }
}

/// A future that was never polled is in no queue.
#[test]
fn dropped_unpolled() {
    for (name, room) in rooms() {
        drop(room.enter());
        let occupant = room.occupy();
        let idle = room.enter();
        let mut task = Task::waiting(room.enter());
        drop(occupant);
        assert_eq!(task.wakes(), 1, "{name}");
        drop(task.poll().expect("it was called"));
        drop(idle);
        assert!(room.is_empty(), "{name}");
    }
}

/// Called, and dropped instead of polled: the turn goes on to the next.
#[test]
fn dropped_after_being_called() {
    for (name, room) in rooms() {
        let occupant = room.occupy();
        let first = Task::waiting(room.enter());
        let mut second = Task::waiting(room.enter());
        let mut third = Task::waiting(room.enter());
        drop(occupant);
        assert_eq!(first.wakes(), 1, "{name}");
        drop(first);
        assert_eq!(second.wakes(), 1, "{name}: the turn was not passed on");
        drop(second.poll().expect("it was called"));
        drop(third.poll().expect("it was called"));
        assert!(room.is_empty(), "{name}");
    }
}

#[test]
fn polled_after_ready() {
    for (name, room) in rooms() {
        for waited in [false, true] {
            let occupant = waited.then(|| room.occupy());
            let mut task = Task::new(room.enter());
            assert_eq!(task.poll().is_some(), !waited);
            if waited {
                drop(occupant);
                assert!(task.poll().is_some(), "{name}");
            }
            let again = catch_unwind(AssertUnwindSafe(|| task.poll().is_some()));
            assert!(again.is_err(), "{name}: a future that is over must not be ready again");
            assert!(room.is_empty(), "{name}: it took a second permit");
        }
    }
}

/// A forgotten guard keeps its permits for ever, and a forgotten future its place in the queue;
/// neither is unsound, and the lock may be moved, read out, and dropped.
#[test]
fn forgotten() {
    let mut lock = Box::new(LocalLock::new(7));
    let guard = lock.lock();
    let waiting = Task::waiting(lock.lock_async());
    let mut behind = Task::waiting(lock.lock_async());
    waiting.forget();
    drop(guard);
    // The forgotten one was called, and does not answer; newcomers pass it within the budget.
    assert!(lock.try_lock().is_some());
    assert!(behind.poll().is_none());
    drop(behind);
    std::mem::forget(lock.lock());
    assert!(lock.try_lock().is_none());
    *lock.get_mut() += 1;
    let moved = *lock;
    assert!(moved.is_locked());
    assert_eq!(moved.into_inner(), 8);
}

#[test]
fn forgotten_futures_of_every_kind() {
    for (_, room) in rooms() {
        let occupant = room.occupy();
        for _ in 0..20 {
            Task::waiting(room.enter()).forget();
        }
        let asleep = Task::waiting(room.enter());
        drop(occupant);
        drop(asleep);
    }
}
