"""The links of src/local/waitlist.rs (prev, next, head; the last node is the head's prev;
WaitList::next) do what model.py's abstract list says, for any length. One query for each
operation, and planted bugs that must fail."""

import sys
import z3

NODE = z3.DeclareSort("Node")
INT, BOOL = z3.IntSort(), z3.BoolSort()
null, node, u, head, cursor = z3.Consts("null node u head cursor", NODE)
length, told, i = z3.Ints("length told i")
And, Or, Not, If, Implies = z3.And, z3.Or, z3.Not, z3.If, z3.Implies
function = lambda name, *sorts: z3.Function(name, *sorts)
START = dict(
    prev=function("prev", NODE, NODE),
    next=function("next", NODE, NODE),
    head=head,
    cursor=cursor,  # the links; cursor is WaitList::next
    at=function("at", INT, NODE),
    place=function("place", NODE, INT),
    inlist=function("inlist", NODE, BOOL),
    length=length,
    told=told,
)


def put(f, key, value):
    return lambda x: If(x == key, value, f(x))


def write(f, condition, key, value):
    return lambda x: If(And(condition, x == key), value, f(x))


def linked(s, u, i):
    """The links are those of the abstract list."""
    last = s["at"](s["length"] - 1)
    return And(
        0 <= s["told"],
        s["told"] <= s["length"],
        Not(s["inlist"](null)),
        s["head"] == If(s["length"] == 0, null, s["at"](0)),
        s["cursor"] == If(s["told"] == s["length"], null, s["at"](s["told"])),
        Implies(
            s["inlist"](u),
            And(
                0 <= s["place"](u),
                s["place"](u) < s["length"],
                s["at"](s["place"](u)) == u,
                s["prev"](u) == If(s["place"](u) == 0, last, s["at"](s["place"](u) - 1)),
                s["next"](u) == If(s["place"](u) == s["length"] - 1, null, s["at"](s["place"](u) + 1)),
            ),
        ),
        Implies(And(0 <= i, i < s["length"]), And(s["inlist"](s["at"](i)), s["place"](s["at"](i)) == i)),
    )


def push_back(s, bug=None):
    empty, last = s["head"] == null, s["prev"](s["head"])
    nexts = write(put(s["next"], node, null), Not(empty), last, node)
    prevs = put(s["prev"], node, If(empty, node, last))
    prevs = prevs if bug == "the head's prev" else write(prevs, Not(empty), s["head"], node)
    return dict(
        s,
        next=nexts,
        prev=prevs,
        head=If(empty, node, s["head"]),
        cursor=s["cursor"] if bug == "the cursor" else If(s["cursor"] == null, node, s["cursor"]),
        at=put(s["at"], s["length"], node),
        place=put(s["place"], node, s["length"]),
        inlist=put(s["inlist"], node, True),
        length=s["length"] + 1,
    )


def push_front(s, bug=None):
    """After recall_all, so nobody is told."""
    empty = s["head"] == null
    prevs = put(s["prev"], node, If(empty, node, s["prev"](s["head"])))
    prevs = prevs if bug == "the old head's prev" else write(prevs, Not(empty), s["head"], node)
    return dict(
        s,
        next=put(s["next"], node, s["head"]),
        prev=prevs,
        head=node,
        cursor=node,
        at=lambda k: If(k == 0, node, s["at"](k - 1)),
        place=lambda x: If(x == node, 0, If(s["inlist"](x), s["place"](x) + 1, s["place"](x))),
        inlist=put(s["inlist"], node, True),
        length=s["length"] + 1,
    )


def unlink(s, bug=None):
    prev, after, j = s["prev"](node), s["next"](node), s["place"](node)
    was_head = s["head"] == node
    top = If(was_head, after, s["head"])
    nexts = write(s["next"], Not(was_head), prev, after)
    behind = after if bug == "the head's prev" else If(after == null, top, after)
    return dict(
        s,
        head=top,
        next=nexts,
        prev=write(s["prev"], behind != null, behind, prev),
        cursor=s["cursor"] if bug == "the cursor" else If(s["cursor"] == node, after, s["cursor"]),
        at=lambda k: If(k >= j, s["at"](k + 1), s["at"](k)),
        place=lambda x: If(And(s["inlist"](x), s["place"](x) > j), s["place"](x) - 1, s["place"](x)),
        inlist=put(s["inlist"], node, False),
        length=s["length"] - 1,
        told=s["told"] - If(j < s["told"], 1, 0),
    )


def tell(s):
    return dict(s, cursor=s["next"](s["cursor"]), told=s["told"] + 1)


def recall_last(s, bug=None):
    behind = s["cursor"] if bug == "the end" else If(s["cursor"] == null, s["head"], s["cursor"])
    return dict(s, cursor=s["prev"](behind), told=s["told"] - 1)


failed = 0


def claim(name, guard, after, also=(), expected=z3.unsat):
    global failed
    s, solver = START, z3.Solver()
    places = [z3.IntVal(0), z3.IntVal(1), length - 1, length - 2, told, told - 1, told + 1, i, i - 1, i + 1]
    places += [s["place"](x) + d for x in (node, u) for d in (-1, 0, 1)]
    nodes = [node, u, null, head, cursor, s["prev"](head), s["prev"](cursor), s["next"](cursor)] + [
        f(x) for x in (node, u) for f in (s["prev"], s["next"])
    ]
    nodes += [s["at"](k) for k in places]
    solver.add(*[linked(s, x, i) for x in nodes], *[linked(s, u, k) for k in places], null != node, guard)
    possible = solver.check() == z3.sat
    solver.add(Not(And(linked(after, u, i), *also)))
    answer = solver.check()
    ok = possible and answer == expected
    failed += not ok
    print(
        f"    {name:64} {('proved' if expected == z3.unsat else 'fails, as it should') if ok else f'NOT PROVED ({answer})'}"
    )


inlist, place, at, prev = START["inlist"], START["place"], START["at"], START["prev"]
claim("push_back", Not(inlist(node)), push_back(START))
claim("push_front", And(Not(inlist(node)), told == 0), push_front(START))
claim(
    "unlink, and whether it was the head", inlist(node), unlink(START), [(head == node) == (place(node) == 0)]
)
claim("call: the cursor is the first that is not told", told < length, tell(START), [cursor == at(told)])
claim(
    "recall_last: the last that is told",
    told > 0,
    recall_last(START),
    [recall_last(START)["cursor"] == at(told - 1)],
)
claim("recall_all ends when nobody is told", length >= 0, START, [(cursor == head) == (told == 0)])
for bug, guard, after in [
    ("push_back leaves the head's prev", Not(inlist(node)), push_back(START, "the head's prev")),
    ("push_back leaves the cursor", Not(inlist(node)), push_back(START, "the cursor")),
    (
        "push_front leaves the old head's prev",
        And(Not(inlist(node)), told == 0),
        push_front(START, "the old head's prev"),
    ),
    ("push_front while somebody is told", Not(inlist(node)), push_front(START)),
    ("unlink leaves the head's prev", inlist(node), unlink(START, "the head's prev")),
    ("unlink leaves the cursor", inlist(node), unlink(START, "the cursor")),
    ("recall_last from the end", told > 0, recall_last(START, "the end")),
]:
    claim(f"planted: {bug}", guard, after, expected=z3.sat)
sys.exit(failed > 0)
