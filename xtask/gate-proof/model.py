"""The gate as a transition system, for any number of agents. An agent is one acquisition at a time:
a thread, a future, a guard.

One step is one access that others can see: of the state word, of `due`, of a node's state. What is
done to the list under QLOCK, and seen by nobody else (links, handles, the maximum), is joined to a
neighbouring step. `judged` is the local copy of the free permits by which the holder of QLOCK
judges; a compare-and-swap is a step whose guard says that the word's permits are still that copy,
which allows more than the engine does.

Each step is a function (s, t, k) -> (guard, next state): agent t makes it in state s; k is a
number that the step is free to choose.
"""

import z3
from terms import And, Iff, If, Implies, Not, Or, among, put

# ---- Where an agent can be -----------------------------------------------------------------------
LOCATIONS = """
    IDLE     wants nothing, holds nothing
    HOLD     holds permits
    ARRIVE   Waiter::arrive, before it has entered or queued
    FRONT    an upgrade has QLOCK, and recalls everybody before it stands in front (push_front)
    FREE     free_list: calls whose turn has come
    CAS      free_list: `due` is stored; the compare-and-swap that frees the list comes next
    WAKE     free_list: the list is free; wakes its batch
    RELOCK   free_list: the batch was full, so it takes the list once more
    LOOK     a blocking waiter looks at its state
    PARK     it sleeps; or the future is pending
    CANCEL   Waiter::drop, before it has QLOCK
    ANSWER   Waiter::answer
    ALONE    enter_alone, after it has read CALLED
    RECALL   answer, with QLOCK
    CALL     Gate::call, before it loads the word
    CALL_DUE Gate::call, before it loads `due`
    CALL_CAS Gate::call, before it takes QLOCK
    FORGET   forget_free, with QLOCK, before its compare-and-swap
    LATE     only a planted bug comes here"""
LOCATIONS = [line.split()[0] for line in LOCATIONS.strip().splitlines()]
for number, location in enumerate(LOCATIONS):
    globals()[location] = number
ASLEEP, CALLED, RECALLED, DISMISSED = range(4)

# ---- State ---------------------------------------------------------------------------------------
INT, BOOL, AGENT = "int", "bool", "agent"
CONSTANTS = dict(
    M=INT,  # MAX_PERMITS
    B=INT,  # the bypass budget
    BATCH=INT,  # WAKES_AT_ONCE
    UPGRADABLE=INT,
    REST=INT,  # what an upgradable reader holds, and what it lacks to be the writer
    fixed=BOOL,  # a lock or a read-write lock: never closed or resized; whoever needs all may enter alone
    upgrades=BOOL,  # a read-write lock
    leaky=BOOL,
)  # pending upgrades may be leaked, and their guards dropped
AGENT_CONSTANTS = dict(
    want=INT,  # the permits that this agent's requests ask for
    task=BOOL,  # a future, which nobody's thread waits in
    recursive=BOOL,  # its requests disregard the budget
    heir=AGENT,
)  # who has the guard of its leaked upgrade
WORD = dict(qlock=BOOL, queued=BOOL, full=BOOL, closed=BOOL, bypass=INT, free=INT)
SHARED = dict(
    total=INT,  # Gate::max
    due=INT,
    length=INT,  # the list: at(0), …, at(length - 1)
    next=INT,  # WaitList::next is at(next), null if next = length
    called=INT,
    judged=INT,  # local to the holder of QLOCK: the permits in its copy of the word
    add=INT,
)  # local to the holder of QLOCK: Change::add
GHOSTS = dict(
    editor=AGENT,  # who has QLOCK
    caller=AGENT,  # the last releaser that was told to call
    looper=AGENT,  # the last one whose batch was full
    holders=INT,
)  # holder(0), …, holder(holders - 1)
PER_AGENT = dict(
    pc=INT,
    state=INT,
    handle=BOOL,  # the node's
    token=BOOL,  # a wake-up has arrived, and was not used yet
    held=INT,
    up=BOOL,  # permits; it is after the rest
    closes=BOOL,
    clears=BOOL,  # free_list's change
    returns=BOOL,  # free_list returns to a wait
    batch_len=INT,
    woken=INT,  # free_list's batch: its length, and how many are woken
    seen=INT,  # call's copy of the permits
    inlist=BOOL,
    place=INT,
    carried=BOOL,
    carrier=AGENT,
    slot=INT,  # ghost: this waiter's newest handle is in the carrier's batch, at slot
    holder_place=INT,  # ghost
    ahead=INT,  # ghost: how many stood before it when it queued, and upgrades that came in front later
    overtaken=INT,  # ghost: by how many newcomers
    resets=INT,  # ghost: how often the budget was cleared since it queued
    ishead=BOOL,  # ghost: it stood at the head when the list was freed
    over_head=INT,  # ghost: overtaken since then
    over_first=INT,
)  # ghost: overtaken since it stands first, whether the list was freed or not
PER_PLACE = dict(
    at=AGENT, need_sum=INT, holder=AGENT, held_sum=INT
)  # the sums are ghosts: over those before the place
PER_SLOT = dict(batch=AGENT)
GHOST_NAMES = {
    *GHOSTS,
    "carried",
    "carrier",
    "slot",
    "holder_place",
    "ahead",
    "overtaken",
    "resets",
    "ishead",
    "over_head",
    "over_first",
    "need_sum",
    "holder",
    "held_sum",
}
VARIABLES = {**WORD, **SHARED, **GHOSTS}


class State:
    """Attributes are values, or functions of an agent, a place or a slot."""

    def __init__(self, attributes):
        self.__dict__.update(attributes)

    def but(self, **changes):
        return State({**self.__dict__, **changes})


def symbolic():
    """A state of z3's: any state at all."""
    agent = z3.DeclareSort("Agent")
    sort = {INT: z3.IntSort(), BOOL: z3.BoolSort(), AGENT: agent}
    made = {name: z3.Const(name, sort[kind]) for name, kind in {**CONSTANTS, **VARIABLES}.items()}
    made |= {
        name: z3.Function(name, agent, sort[kind]) for name, kind in {**AGENT_CONSTANTS, **PER_AGENT}.items()
    }
    made |= {name: z3.Function(name, z3.IntSort(), sort[kind]) for name, kind in PER_PLACE.items()}
    made |= {name: z3.Function(name, agent, z3.IntSort(), sort[kind]) for name, kind in PER_SLOT.items()}
    return agent, State(made)


# ---- Words about a state -------------------------------------------------------------------------
def need(s, t):
    return If(s.up(t), s.REST, s.want(t))


def weight(s, t):
    return If(s.state(t) == DISMISSED, 0, need(s, t))


def regardless(s, t):
    return Or(s.recursive(t), s.up(t))


def told(s, t):
    return among(s.state(t), CALLED, DISMISSED)


def freeing(s, t):
    return among(s.pc(t), FREE, CAS, WAKE, RELOCK)


def edits(s, t):
    return among(s.pc(t), FREE, CAS, RECALL, FRONT, FORGET)


def waits(s, t):
    return Or(among(s.pc(t), LOOK, PARK, CANCEL, ANSWER, ALONE, RECALL), And(freeing(s, t), s.returns(t)))


def nobody(s):
    return 2 * s.M + 1  # u32::MAX: more than any sum


def next_due(s):
    return If(s.next < s.length, s.called + need(s, s.at(s.next)), nobody(s))


def closing(s):
    return Or(s.closed, And(s.qlock, s.closes(s.editor)))


def turn_has_come(s):
    """Somebody is to be told, by the word as it is."""
    w = s.at(s.next)
    return And(
        s.next < s.length, Or(s.closed, need(s, w) > s.total, s.need_sum(s.next) + need(s, w) <= s.free)
    )


def sleeping(s, t):
    """It is parked, or will be without looking."""
    return Or(s.pc(t) == PARK, And(freeing(s, t), s.returns(t), s.task(t)))


def blocked(s, t):
    """It moves only if somebody else acts, or a user."""
    return Or(among(s.pc(t), IDLE, HOLD), And(s.pc(t) == PARK, Not(s.token(t))))


def looping(s):
    return And(among(s.pc(s.looper), WAKE, RELOCK), s.batch_len(s.looper) == s.BATCH)


def calling(s):
    return Or(
        s.pc(s.caller) == CALL, And(among(s.pc(s.caller), CALL_DUE, CALL_CAS), s.free <= s.seen(s.caller))
    )


# ---- Pieces of steps -----------------------------------------------------------------------------
def go(s, t, location, **changes):
    return s.but(pc=put(s.pc, t, location), **changes)


def lock(s, t):
    return s.but(qlock=True, editor=t)


def rest(s, t):
    return go(s, t, If(s.held(t) > 0, HOLD, IDLE))


def free_list(s, t, returns=False, closes=False, clears=False, add=0, location=None):
    return go(
        s,
        t,
        FREE if location is None else location,
        judged=s.free,
        add=add,
        closes=put(s.closes, t, closes),
        clears=put(s.clears, t, clears),
        returns=put(s.returns, t, returns),
        batch_len=put(s.batch_len, t, 0),
        woken=put(s.woken, t, 0),
    )


def take(s, t):
    """t takes what it needs from the word. Ghost: it becomes a holder, or holds more."""
    n, j, sums, first = need(s, t), s.holder_place(t), s.held_sum, s.held(t) == 0
    return s.but(
        free=s.free - n,
        held=put(s.held, t, s.held(t) + n),
        up=put(s.up, t, False),
        holder=lambda i: If(And(first, i == s.holders), t, s.holder(i)),
        holder_place=put(s.holder_place, t, If(first, s.holders, j)),
        holders=s.holders + If(first, 1, 0),
        held_sum=lambda i: If(
            first, If(i == s.holders + 1, sums(s.holders) + n, sums(i)), If(i > j, sums(i) + n, sums(i))
        ),
    )


def lose(s, t, k):
    """t holds k less. Ghost: it may cease to be a holder."""
    j, sums, holder, places, all_ = s.holder_place(t), s.held_sum, s.holder, s.holder_place, s.held(t) == k
    return s.but(
        held=put(s.held, t, s.held(t) - k),
        holders=s.holders - If(all_, 1, 0),
        held_sum=lambda i: If(i <= j, sums(i), If(all_, sums(i + 1), sums(i)) - k),
        holder=lambda i: If(And(all_, i >= j), holder(i + 1), holder(i)),
        holder_place=lambda u: If(And(all_, s.held(u) > 0, places(u) > j), places(u) - 1, places(u)),
    )


def newcomer(s, t, ahead):
    """Ghosts of a waiter that has just queued."""
    return s.but(
        ahead=put(s.ahead, t, ahead),
        overtaken=put(s.overtaken, t, 0),
        resets=put(s.resets, t, 0),
        ishead=put(s.ishead, t, False),
        over_head=put(s.over_head, t, 0),
        over_first=put(s.over_first, t, 0),
    )


def push_back(s, t):
    return newcomer(
        s.but(
            at=put(s.at, s.length, t),
            place=put(s.place, t, s.length),
            inlist=put(s.inlist, t, True),
            length=s.length + 1,
            need_sum=put(s.need_sum, s.length + 1, s.need_sum(s.length) + need(s, t)),
        ),
        t,
        s.length,
    )


def push_front(s, t):
    """Everybody is recalled already. Ghost: each waiter has one more before it, and whoever was
    first is not."""
    sums, at = s.need_sum, s.at
    return newcomer(
        s.but(
            at=lambda i: If(i == 0, t, at(i - 1)),
            place=lambda u: If(u == t, 0, If(s.inlist(u), s.place(u) + 1, s.place(u))),
            inlist=put(s.inlist, t, True),
            length=s.length + 1,
            next=0,
            need_sum=lambda i: If(i == 0, 0, need(s, t) + sums(i - 1)),
            ahead=lambda u: s.ahead(u) + If(s.inlist(u), 1, 0),
            ishead=lambda u: False,
            over_first=lambda u: 0,
        ),
        t,
        0,
    )


def unlink(s, t, keep_called=False):
    j, at, sums = s.place(t), s.at, s.need_sum
    return s.but(
        at=lambda i: If(i >= j, at(i + 1), at(i)),
        place=lambda u: If(And(s.inlist(u), s.place(u) > j), s.place(u) - 1, s.place(u)),
        need_sum=lambda i: If(i <= j, sums(i), sums(i + 1) - weight(s, t)),
        inlist=put(s.inlist, t, False),
        length=s.length - 1,
        next=s.next - If(j < s.next, 1, 0),
        called=s.called - If(And(s.state(t) == CALLED, not keep_called), need(s, t), 0),
        handle=put(s.handle, t, False),
        carried=put(s.carried, t, False),
    )


def tell(s, t, w, dismiss, count=None):
    """The editor t calls or dismisses w, which is at(next), and takes its handle, if it has one,
    into the batch."""
    has, end, n, sums = s.handle(w), s.batch_len(t), need(s, w), s.need_sum
    count = Not(dismiss) if count is None else count
    return s.but(
        state=put(s.state, w, If(dismiss, DISMISSED, CALLED)),
        called=s.called + If(count, n, 0),
        next=s.next + 1,
        need_sum=lambda i: sums(i) - If(And(dismiss, i > s.next), n, 0),
        handle=put(s.handle, w, False),
        batch=lambda x, i: If(And(has, x == t, i == end), w, s.batch(x, i)),
        batch_len=put(s.batch_len, t, end + If(has, 1, 0)),
        carried=put(s.carried, w, Or(has, s.carried(w))),
        carrier=put(s.carrier, w, If(has, t, s.carrier(w))),
        slot=put(s.slot, w, If(has, end, s.slot(w))),
    )


def recall_last(s, left=RECALLED):
    w, sums = s.at(s.next - 1), s.need_sum
    back = s.state(w) == DISMISSED
    return s.but(
        next=s.next - 1,
        called=s.called - If(s.state(w) == CALLED, need(s, w), 0),
        state=put(s.state, w, left),
        need_sum=lambda i: sums(i) + If(And(back, i >= s.next), need(s, w), 0),
    )


def fall_asleep(s, t, handle=True):
    return s.but(
        state=put(s.state, t, ASLEEP),
        handle=put(s.handle, t, Or(s.handle(t), handle)),
        token=put(s.token, t, False),
        carried=put(s.carried, t, False),
    )


# ---- The steps -----------------------------------------------------------------------------------
CHOOSES = {"release", "release_fairly", "add", "forget_take", "forget_held"}  # those that use k


def transitions(bug=None):
    """All steps, by name; with `bug`, one of them is wrong (see BUGS)."""
    steps = {}
    is_ = lambda name: bug == name

    def step(f):
        steps[f.__name__] = f
        return f

    # Newcomers
    def give_way(s, t):
        return s.but(up=put(s.up, t, False))

    def may_enter(s, t):
        return And(s.free >= need(s, t), Not(s.closed), Or(regardless(s, t), Not(s.queued), s.bypass < s.B))

    def enter(s, t, counted=True):
        over = And(s.queued, Not(regardless(s, t)))
        by = lambda which, whom: lambda u: which(u) + If(And(over, s.inlist(u), whom(u)), 1, 0)
        return go(take(s, t), t, HOLD).but(
            bypass=If(And(over, counted), s.bypass + 1, s.bypass),
            overtaken=by(s.overtaken, lambda u: True),
            over_head=by(s.over_head, s.ishead),
            over_first=by(s.over_first, lambda u: s.place(u) == 0),
        )

    @step
    def try_enter(s, t, k):
        return And(s.pc(t) == IDLE, may_enter(s, t)), enter(s, t)

    @step
    def try_upgrade(s, t, k):
        n = s.but(up=put(s.up, t, True))
        return And(s.pc(t) == HOLD, s.upgrades, s.held(t) == s.UPGRADABLE, may_enter(n, t)), enter(n, t)

    @step
    def arrive(s, t, k):
        return s.pc(t) == IDLE, go(s, t, ARRIVE)

    @step
    def upgrade(s, t, k):
        return And(s.pc(t) == HOLD, s.upgrades, s.held(t) == s.UPGRADABLE), go(
            s, t, ARRIVE, up=put(s.up, t, True)
        )

    @step
    def arrive_enter(s, t, k):
        return And(s.pc(t) == ARRIVE, may_enter(s, t)), enter(s, t, not is_("arriving is not counted"))

    @step
    def arrive_closed(s, t, k):
        return And(s.pc(t) == ARRIVE, s.closed), rest(give_way(s, t), t)

    def queues(s, t):
        return And(s.pc(t) == ARRIVE, Not(s.qlock), Not(s.closed), Not(may_enter(s, t)))

    @step
    def arrive_too_many(s, t, k):
        return And(queues(s, t), need(s, t) > s.total), free_list(lock(give_way(s, t), t), t)

    back = is_("upgrade queues at the back")

    @step
    def arrive_queue(s, t, k):
        n = fall_asleep(push_back(lock(s, t), t), t)
        g = And(queues(s, t), need(s, t) <= s.total, Or(back, Not(s.up(t))))
        if is_("queueing does not judge"):
            return g, free_list(n.but(due=next_due(n)), t, returns=True, location=CAS)
        return g, free_list(n, t, returns=True)

    @step
    def arrive_front(s, t, k):
        return And(queues(s, t), s.up(t), not back), go(lock(s, t), t, FRONT)

    @step
    def front_recall(s, t, k):
        return And(s.pc(t) == FRONT, s.next > 0), recall_last(s)

    @step
    def front_push(s, t, k):
        g = And(s.pc(t) == FRONT, True if is_("push_front does not recall") else s.next == 0)
        return g, free_list(fall_asleep(push_front(s, t), t), t, returns=True)

    # free_list: rule D
    def tells(s, t):
        n = need(s, s.at(s.next))
        shut = False if is_("close tells only those whose turn has come") else Or(s.closed, s.closes(t))
        too_many = False if is_("too large a need is not dismissed") else n > s.total
        return And(
            s.next < s.length, s.batch_len(t) < s.BATCH, Or(shut, too_many, s.called + n <= s.judged + s.add)
        )

    @step
    def free_reload(s, t, k):
        return And(s.pc(t) == FREE, s.judged != s.free), s.but(judged=s.free)

    @step
    def free_tell(s, t, k):
        w = s.at(s.next)
        dismiss = Or(s.closed, s.closes(t), need(s, w) > s.total)
        return And(s.pc(t) == FREE, tells(s, t)), tell(
            s, t, w, dismiss, True if is_("the dismissed are counted as called") else None
        )

    late = is_("due is stored after the list is free")

    @step
    def free_due(s, t, k):
        g = And(s.pc(t) == FREE, Not(tells(s, t)))
        if late:
            return g, go(s, t, CAS, seen=put(s.seen, t, next_due(s)))
        return g, go(s, t, CAS, due=next_due(s) + (1 if is_("due is too large by one") else 0))

    @step
    def free_fail(s, t, k):
        return And(s.pc(t) == CAS, s.judged != s.free), go(s, t, FREE, judged=s.free)

    @step
    def free_cas(s, t, k):
        some, head, clears = s.length > 0, s.at(0), s.clears(t)
        full = next_due(s) > s.total
        if is_("FULL as soon as anybody is called"):
            full = Or(full, s.called > 0)
        n = s.but(
            qlock=False,
            queued=some,
            full=And(some, full),
            closed=Or(s.closed, s.closes(t)),
            free=s.free + s.add,
            add=0,
            bypass=If(
                clears if is_("V: the last to leave clears by its own leaving") else Or(clears, Not(some)),
                0,
                s.bypass,
            ),
            closes=put(s.closes, t, False),
            clears=put(s.clears, t, False),
            looper=If(s.batch_len(t) == s.BATCH, t, s.looper),
            resets=lambda u: s.resets(u) + If(And(clears, s.inlist(u)), 1, 0),
            ishead=lambda u: Or(s.ishead(u), And(some, u == head)),
            over_head=lambda u: If(And(some, u == head, Not(s.ishead(head))), 0, s.over_head(u)),
        )
        return And(
            s.pc(t) == CAS, True if is_("the freeing CAS replaces another word") else s.free == s.judged
        ), go(n, t, LATE if late else WAKE)

    if late:
        steps["free_late"] = lambda s, t, k: (s.pc(t) == LATE, go(s, t, WAKE, due=s.seen(t)))

    @step
    def wake(s, t, k):
        i = s.woken(t)
        w = s.batch(t, i)
        newest = And(
            s.carried(w), s.carrier(w) == t, s.slot(w) == i
        )  # an older handle's wake-up may be lost: fewer than there are
        return And(s.pc(t) == WAKE, i < s.batch_len(t)), s.but(
            token=put(s.token, w, Or(s.token(w), newest)),
            carried=put(s.carried, w, And(s.carried(w), Not(newest))),
            woken=put(s.woken, t, i + 1),
        )

    def all_woken(s, t):
        return And(s.pc(t) == WAKE, s.woken(t) == s.batch_len(t))

    @step
    def wake_done(s, t, k):
        again = And(s.batch_len(t) == s.BATCH, not is_("a full batch is the last one"))
        return And(all_woken(s, t), Not(again)), go(
            s, t, If(s.returns(t), If(s.task(t), PARK, LOOK), If(s.held(t) > 0, HOLD, IDLE))
        )

    @step
    def wake_again(s, t, k):
        return And(all_woken(s, t), s.batch_len(t) == s.BATCH), go(s, t, RELOCK)

    @step
    def relock(s, t, k):
        return And(s.pc(t) == RELOCK, Not(s.qlock)), free_list(lock(s, t), t, returns=s.returns(t))

    # Waiters
    def goes(s, t):
        return s.state(t) == CALLED if is_("a recalled waiter sleeps on") else s.state(t) != ASLEEP

    @step
    def look_go(s, t, k):
        return And(s.pc(t) == LOOK, goes(s, t)), go(s, t, ANSWER)

    @step
    def look_park(s, t, k):
        return And(s.pc(t) == LOOK, Not(goes(s, t))), go(s, t, PARK)

    @step
    def unpark(s, t, k):
        return s.pc(t) == PARK, go(
            s, t, If(s.task(t), ANSWER, LOOK), token=put(s.token, t, False)
        )  # woken or not

    @step
    def give_up(s, t, k):
        return s.pc(t) == PARK, go(s, t, CANCEL)

    def leave(s, t, closes=False):
        clears = False if is_("the head's leaving does not clear the budget") else s.place(t) == 0
        return free_list(unlink(s, t, is_("unlinking does not reduce called")), t, clears=clears)

    @step
    def cancel(s, t, k):
        n = leave(lock(s, t), t)
        if is_("a cancelled waiter does not judge"):
            n = go(n.but(due=next_due(n)), t, CAS)
        return And(s.pc(t) == CANCEL, Not(s.qlock)), give_way(n, t)

    @step
    def answer_alone(s, t, k):
        alone = Not(s.up(t)) if is_("anybody may enter alone") else And(s.fixed, need(s, t) == s.total)
        return And(s.pc(t) == ANSWER, alone, s.state(t) == CALLED), go(s, t, ALONE)

    @step
    def alone_enter(s, t, k):
        n = leave(lock(s, t), t)
        return And(s.pc(t) == ALONE, Not(s.qlock), s.free >= need(s, t)), after_take(s, n, t)

    def after_take(s, n, t):
        n = take(n, t)
        return n.but(judged=n.free)

    def answers(s, t):
        return And(among(s.pc(t), ANSWER, ALONE), Not(s.qlock))

    @step
    def answer_leave(s, t, k):
        return And(answers(s, t), Or(s.closed, s.state(t) == DISMISSED)), give_way(leave(lock(s, t), t), t)

    registers = not is_("it falls asleep without a handle")

    @step
    def answer_sleep(s, t, k):
        return And(answers(s, t), Not(s.closed), Not(told(s, t))), free_list(
            fall_asleep(lock(s, t), t, registers), t, returns=True
        )

    @step
    def answer_lock(s, t, k):
        return And(answers(s, t), Not(s.closed), s.state(t) == CALLED), go(
            lock(s, t), t, RECALL, judged=s.free
        )

    @step
    def recall_reload(s, t, k):
        return And(s.pc(t) == RECALL, s.judged != s.free), s.but(judged=s.free)

    unchecked = is_("a called waiter enters whatever is called before it")

    def too_many_called(s, t):
        return And(s.judged < need(s, t), s.state(t) == CALLED) if unchecked else s.called > s.judged

    @step
    def recall(s, t, k):
        return And(s.pc(t) == RECALL, too_many_called(s, t)), recall_last(
            s, ASLEEP if is_("the recalled stay ASLEEP") else RECALLED
        )

    @step
    def recall_sleep(s, t, k):
        return And(s.pc(t) == RECALL, Not(too_many_called(s, t)), s.state(t) != CALLED), free_list(
            fall_asleep(s, t, registers), t, returns=True
        )

    @step
    def recall_enter(s, t, k):
        return And(
            s.pc(t) == RECALL, Not(too_many_called(s, t)), s.state(t) == CALLED, s.free == s.judged
        ), after_take(s, leave(s, t), t)

    # Holders
    def may_call(s):
        full, qlock = And(s.full, not is_("V: release disregards FULL")), And(
            s.qlock, not is_("V: release disregards QLOCK")
        )
        return And(s.queued, Not(full), Not(qlock), not is_("a release never calls"))

    def give_back(s, t, k, fairly=False):
        n = lose(s.but(free=s.free + k), t, k)
        if fairly and not is_("a fair release leaves the door open"):
            n = n.but(bypass=If(s.queued, s.B, s.bypass))
        return And(s.pc(t) == HOLD, 1 <= k, k <= s.held(t)), go(
            n, t, If(may_call(s), CALL, If(n.held(t) > 0, HOLD, IDLE)), caller=If(may_call(s), t, s.caller)
        )

    @step
    def release(s, t, k):
        return give_back(s, t, k)

    @step
    def release_fairly(s, t, k):
        return give_back(s, t, k, fairly=True)

    def flags(s):
        return And(s.queued, Not(s.full), Not(s.qlock))

    @step
    def call_load(s, t, k):
        return And(s.pc(t) == CALL, flags(s)), go(s, t, CALL_DUE, seen=put(s.seen, t, s.free))

    @step
    def call_quit(s, t, k):
        return And(s.pc(t) == CALL, Not(flags(s))), rest(s, t)

    @step
    def call_due(s, t, k):
        reached = Or(s.seen(t) >= s.due, is_("V: call disregards due"))
        return And(s.pc(t) == CALL_DUE, reached), go(s, t, CALL_CAS)

    @step
    def call_not_due(s, t, k):
        return And(s.pc(t) == CALL_DUE, s.seen(t) < s.due), rest(s, t)

    @step
    def call_lock(s, t, k):
        return And(s.pc(t) == CALL_CAS, flags(s), s.free == s.seen(t)), free_list(lock(s, t), t)

    @step
    def call_fail(s, t, k):
        return s.pc(t) == CALL_CAS, go(s, t, CALL)

    # Closing and resizing
    def changes(s, t):
        return And(among(s.pc(t), IDLE, HOLD), Not(s.fixed), Not(s.qlock))

    @step
    def close(s, t, k):
        return changes(s, t), free_list(lock(s, t), t, closes=True)

    @step
    def add(s, t, k):
        g = And(changes(s, t), 0 <= k, s.total + k <= s.M)
        if is_("adding does not judge"):
            return g, s.but(total=s.total + k, free=s.free + k)
        return g, free_list(lock(s, t).but(total=s.total + k), t, add=k)

    @step
    def forget_lock(s, t, k):
        return changes(s, t), go(lock(s, t), t, FORGET)

    @step
    def forget_take(s, t, k):
        taken = s.but(
            free=s.free if is_("the maximum shrinks before the permits are gone") else s.free - k,
            total=s.total - k,
        )
        return And(s.pc(t) == FORGET, 0 <= k, k <= s.free), free_list(taken, t)

    @step
    def forget_held(s, t, k):
        g, n = And(s.pc(t) == HOLD, changes(s, t), 1 <= k, k <= s.held(t)), lose(s, t, k).but(
            total=s.total - k
        )
        if is_("forgetting does not judge"):
            return g, rest(n, t)
        return g, free_list(lock(n, t), t)

    # A leaked upgrade: its future is forgotten in the list, which ends its borrow of the guard
    @step
    def leak(s, t, k):
        h = s.heir(t)
        return And(
            s.leaky, s.pc(t) == PARK, s.task(t), s.up(t), s.held(t) == s.UPGRADABLE, s.pc(h) == IDLE
        ), go(s, h, HOLD).but(
            held=put(put(s.held, t, 0), h, s.held(t)),
            holder=put(s.holder, s.holder_place(t), h),
            holder_place=put(s.holder_place, h, s.holder_place(t)),
        )

    return steps
