"""Does the model allow what the shipped engine does? trace/ runs the unmodified files of src/local
on real threads and writes down every access of the word, of `due`, of the maximum and of node
states, in order. Each must be a step of the model whose guard holds and whose new word, `due`,
maximum or state is the one that was written, on the node that the model says. The goals are
looked at on the way.

    replay.py ROUNDS    logs of so many rounds of the programs below
    replay.py bugs      each bug planted in a copy of the source must be rejected
"""

import os
import shutil
import subprocess
import sys
import tempfile
from invariant import *

HERE = os.path.dirname(os.path.abspath(__file__))
TRACE = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "trace/target")), "release/trace")
STEPS = transitions()
MAX_PERMITS, PERMIT = 2**31 - 1, 18
AT_ONCE = {HOLD: ["try_upgrade"], IDLE: ["try_enter"]}
CHANGES = {
    ARRIVE: ["arrive_enter", "arrive_queue", "arrive_front", "arrive_too_many"],
    CAS: ["free_cas"],
    RELOCK: ["relock"],
    CANCEL: ["cancel"],
    ANSWER: ["answer_leave", "answer_sleep", "answer_lock"],
    ALONE: ["alone_enter", "answer_leave", "answer_sleep", "answer_lock"],
    RECALL: ["recall_enter"],
    CALL_CAS: ["call_lock"],
}


class Rejected(Exception):
    pass


class Replay:
    def __init__(self, kind, permits, budget, wants, taken):
        n = self.n = len(wants)
        rwlock = kind == "rwlock"
        self.places, self.taken = n + 4, taken
        self.constants = dict(
            M=MAX_PERMITS,
            B=budget,
            BATCH=2,
            UPGRADABLE=permits // 2 + 1,
            REST=permits - permits // 2 - 1,
            fixed=rwlock,
            upgrades=rwlock,
            leaky=False,
            want=wants.__getitem__,
            task=lambda t: t % 2 == 1,
            recursive=lambda t: rwlock and wants[t] == 2,
            heir=lambda t: t,
        )
        self.values = {name: False if kind == BOOL else 0 for name, kind in VARIABLES.items()} | dict(
            free=permits, total=permits
        )
        self.agents = {name: [False if kind == BOOL else 0] * n for name, kind in PER_AGENT.items()}
        self.by_place = {name: [0] * self.places for name in PER_PLACE}
        self.slots = {name: [[0] * (n + 2) for _ in range(n)] for name in PER_SLOT}
        self.owner, self.doing, self.maximum = {}, [None] * n, None
        self.longest = self.most_told = 0

    def state(self):
        at = lambda values: lambda x: values[x] if 0 <= x < len(values) else 0
        slot = lambda values: lambda t, x: values[t][x] if 0 <= x < len(values[t]) else 0
        return State(
            {
                **self.constants,
                **self.values,
                **{name: at(v) for name, v in {**self.agents, **self.by_place}.items()},
                **{name: slot(v) for name, v in self.slots.items()},
            }
        )

    def fire(self, name, t, word=None, k=0):
        """Makes the step, if its guard holds and the word becomes `word`."""
        s = self.state()
        guard, n = STEPS[name](s, t, k)
        if not guard or word is not None and as_word(n) != word:
            return False
        for goal, (steps, f) in STEP_GOALS.items():
            if name in steps and not f(s, t):
                raise Rejected(goal)
        for goal, (steps, f) in CHANGE_GOALS.items():
            if (not steps or name in steps) and not f(s, n, t):
                raise Rejected(goal)
        changed = lambda names: [name for name in names if getattr(n, name) is not getattr(s, name)]
        values = {name: getattr(n, name) for name in VARIABLES}
        agents = {name: [getattr(n, name)(u) for u in range(self.n)] for name in changed(PER_AGENT)}
        places = {name: [getattr(n, name)(i) for i in range(self.places)] for name in changed(PER_PLACE)}
        slots = {
            name: [[getattr(n, name)(u, i) for i in range(self.n + 2)] for u in range(self.n)]
            for name in changed(PER_SLOT)
        }
        self.values.update(values), self.agents.update(agents), self.by_place.update(
            places
        ), self.slots.update(slots)
        self.taken[name] = self.taken.get(name, 0) + 1
        return True

    def pc(self, t):
        return self.agents["pc"][t]

    def event(self, number, t, what, a, b):
        s = self.state()
        need_ = lambda done: done or reject()

        def reject(why="no such step"):
            raise Rejected(
                f"{why}: entry {number}: {t} {what} {a} {b}, at {LOCATIONS[self.pc(t)]} doing {self.doing[t]}, word {as_word(s)}, due {s.due}, states {self.agents['state']}"
            )

        if what in ("load", "miss", "change") and a != as_word(s):
            reject("another word")
        if what == "load" and self.pc(t) == FRONT:
            need_(self.fire("front_push", t))
        if what in ("load", "miss"):
            here, stale = self.pc(t), s.judged != s.free
            if here == FREE and stale and what == "load":
                self.fire("free_reload", t)
            elif here == CAS and stale and what == "miss":
                self.fire("free_fail", t)
            elif here == RECALL and stale:
                self.fire("recall_reload", t)
            elif here == CALL_CAS and what == "miss":
                need_(self.fire("call_fail", t))
            if self.pc(t) == CALL:
                need_(self.fire("call_load", t) or self.fire("call_quit", t))
            if self.pc(t) == ARRIVE and what == "load" and s.closed:
                need_(self.fire("arrive_closed", t))
        elif what == "change":
            doing = self.doing[t]
            if self.pc(t) in (IDLE, HOLD) and doing in ("enter", "upgrade"):
                # Entering at once and arriving look the same from outside.
                if not (number % 2 and self.fire(AT_ONCE[self.pc(t)][0], t, b)):
                    need_(self.fire("arrive" if doing == "enter" else "upgrade", t))
                    need_(any(self.fire(step, t, b) for step in CHANGES[ARRIVE]))
            elif self.pc(t) in (IDLE, HOLD) and isinstance(doing, tuple):
                step, k = doing
                need_(self.fire(step, t, b, k))
                if step == "forget_lock":
                    self.doing[t] = ("forget_take", k)
            elif self.pc(t) == FORGET:
                need_(self.fire("forget_take", t, b, (a - b) >> PERMIT))
            else:
                need_(any(self.fire(step, t, b) for step in CHANGES.get(self.pc(t), [])))
        elif what in ("read", "write") and b == self.maximum:
            # The model changes it in the step before, so whoever resizes reads the old one.
            resizes = isinstance(self.doing[t], tuple) and what == "read"
            if a != s.total and s.qlock and s.editor == t and not resizes:
                reject("another maximum")
        elif what == "read":
            if a != s.due:
                reject("another due")
            need_(self.fire("call_due", t) or self.fire("call_not_due", t))
        elif what == "write":
            if self.pc(t) == FREE:
                need_(self.fire("free_due", t))
            elif self.pc(t) != CAS:
                reject()
            if a != self.values["due"]:
                reject("another due")
        elif what == "look":
            if (
                self.owner.get(b) is not None
                and s.inlist(self.owner[b])
                and self.pc(t) not in (FREE,)
                and s.state(self.owner[b]) != a
            ):
                reject("another state")
            if self.pc(t) == PARK:
                need_(not s.task(t) and self.fire("unpark", t))
            if self.pc(t) == LOOK:
                need_(self.fire("look_go", t) or self.fire("look_park", t))
            elif self.pc(t) == ANSWER and a == CALLED:
                self.fire("answer_alone", t)
        elif what == "set":
            if a == ASLEEP:
                if self.pc(t) == RECALL:
                    need_(self.fire("recall_sleep", t))
                elif self.pc(t) not in (FREE, FRONT):
                    reject()
                self.owner[b] = t
            elif a == RECALLED:
                if self.owner[b] != s.at(s.next - 1):
                    reject("another is recalled")
                need_(self.fire("recall", t) or self.fire("front_recall", t))
            else:
                if s.next >= s.length or self.owner[b] != s.at(s.next):
                    reject("another is told")
                need_(self.fire("free_tell", t))
                if self.agents["state"][self.owner[b]] != a:
                    reject("another state")
        elif what == "wake":
            need_(self.fire("wake", t))
        elif what in ("enter", "upgrade"):
            self.doing[t] = what
        elif what in ("release", "release_fairly", "forget_held", "add", "close"):
            self.doing[t] = (what, a)
        elif what == "forget":
            self.doing[t] = ("forget_lock", a)
        elif what == "poll":
            if self.pc(t) == PARK:
                need_(self.fire("unpark", t))
            else:
                need_(self.fire("arrive" if self.doing[t] == "enter" else "upgrade", t))
        elif what == "cancel":
            need_(self.fire("give_up", t))
        elif what in ("entered", "refused", "done"):
            held = self.agents["held"][t]
            if self.pc(t) != (HOLD if held else IDLE) or what == "entered" and not held:
                reject("it has not ended so")
            self.doing[t] = None
        else:
            reject("what is this")
        if self.pc(t) == WAKE and self.agents["woken"][t] == self.agents["batch_len"][t]:
            need_(self.fire("wake_again", t) or self.fire("wake_done", t))
        if what in ("change", "set", "wake"):
            s = self.state()
            self.longest, self.most_told = max(self.longest, s.length), max(self.most_told, s.next)
            for goal, (agents, _, f) in GOALS.items():
                if agents < 2 and not (f(s, t) if agents else f(s)):
                    reject(goal)


def as_word(s):
    return s.qlock | s.queued << 1 | s.full << 2 | s.closed << 3 | s.bypass << 4 | s.free << PERMIT


def replay(trace, kind, permits, budget, operations, seed, wants, taken):
    command = [trace, kind, *map(str, (permits, budget, operations, seed)), ",".join(map(str, wants))]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise Rejected(f"the engine ended with {ran.returncode}: {ran.stderr[-300:]}")
    lines = ran.stdout.splitlines()
    r = Replay(kind, permits, budget, wants, taken)
    r.maximum = int(lines[0].split()[3])
    for number, line in enumerate(lines[1:]):
        t, what, a, b = line.split()
        r.event(number, int(t), what, int(a), int(b))
    if (
        any(pc != IDLE for pc in r.agents["pc"])
        or as_word(r.state()) != r.values["total"] << PERMIT | r.values["closed"] << 3
    ):
        raise Rejected("not everybody is home at the end")
    return len(lines) - 1, r.longest, r.most_told


PROGRAMS = [
    ("plain", 1, 1, 40, (1, 1, 1)),
    ("plain", 3, 2, 30, (1, 2, 1, 3, 2, 1)),
    ("plain", 4, 0, 30, (1, 1, 4, 2, 3, 1)),
    ("semaphore", 3, 1, 30, (1, 3, 1, 2, 2, 1)),
    ("semaphore", 6, 3, 20, (1, 1, 6, 1, 1, 1, 2, 4, 1, 1)),
    ("rwlock", 7, 1, 30, (1, 7, 4, 1, 4, 2)),
    ("rwlock", 7, 0, 20, (1, 1, 7, 4, 1, 1, 4, 4, 1, 7, 2, 1)),
    ("rwlock", 15, 2, 20, (1, 1, 15, 8, 1, 8, 15, 2, 1, 1)),
]


def replay_all(seeds, trace=TRACE, quiet=False):
    """Why the first log was rejected that was."""
    events, longest, most, taken = 0, 0, 0, {}
    for seed in seeds:
        for kind, permits, budget, operations, wants in PROGRAMS:
            try:
                seen, length, told_ = replay(trace, kind, permits, budget, operations, seed, wants, taken)
            except Rejected as why:
                return f"{kind} of {permits}, budget {budget}, wants {wants}, seed {seed}: {why}"
            events, longest, most = events + seen, max(longest, length), max(most, told_)
    if not quiet:
        print(
            f"    {events} accesses of the shipped engine are steps of the model; longest list {longest}, most told {most}"
        )
        print(
            f"    steps never seen: {', '.join(sorted(set(STEPS) - set(taken))) or 'none'} (nobody leaks an upgrade here); rarest: "
            + ", ".join(f"{name} {count}" for count, name in sorted((c, x) for x, c in taken.items())[:4])
        )
    return None


# In the engine's source: file, what stands there, what stands there instead.
SOURCE_BUGS = [
    ("word.rs", "Some(word - permits(need) + BYPASS)", "Some(word - permits(need))"),
    ("word.rs", "(true, false) => word | QUEUED,", "(true, false) => word | QUEUED | FULL,"),
    ("word.rs", "(word & !BYPASS_MASK) | (budget as u64 * BYPASS)", "word"),
    ("waitlist.rs", "last.state.store(RECALLED, Relaxed);", "last.state.store(ASLEEP, Relaxed);"),
    ("waitlist.rs", "self.recall_all();", ""),
    ("waitlist.rs", "if closed || waiter.need > max {", "if closed {"),
    ("waitlist.rs", "*self.called -= (*node).need;", ""),
    ("waitlist.rs", "waiter.state.store(DISMISSED, Relaxed);", "waiter.state.store(CALLED, Relaxed);"),
    ("gate.rs", "Urgency::Upgrade => list.push_front(", "Urgency::Upgrade => list.push_back("),
    (
        "gate.rs",
        "let full = standing.due.is_none_or(|due| due > max);",
        "let full = standing.due.is_none_or(|due| due >= max);",
    ),
    (
        "gate.rs",
        "self.due.store(standing.due.unwrap_or(u32::MAX), Relaxed);",
        "self.due.store(standing.due.unwrap_or(u32::MAX).saturating_add(1), Relaxed);",
    ),
    ("gate.rs", "clear: if was_head { BYPASS_MASK } else { 0 }", "clear: 0"),
    ("gate.rs", "let more = batch.is_full();", "let more = false;"),
    (
        "gate.rs",
        "unsafe { gate.with_list(|list| list.recall(free(word))) };",
        "if free(word) < self.request.need { unsafe { gate.with_list(|list| list.recall(free(word))) } };",
    ),
    ("gate.rs", "self.max.store(self.max.load(Relaxed) - n, Relaxed);", ""),
]


def check_bugs():
    survivors = 0
    with tempfile.TemporaryDirectory() as copy:
        root = os.path.join(HERE, "../..")
        shutil.copytree(os.path.join(root, "src"), os.path.join(copy, "src"))
        shutil.copytree(
            os.path.join(HERE, "trace"),
            os.path.join(copy, "xtask/gate-proof/trace"),
            ignore=shutil.ignore_patterns("target"),
        )
        environment = dict(os.environ, CARGO_TARGET_DIR=os.path.join(copy, "target"))
        for file, right, wrong in SOURCE_BUGS:
            path = os.path.join(copy, "src/local", file)
            with open(path) as f:
                shipped = f.read()
            if shipped.count(right) != 1:
                raise SystemExit(f"    {file} does not have once: {right}")
            with open(path, "w") as f:
                f.write(shipped.replace(right, wrong))
            subprocess.run(
                [
                    "cargo",
                    "build",
                    "--quiet",
                    "--release",
                    "--manifest-path",
                    os.path.join(copy, "xtask/gate-proof/trace/Cargo.toml"),
                ],
                check=True,
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            with open(path, "w") as f:
                f.write(shipped)
            why = replay_all(range(1, 6), os.path.join(copy, "target/release/trace"), quiet=True)
            survivors += why is None
            print(
                f"    {right[:60]:60} -> {wrong[:40]:40} {'ACCEPTED' if why is None else 'rejected'}",
                flush=True,
            )
    print(f"    {len(SOURCE_BUGS)} planted bugs in the source, {survivors} accepted")
    return survivors


if __name__ == "__main__":
    if sys.argv[1] == "bugs":
        sys.exit(check_bugs() > 0)
    rejected = replay_all(range(1, int(sys.argv[1]) + 1))
    sys.exit(f"    REJECTED {rejected}" if rejected else 0)
