"""What is always so (the invariant, conjunct by conjunct, under the numbers of docs/design.md),
what follows from it (the goals), and the bugs that the proof must catch.

Each conjunct is a function of a state, of some agents and of some places: it holds for all of
them.
"""

from model import *

INVARIANT, GOALS, STEP_GOALS, CHANGE_GOALS = {}, {}, {}, {}


def holds(table, agents=0, places=0):
    def enter(f):
        table[f.__name__] = (agents, places, f)
        return f

    return enter


def invariant(agents=0, places=0):
    return holds(INVARIANT, agents, places)


def goal(agents=0, places=0):
    return holds(GOALS, agents, places)


def before(*steps):
    """A goal about the state in which one of these steps is made, and the agent that makes it."""

    def enter(f):
        STEP_GOALS[f.__name__] = (steps, f)
        return f

    return enter


def change(*steps):
    """A goal about the states before and after one of these steps (any step, if none is named)."""

    def enter(f):
        CHANGE_GOALS[f.__name__] = (steps, f)
        return f

    return enter


def initial(s, t, i):
    return And(
        s.free == s.total,
        0 <= s.total,
        s.total <= s.M,
        Implies(s.upgrades, s.total == s.UPGRADABLE + s.REST),
        Not(s.qlock),
        Not(s.queued),
        Not(s.full),
        Not(s.closed),
        s.bypass == 0,
        s.length == 0,
        s.holders == 0,
        s.next == 0,
        s.called == 0,
        s.due == 0,
        s.judged == 0,
        s.add == 0,
        s.need_sum(0) == 0,
        s.held_sum(0) == 0,
        s.pc(t) == IDLE,
        s.state(t) == ASLEEP,
        s.held(t) == 0,
        Not(s.up(t)),
        Not(s.inlist(t)),
        Not(s.token(t)),
        Not(s.carried(t)),
        Not(s.returns(t)),
        Not(s.closes(t)),
        Not(s.clears(t)),
        s.batch_len(t) == 0,
        s.woken(t) == 0,
        s.seen(t) == 0,
    )


def assumptions(s, agents):
    """About the constants. An upgradable reader holds more than half, and REST has room for a
    reader."""
    return [
        s.M >= 1,
        s.B >= 0,
        s.BATCH >= 1,
        1 <= s.REST,
        s.REST < s.UPGRADABLE,
        Implies(s.upgrades, s.fixed),
    ] + [s.want(a) >= 1 for a in agents]


# ---- The invariant -------------------------------------------------------------------------------
def upcoming(s):
    """What `due` is to be when the list is freed."""
    return If(s.next < s.length, s.need_sum(s.next + 1), nobody(s))


@invariant()
def I0_ranges(s):
    return And(
        s.free >= 0,
        s.length >= 0,
        s.holders >= 0,
        0 <= s.next,
        s.next <= s.length,
        0 <= s.total,
        s.total <= s.M,
        s.add >= 0,
        Implies(s.fixed, And(Not(s.closed), s.add == 0)),
        Implies(s.upgrades, s.total == s.UPGRADABLE + s.REST),
        Implies(s.add > 0, And(s.qlock, among(s.pc(s.editor), FREE, CAS))),
        Implies(
            And(s.qlock, among(s.pc(s.editor), FREE, CAS, RECALL)),
            And(0 <= s.judged, s.judged + s.add <= s.total),
        ),
    )


@invariant(1)
def I0_locations(s, t):
    return And(
        IDLE <= s.pc(t),
        s.pc(t) < LATE,
        ASLEEP <= s.state(t),
        s.state(t) <= DISMISSED,
        0 <= s.held(t),
        s.seen(t) <= s.M,
        0 <= s.woken(t),
        s.woken(t) <= s.batch_len(t),
        s.batch_len(t) <= s.BATCH,
        Implies(among(s.pc(t), FREE, CAS), s.woken(t) == 0),
        Implies(s.pc(t) == RELOCK, And(s.batch_len(t) == s.BATCH, s.woken(t) == s.batch_len(t))),
        Implies(s.pc(t) == HOLD, s.held(t) > 0),
        Implies(s.pc(t) == RECALL, And(Not(s.closed), among(s.state(t), CALLED, RECALLED))),
        Implies(s.pc(t) == FORGET, Not(s.fixed)),
        Implies(Or(s.closes(t), s.clears(t)), among(s.pc(t), FREE, CAS)),
        Implies(s.closes(t), Not(s.fixed)),
        Implies(And(s.fixed, s.inlist(t)), And(s.state(t) != DISMISSED, need(s, t) <= s.total)),
        Implies(s.inlist(t), need(s, t) <= s.M),
    )


@invariant(1)
def I0_holding(s, t):
    """Who waits holds nothing, but for an upgrade, which holds the upgradable read."""
    return And(
        Implies(
            s.held(t) > 0,
            Or(
                among(s.pc(t), HOLD, CALL, CALL_DUE, CALL_CAS, FORGET),
                And(freeing(s, t), Not(s.returns(t))),
                s.up(t),
            ),
        ),
        Implies(s.up(t), And(s.upgrades, Or(among(s.pc(t), ARRIVE, FRONT), waits(s, t)))),
        Implies(s.pc(t) == FRONT, s.up(t)),
        Implies(And(s.up(t), Or(Not(s.leaky), among(s.pc(t), ARRIVE, FRONT))), s.held(t) == s.UPGRADABLE),
    )


@invariant(1)
def I1_one_editor(s, t):
    return And(Implies(edits(s, t), And(s.qlock, t == s.editor)), Implies(s.qlock, edits(s, s.editor)))


@invariant(1)
def I2_linked_waits(s, t):
    return And(
        Iff(s.inlist(t), waits(s, t)),
        Implies(s.inlist(t), And(0 <= s.place(t), s.place(t) < s.length, s.at(s.place(t)) == t)),
    )


@invariant(0, 1)
def I2_places(s, i):
    return Implies(And(0 <= i, i < s.length), And(s.inlist(s.at(i)), s.place(s.at(i)) == i))


@invariant()
def I3_sums_begin(s):
    return And(s.need_sum(0) == 0, s.held_sum(0) == 0)


@invariant(0, 1)
def I3_sums(s, i):
    return Implies(And(0 <= i, i < s.length), s.need_sum(i + 1) == s.need_sum(i) + weight(s, s.at(i)))


@invariant(0, 2)
def I3_sums_grow(s, i, j):
    return Implies(
        And(0 <= i, i <= j, j <= s.length),
        And(s.need_sum(i) <= s.need_sum(j), Implies(s.fixed, s.need_sum(i) + (j - i) <= s.need_sum(j))),
    )


@invariant()
def I3_called_is_the_sum(s):
    return And(s.called == s.need_sum(s.next), s.called <= s.M, Implies(s.fixed, s.called <= s.total))


@invariant(1)
def I3_told_are_a_prefix(s, t):
    return Implies(s.inlist(t), Iff(told(s, t), s.place(t) < s.next))


@invariant()
def I4_flags_and_due(s):
    return Implies(
        Not(s.qlock),
        And(
            Iff(s.queued, s.length > 0),
            Iff(s.full, And(s.length > 0, upcoming(s) > s.total)),
            Implies(s.length > 0, s.due == upcoming(s)),
        ),
    )


@invariant()
def I5_judged(s):
    at, w = s.pc(s.editor), s.at(s.next)
    left = And(
        s.next < s.length,
        Or(s.closed, s.closes(s.editor), need(s, w) > s.total, upcoming(s) <= s.judged + s.add),
    )
    return Implies(
        And(s.qlock, at == CAS),
        And(s.due == upcoming(s), Implies(s.batch_len(s.editor) < s.BATCH, Not(left))),
    )


@invariant()
def I6_rule_d(s):
    fits = And(Not(s.closed), need(s, s.at(s.next)) <= s.total)
    return Implies(And(Not(s.qlock), turn_has_come(s)), Or(looping(s), And(fits, calling(s))))


@invariant(1)
def I7_handle(s, t):
    return Implies(s.inlist(t), Iff(s.handle(t), s.state(t) == ASLEEP))


@invariant(1)
def I7_wake_is_on_its_way(s, t):
    return Implies(And(s.inlist(t), s.state(t) != ASLEEP, sleeping(s, t)), Or(s.token(t), s.carried(t)))


@invariant(1)
def I7_carrier(s, t):
    c = s.carrier(t)
    return Implies(
        s.carried(t),
        And(
            s.inlist(t),
            s.state(t) != ASLEEP,
            among(s.pc(c), FREE, CAS, WAKE),
            s.woken(c) <= s.slot(t),
            s.slot(t) < s.batch_len(c),
            s.batch(c, s.slot(t)) == t,
        ),
    )


@invariant(1)
def I8_upgrade_is_first(s, t):
    return Implies(And(s.inlist(t), s.up(t)), Or(s.leaky, s.place(t) == 0))


@invariant(1, 1)
def I8_alone(s, t, i):
    """Only an upgrade can stand before a waiter that was called alone and has not looked again."""
    return Implies(
        s.pc(t) == ALONE,
        And(
            s.fixed, need(s, t) == s.total, Not(s.up(t)), Implies(And(0 <= i, i < s.place(t)), s.up(s.at(i)))
        ),
    )


@invariant(1)
def I9_holders(s, t):
    return Implies(
        s.held(t) > 0,
        And(0 <= s.holder_place(t), s.holder_place(t) < s.holders, s.holder(s.holder_place(t)) == t),
    )


@invariant(0, 1)
def I9_holder_places(s, i):
    h = s.holder(i)
    return Implies(
        And(0 <= i, i < s.holders),
        And(s.held(h) > 0, s.holder_place(h) == i, s.held_sum(i + 1) == s.held_sum(i) + s.held(h)),
    )


@invariant(0, 2)
def I9_holder_sums_grow(s, i, j):
    return Implies(And(0 <= i, i <= j, j <= s.holders), s.held_sum(i) + (j - i) <= s.held_sum(j))


@invariant()
def I9_conserved(s):
    return s.free + s.held_sum(s.holders) + s.add == s.total


@invariant()
def I10_budget(s):
    return And(0 <= s.bypass, s.bypass <= s.B, Implies(Not(s.queued), s.bypass == 0))


@invariant()
def I10_last_clears(s):
    return Implies(And(s.qlock, s.queued, s.length == 0), s.clears(s.editor))


@invariant(1)
def I11_overtaken(s, t):
    clear = And(s.qlock, s.clears(s.editor))  # due, and its node is off the list already
    return Implies(
        s.inlist(t),
        And(
            0 <= s.resets(t),
            s.resets(t) + s.place(t) + If(clear, 1, 0) <= s.ahead(t),
            s.overtaken(t) <= s.resets(t) * s.B + s.bypass,
        ),
    )


@invariant(1)
def I11_overtaken_as_head(s, t):
    return Implies(
        And(s.inlist(t), s.ishead(t)),
        And(
            t == s.at(0),
            0 <= s.over_head(t),
            s.over_head(t) <= s.bypass,
            Not(And(s.qlock, s.clears(s.editor))),
        ),
    )


@invariant(1)
def I11_overtaken_first(s, t):
    return Implies(
        s.inlist(t),
        And(
            0 <= s.over_first(t),
            Implies(s.place(t) > 0, s.over_first(t) == 0),
            s.over_first(t) <= s.bypass + If(s.ishead(t), s.B, 0),
        ),
    )


@invariant()
def I11_head_is_known(s):
    return Implies(s.length > 0, Or(s.ishead(s.at(0)), And(s.qlock, among(s.pc(s.editor), FREE, CAS))))


# ---- What it is for ------------------------------------------------------------------------------
@goal(2)
def exclusion(s, t, u):
    return And(s.held(t) + s.free <= s.total, Implies(t != u, s.held(t) + s.held(u) + s.free <= s.total))


@goal()
def conservation(s):
    return And(0 <= s.free, s.free + s.held_sum(s.holders) + s.add == s.total)


@goal(2)
def one_editor(s, t, u):
    return Implies(And(edits(s, t), edits(s, u)), t == u)


@goal()
def flags_say_what_the_list_says(s):
    return Implies(
        Not(s.qlock),
        And(
            Iff(s.queued, s.length > 0),
            Iff(s.full, And(s.length > 0, Or(s.next == s.length, s.need_sum(s.next + 1) > s.total))),
        ),
    )


@goal(2)
def told_are_a_prefix(s, t, u):
    return And(
        s.called == s.need_sum(s.next),
        Implies(And(s.inlist(t), s.inlist(u), s.place(t) < s.place(u), told(s, u)), told(s, t)),
    )


@goal()
def rule_d(s):
    return Implies(And(Not(s.qlock), turn_has_come(s)), Or(looping(s), calling(s)))


@goal(1)
def told_are_woken(s, t):
    return Implies(
        s.inlist(t),
        And(
            Implies(s.state(t) == ASLEEP, s.handle(t)),
            Implies(
                And(s.state(t) != ASLEEP, s.pc(t) == PARK, Not(s.token(t))),
                And(s.carried(t), Not(blocked(s, s.carrier(t)))),
            ),
        ),
    )


@goal()
def due_is_exact(s):
    return Implies(And(Not(s.qlock), s.length > 0), s.due == upcoming(s))


@goal()
def head_is_overtaken_within_the_budget(s):
    return And(
        s.bypass <= s.B,
        Implies(And(Not(s.qlock), s.length > 0), And(s.ishead(s.at(0)), s.over_head(s.at(0)) <= s.bypass)),
    )


@goal(1)
def overtaking_bound(s, t):
    return Implies(s.inlist(t), s.overtaken(t) <= (s.ahead(t) - s.place(t) + 1) * s.B)


@goal(1)
def first_is_overtaken_at_most_twice_the_budget(s, t):
    return Implies(And(s.inlist(t), s.place(t) == 0), s.over_first(t) <= 2 * s.B)


@goal(2)
def nobody_stands_before_an_upgrade(s, t, u):
    return Implies(And(Not(s.leaky), s.inlist(t), s.up(t), s.inlist(u), t != u), s.place(t) < s.place(u))


@goal()
def sums_fit_into_u32(s):
    """With M = 2^31 - 1: what is called, and with it whoever is next, is less than u32::MAX,
    which stands for nobody."""
    return And(
        0 <= s.called,
        s.called <= s.M,
        Implies(s.next < s.length, s.called + need(s, s.at(s.next)) < nobody(s)),
    )


# No stuck state: `stuck` says that every agent is blocked. It is stated over all agents in prove.py and explore.py.
def nobody_is_stuck(s, t):
    return And(
        Not(turn_has_come(s)),
        Implies(s.inlist(t), s.state(t) == ASLEEP),
        Implies(s.free == s.total, s.length == 0),
        Implies(And(s.inlist(t), s.up(t), Not(s.leaky)), s.free < s.REST),
    )


@before("recall_enter", "alone_enter")
def enters_in_turn(s, t):
    return And(
        s.free >= need(s, t),
        Or(s.pc(t) == ALONE, And(s.state(t) == CALLED, s.need_sum(s.place(t) + 1) <= s.free)),
    )


@before("alone_enter")
def alone_is_head(s, t):
    return Or(s.leaky, And(s.place(t) == 0, s.free == s.total))


@before("recall", "front_recall")
def recalls_somebody(s, t):
    return And(
        0 < s.next,
        s.next <= s.length,
        Implies(s.state(s.at(s.next - 1)) == CALLED, need(s, s.at(s.next - 1)) <= s.called),
    )


@before("cancel", "answer_leave", "recall_enter", "alone_enter")
def leaving_keeps_called(s, t):
    return Implies(s.state(t) == CALLED, need(s, t) <= s.called)


@before("call_not_due", "call_quit")
def no_call_is_missed(s, t):
    return Implies(And(Not(s.qlock), turn_has_come(s)), Or(looping(s), And(s.caller != t, calling(s))))


@before("free_tell")
def tells_a_waiter_once(s, t):
    return And(s.inlist(s.at(s.next)), Not(told(s, s.at(s.next))))


@change("release_fairly")
def a_fair_release_shuts_the_door(s, n, t):
    return Implies(s.queued, n.bypass == s.B)


@change("cancel", "answer_leave", "recall_enter", "alone_enter")
def the_heads_leaving_clears_the_budget(s, n, t):
    return Implies(s.place(t) == 0, n.clears(t))


@change("free_cas")
def clearing_clears(s, n, t):
    return Implies(s.clears(t), n.bypass == 0)


@change()
def head_keeps_fitting(s, n, t):
    """With the door shut, what fits the head goes on fitting until it has left or is dismissed.
    What goes through a shut door: recursive reads, upgrades, forgetting, and a writer that
    passes a leaked upgrade."""
    h = s.at(0)
    fits = And(
        s.length > 0, s.ishead(h), s.state(h) != DISMISSED, s.queued, s.bypass == s.B, need(s, h) <= s.free
    )
    through = Or(
        s.pc(t) == FORGET,
        regardless(s, t),
        And(s.pc(t) == HOLD, Not(n.held(t) <= s.held(t))),
        And(s.leaky, s.pc(t) == ALONE),
    )
    return Implies(And(fits, Not(through)), Or(Not(n.inlist(h)), And(need(n, h) <= n.free, n.bypass == s.B)))


@change()
def nothing_is_made_or_lost(s, n, t):
    """Only add, forget_take and forget_held change how many permits there are, by what they say."""
    return And(n.free >= 0, n.free + n.held(t) + n.add - n.total == s.free + s.held(t) + s.add - s.total)


# ---- Planted bugs --------------------------------------------------------------------------------
BUGS = [
    "arriving is not counted",
    "queueing does not judge",
    "the recalled stay ASLEEP",
    "FULL as soon as anybody is called",
    "unlinking does not reduce called",
    "a called waiter enters whatever is called before it",
    "the freeing CAS replaces another word",
    "a cancelled waiter does not judge",
    "due is too large by one",
    "the head's leaving does not clear the budget",
    "due is stored after the list is free",
    "a full batch is the last one",
    "close tells only those whose turn has come",
    "anybody may enter alone",
    "it falls asleep without a handle",
    "a release never calls",
    "a recalled waiter sleeps on",
    "upgrade queues at the back",
    "push_front does not recall",
    "the dismissed are counted as called",
    "too large a need is not dismissed",
    "a fair release leaves the door open",
    "adding does not judge",
    "forgetting does not judge",
    "the maximum shrinks before the permits are gone",
]
# Changes that the proof shows to be harmless: what they drop is a short cut.
VARIANTS = [
    "V: the last to leave clears by its own leaving",
    "V: release disregards FULL",
    "V: release disregards QLOCK",
    "V: call disregards due",
]
