"""The arithmetic of src/local/word.rs, and what gate.rs and waitlist.rs do with words and sums,
means what model.py says: for all 2^64 words.

The code is transcribed by hand, so each transcribed line must still stand in the source.
"""

import os
import sys
import z3

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = {
    name: " ".join(open(os.path.join(HERE, "../../src/local", name)).read().split())
    for name in ("word.rs", "gate.rs", "waitlist.rs", "semaphore.rs", "rwlock.rs")
}
TRANSCRIBED = {
    "word.rs": [
        "QLOCK: u64 = 1;",
        "QUEUED: u64 = 1 << 1;",
        "FULL: u64 = 1 << 2;",
        "CLOSED: u64 = 1 << 3;",
        "BYPASS: u64 = 1 << 4;",
        "BYPASS_MASK: u64 = (MAX_BUDGET as u64) << 4;",
        "PERMIT: u64 = 1 << 18;",
        "MAX_BUDGET: u16 = (1 << 14) - 1;",
        "MAX_PERMITS: u32 = (1 << 31) - 1;",
        "n as u64 * PERMIT",
        "(word >> 18) as u32",
        "if word < permits(need) { None } else if word & (QUEUED | CLOSED) == 0 { Some(word - permits(need)) } "
        "else if word & CLOSED == 0 && word & BYPASS_MASK < budget as u64 * BYPASS { Some(word - permits(need) + BYPASS) } else { None }",
        "if word >= permits(need) && word & CLOSED == 0 { Some(word - permits(need)) } else { None }",
        "word & (QUEUED | FULL | QLOCK) == QUEUED",
        "if word & QUEUED == 0 { word } else { (word & !BYPASS_MASK) | (budget as u64 * BYPASS) }",
        "let word = word & !(QLOCK | QUEUED | FULL); match (queued, full) { (false, _) => word & !BYPASS_MASK, (true, false) => word | QUEUED, "
        "(true, true) => word | QUEUED | FULL, }",
    ],
    "gate.rs": [
        "self.word.fetch_add(permits(n), ",
        "word::shut_door(word + permits(n), self.budget)",
        "while word::may_call(word) && free(word) >= self.due.load(Relaxed)",
        "let locked = word | QLOCK;",
        "((word | self.set) & !self.clear) + self.add",
        "clear: if was_head { BYPASS_MASK } else { 0 }",
        "Change { set: CLOSED, ..Change::default() }",
        "let add = if grown.is_some() { permits(n) } else { 0 };",
        "max.checked_add(n).filter(|&grown| grown <= MAX_PERMITS)",
        "let forgotten = n.min(free(word)); let left = word - permits(forgotten);",
        "list.call(free(now), max, now & CLOSED != 0, &mut batch)",
        "let full = standing.due.is_none_or(|due| due > max);",
        "self.due.store(standing.due.unwrap_or(u32::MAX), Relaxed);",
        "word::list_freed(now, standing.queued, full)",
        "let entered = word - permits(self.request.need);",
        "if word < permits(self.request.need) {",
        "let entered = (word - permits(self.request.need)) | QLOCK;",
        "if self.request.need > max {",
        "let whole = permits(request.need); match self.word.compare_exchange_weak(whole, 0, order::ENTER.get(), Relaxed)",
    ],
    "waitlist.rs": [
        "if closed || waiter.need > max {",
        "} else if *self.called + waiter.need <= free {",
        "due: (!self.ends.next.is_null()).then(|| *self.called + (*self.ends.next).need)",
        "while *self.called > free {",
    ],
    "semaphore.rs": ["if n == 0 { Request::urgent(0, Urgency::Recursive) } else { Request::of(n) }"],
    "rwlock.rs": [
        "const WRITER: u32 = word::MAX_PERMITS;",
        "const UPGRADABLE: u32 = WRITER / 2 + 1;",
        "const REST: u32 = WRITER - UPGRADABLE;",
    ],
}

W = lambda value: z3.BitVecVal(value, 64)
QLOCK, QUEUED, FULL, CLOSED, BYPASS, BYPASS_MASK = (W(x) for x in (1, 2, 4, 8, 16, ((1 << 14) - 1) << 4))
MAX_PERMITS, MAX_BUDGET, PERMIT = (1 << 31) - 1, (1 << 14) - 1, 1 << 18
word = z3.BitVec("word", 64)
need, n, due, called, most = (z3.BitVec(x, 32) for x in ("need", "n", "due", "called", "most"))
budget = z3.BitVec("budget", 16)


# The code
def wide(x):
    return z3.ZeroExt(64 - x.size(), x)


def permits(x):
    return wide(x) * W(PERMIT)


def free(w):
    return z3.Extract(31, 0, z3.LShR(w, 18))


def has(w, flag):
    return w & flag != 0


def enter(w):
    """(whether, the new word)"""
    fits = z3.UGE(w, permits(need))
    unqueued = w & (QUEUED | CLOSED) == 0
    within = z3.And(w & CLOSED == 0, z3.ULT(w & BYPASS_MASK, wide(budget) * BYPASS))
    return z3.And(fits, z3.Or(unqueued, within)), z3.If(
        unqueued, w - permits(need), w - permits(need) + BYPASS
    )


def enter_regardless(w):
    return z3.And(z3.UGE(w, permits(need)), w & CLOSED == 0), w - permits(need)


def may_call(w):
    return w & (QUEUED | FULL | QLOCK) == QUEUED


def shut_door(w):
    return z3.If(w & QUEUED == 0, w, w & ~BYPASS_MASK | wide(budget) * BYPASS)


def list_freed(w, queued, full):
    w = w & ~(QLOCK | QUEUED | FULL)
    return z3.If(queued, z3.If(full, w | QUEUED | FULL, w | QUEUED), w & ~BYPASS_MASK)


# What the model says a word is: its fields
def fields(w):
    return dict(
        qlock=has(w, QLOCK),
        queued=has(w, QUEUED),
        full=has(w, FULL),
        closed=has(w, CLOSED),
        bypass=z3.ZeroExt(50, z3.Extract(17, 4, w)),
        free=z3.LShR(w, 18),
    )


OLD = fields(word)


def becomes(w, **changes):
    return z3.And(*[fields(w)[name] == value for name, value in {**OLD, **changes}.items()])


failed = 0


def claim(name, assumed, claimed, expected=z3.unsat):
    global failed
    solver = z3.Solver()
    solver.add(*assumed)
    possible = solver.check() == z3.sat
    solver.add(z3.Not(claimed))
    answer = solver.check()
    ok = possible and answer == expected
    failed += not ok
    print(
        f"    {name:64} {('proved' if expected == z3.unsat else 'false, as it should be') if ok else f'NOT PROVED ({answer})'}"
    )


for file, lines in TRANSCRIBED.items():
    for line in lines:
        if line not in SOURCES[file]:
            failed += 1
            print(f"    NOT IN {file}: {line}")

small = lambda x: z3.ULE(x, MAX_PERMITS)
legal = [z3.ULE(OLD["free"], MAX_PERMITS)]  # I9: no more are free than there are
some = [small(need), z3.ULE(budget, MAX_BUDGET)]
P, N, B = OLD["free"], wide(need), wide(budget)
entered, new = enter(word)
may = z3.And(z3.UGE(P, N), z3.Not(OLD["closed"]), z3.Or(z3.Not(OLD["queued"]), z3.ULT(OLD["bypass"], B)))
claim("enter: whether", some, entered == may)
claim(
    "enter: the word",
    some + [entered],
    becomes(new, free=P - N, bypass=z3.If(OLD["queued"], OLD["bypass"] + 1, OLD["bypass"])),
)
claim(
    "enter: the count stays below the budget's limit",
    some + [entered, z3.ULE(OLD["bypass"], B)],
    z3.ULE(fields(new)["bypass"], z3.If(OLD["queued"], B, OLD["bypass"])),
)
entered, new = enter_regardless(word)
claim("enter_regardless: whether", some, entered == z3.And(z3.UGE(P, N), z3.Not(OLD["closed"])))
claim("enter_regardless: the word", some + [entered], becomes(new, free=P - N))
claim(
    "a need of nothing changes nothing",
    [need == 0, enter_regardless(word)[0]],
    enter_regardless(word)[1] == word,
)
back = [small(n), z3.ULE(P + wide(n), MAX_PERMITS)]
claim("release: the word", back, becomes(word + permits(n), free=P + wide(n)))
claim("may_call", [], may_call(word) == z3.And(OLD["queued"], z3.Not(OLD["full"]), z3.Not(OLD["qlock"])))
claim(
    "release_fairly: the word",
    back + some,
    becomes(shut_door(word + permits(n)), free=P + wide(n), bypass=z3.If(OLD["queued"], B, OLD["bypass"])),
)
claim("the permits fit into u32", legal, wide(free(word)) == P)
claim("the permits fit into u32 (with as many as there can be words: no)", [], wide(free(word)) == P, z3.sat)
claim("call: `due` is reached", legal, z3.UGE(free(word), due) == z3.UGE(P, wide(due)))
claim("call: u32::MAX is never reached", legal, z3.Not(z3.UGE(free(word), z3.BitVecVal(2**32 - 1, 32))))
claim("lock", [z3.Not(OLD["qlock"])], becomes(word | QLOCK, qlock=True))
claim(
    "enter_alone",
    some + [z3.Not(OLD["qlock"]), z3.Not(z3.ULT(word, permits(need)))],
    z3.And(z3.UGE(P, N), becomes((word - permits(need)) | QLOCK, qlock=True, free=P - N)),
)
claim(
    "answer: a called waiter's permits are there",
    some + legal + [z3.ULE(called, free(word)), z3.ULE(need, called)],
    becomes(word - permits(need), free=P - N),
)
forgotten = z3.If(z3.ULT(n, free(word)), n, free(word))
claim(
    "forget_free",
    legal,
    z3.And(z3.ULE(wide(forgotten), P), becomes(word - permits(forgotten), free=P - wide(forgotten))),
)
sums = [small(called), small(need)]
claim(
    "a turn has come: the sum", legal + sums, z3.ULE(called + need, free(word)) == z3.ULE(wide(called) + N, P)
)
claim(
    "a turn has come: the sum, were there 2^32 - 1 permits (no)",
    [],
    z3.ULE(called + need, free(word)) == z3.ULE(wide(called) + N, P),
    z3.sat,
)
claim(
    "due: the sum is less than u32::MAX",
    sums,
    z3.And(z3.ULT(called + need, z3.BitVecVal(2**32 - 1, 32)), wide(called + need) == wide(called) + N),
)
claim("FULL", sums, z3.UGT(called + need, most) == z3.UGT(wide(called) + N, wide(most)))
claim("recall", legal, z3.UGT(called, free(word)) == z3.UGT(wide(called), P))
closes, clears, queued, full = z3.Bools("closes clears queued full")
added = permits(n)
now = ((word | z3.If(closes, CLOSED, W(0))) & ~z3.If(clears, BYPASS_MASK, W(0))) + added
claim(
    "free_list: the word",
    back,
    becomes(
        list_freed(now, queued, full),
        qlock=False,
        queued=queued,
        full=z3.And(queued, full),
        closed=z3.Or(OLD["closed"], closes),
        bypass=z3.If(z3.Or(clears, z3.Not(queued)), 0, OLD["bypass"]),
        free=P + wide(n),
    ),
)
claim(
    "free_list: what is judged",
    back,
    z3.And(wide(free(now)) == P + wide(n), has(now, CLOSED) == z3.Or(OLD["closed"], closes)),
)
claim(
    "free_list: the arithmetic stays below 2^64",
    back,
    z3.UGE(now, (word | z3.If(closes, CLOSED, W(0))) & ~z3.If(clears, BYPASS_MASK, W(0))),
)
writer, upgradable = MAX_PERMITS, MAX_PERMITS // 2 + 1
rest = writer - upgradable
claim(
    "an upgradable reader holds more than half, and leaves room",
    [],
    z3.BoolVal(1 <= rest < upgradable and upgradable + rest == writer),
)
sys.exit(failed > 0)
