"""Proves by induction that the invariant holds for any number of agents, any needs, any budget and
any batch size: one query for each step and conjunct, and that the goals follow from it.

    prove.py            the proof
    prove.py bugs       each planted bug must leave something unproved, each variant nothing
    prove.py STEP..     some steps only; with -m, a state in which the first unproved claim fails

The queries are free of quantifiers: the hypothesis is used at the agents and places that a step
can touch (`instances`), and the claim is made for an agent u and places i, j about which nothing
else is known.
"""

import sys
import time
import z3
from invariant import *

AGENT_SORT, s = symbolic()
t, u, v = z3.Consts("t u v", AGENT_SORT)
i, j, k = z3.Ints("i j k")


def distinct(terms):
    seen, kept = set(), []
    for x in terms:
        x = z3.simplify(x) if z3.is_expr(x) else z3.IntVal(x)
        if x.get_id() not in seen:
            seen.add(x.get_id())
            kept.append(x)
    return kept


def instances(agents, places):
    """The hypothesis, at every agent and place that matters."""
    step = lambda terms: [y for x in terms for y in (x, x + 1)]
    in_list = (
        [0, s.length - 1, s.next, s.next - 1]
        + step(places)
        + [x - 1 for x in places]
        + [s.place(a) for a in (t, s.editor, *agents)]
    )
    in_held = [0, s.holders - 1, s.holder_place(t)] + step(places) + [s.holder_place(a) for a in agents]
    who = [t, s.editor, s.caller, s.looper, *agents, s.batch(t, s.woken(t)), s.heir(t)] + [
        s.carrier(a) for a in (t, *agents)
    ]
    who += (
        [s.at(x) for x in distinct(in_list)]
        + [s.holder(x) for x in distinct(in_held)]
        + [s.carrier(s.at(s.next)), s.carrier(s.at(0))]
    )
    pairs = (
        [0, 1, s.length, s.next, s.next + 1, s.next - 1, s.holders, s.holders - 1]
        + step(places)
        + [x - 1 for x in places]
        + step([s.place(a) for a in (t, s.editor, *agents)])
        + step([s.holder_place(a) for a in (t, *agents)])
        + [s.holder_place(s.at(0)), s.holder_place(s.at(0)) + 1]
    )
    who, one, two = distinct(who), distinct(in_list + in_held), distinct(pairs)
    facts = assumptions(s, who)
    for arity_a, arity_p, f in INVARIANT.values():
        if (arity_a, arity_p) == (0, 0):
            facts.append(f(s))
        elif (arity_a, arity_p) == (1, 0):
            facts += [f(s, a) for a in who]
        elif (arity_a, arity_p) == (0, 1):
            facts += [f(s, x) for x in one]
        elif (arity_a, arity_p) == (1, 1):
            facts += [
                f(s, a, x)
                for a in (t, *agents)
                for x in distinct([0, *step(places), *[x - 1 for x in places]])
            ]
        else:
            facts += [f(s, x, y) for x in two for y in two if not x.eq(y)]
    return who, [x for x in facts if x is not True]


class Proof:
    def __init__(self, timeout, check_hypotheses):
        self.timeout, self.check = timeout, check_hypotheses
        self.asked, self.unproved, self.contradictory, self.slowest, self.began = (
            0,
            [],
            [],
            (0, ""),
            time.time(),
        )

    def given(self, name, facts):
        """Hypotheses for the claims that follow. Such as contradict each other would prove
        anything."""
        self.name, self.solver = name, z3.Solver()
        self.solver.set("timeout", self.timeout)
        for fact in facts:
            if fact is not True:
                self.solver.add(z3.BoolVal(False) if fact is False else fact)
        if self.check and self.solver.check() != z3.sat:
            self.contradictory.append(f"{name} ({self.solver.check()})")

    def follows(self, claim):
        self.solver.push()
        self.solver.add(z3.Not(claim) if z3.is_expr(claim) else z3.BoolVal(not claim))
        began = time.time()
        answer = self.solver.check()
        self.model = self.solver.model() if answer == z3.sat else None
        self.solver.pop()
        return answer, time.time() - began

    def claim(self, name, claim):
        if claim is True:
            return
        self.asked += 1
        answer, seconds = self.follows(claim)
        self.slowest = max(self.slowest, (seconds, f"{self.name}: {name}"))
        if answer != z3.unsat:
            self.unproved.append((self.name, name, str(answer), self.model))


def ghosts_that_steer():
    """Ghosts may be written, but nothing real may depend on them. (`token` depends on `carried`:
    an old handle's wake-up is lost, which leaves fewer wake-ups than there are; one that
    comes from nowhere is allowed besides.)"""

    def names(term):
        seen, todo, found = set(), [term] if z3.is_expr(term) else [], set()
        while todo:
            x = todo.pop()
            if x.get_id() not in seen:
                seen.add(x.get_id())
                todo += x.children()
                if x.decl().kind() == z3.Z3_OP_UNINTERPRETED:
                    found.add(x.decl().name())
        return found

    bad = set()
    for name, step in transitions().items():
        guard, n = step(s, t, k)
        if name != "leak":
            bad |= {(name, "guard", g) for g in names(guard) & GHOST_NAMES}
        for field in {**WORD, **SHARED, **PER_AGENT, **PER_PLACE, **PER_SLOT}:
            if field not in GHOST_NAMES and field != "token":
                value = getattr(n, field)
                if field not in {**WORD, **SHARED}:
                    value = value(u, i) if field in PER_SLOT else value(i if field in PER_PLACE else u)
                bad |= {(name, field, g) for g in names(value) & GHOST_NAMES}
    return bad


def prove(bug=None, only=(), timeout=60_000, check_hypotheses=True):
    proof = Proof(timeout, check_hypotheses)
    who, hypothesis = instances([u], [i, j])
    for name, step in transitions(bug).items():
        if only and name not in only:
            continue
        guard, n = step(s, t, k)
        proof.given(name, hypothesis + [guard])
        for conjunct, (agents, places, f) in INVARIANT.items():
            proof.claim(conjunct, f(n, *[u][:agents], *[i, j][:places]))
        for claim, (steps, f) in STEP_GOALS.items():
            if name in steps:
                proof.claim(claim, f(s, t))
        for claim, (steps, f) in CHANGE_GOALS.items():
            if (not steps or name in steps) and (claim, name) != ("nothing_is_made_or_lost", "leak"):
                proof.claim(claim, f(s, n, t))
        proof.claim(
            "others hold what they held",
            Implies(And(u != t, Or(name != "leak", u != s.heir(t))), n.held(u) == s.held(u)),
        )
    if only:
        return proof
    proof.given("at first", assumptions(s, who) + [initial(s, a, None) for a in who])
    for conjunct, (agents, places, f) in INVARIANT.items():
        proof.claim(conjunct, f(s, *[u][:agents], *[i, j][:places]))
    who, hypothesis = instances([u, v], [])
    product = Implies(
        s.ahead(u) - s.place(u) - s.resets(u) >= 0, (s.ahead(u) - s.place(u) - s.resets(u)) * s.B >= 0
    )  # arithmetic, as a hint
    proof.given("goals", hypothesis + [product])
    for name, (agents, _, f) in GOALS.items():
        proof.claim(name, f(s, *[u, v][:agents]))
    proof.claim("nobody_is_stuck", Implies(And(*[blocked(s, a) for a in who]), nobody_is_stuck(s, u)))
    unpolled = And(*[among(s.pc(a), IDLE, HOLD, PARK) for a in who])
    proof.claim("nobody_is_stuck_if_the_called_are_not_polled", Implies(unpolled, Not(turn_has_come(s))))
    if proof.follows(s.free == s.total)[0] != z3.sat:
        proof.contradictory.append("goals (they prove what is wrong)")
    return proof


def text(step):
    """All that a step is, to compare it by."""
    guard, n = step(s, t, k)
    fields = (
        [getattr(n, f) for f in VARIABLES]
        + [getattr(n, f)(u) for f in PER_AGENT]
        + [getattr(n, f)(i) for f in PER_PLACE]
    )
    return str([z3.simplify(x).sexpr() if z3.is_expr(x) else x for x in [guard, *fields, n.batch(u, i)]])


def check_bugs(names):
    failures, right = 0, {name: text(step) for name, step in transitions().items()}
    for bug in names:
        changed = [
            name for name, step in transitions(bug).items() if text(step) != right.get(name)
        ]  # the others are proved already
        unproved = prove(bug, only=changed, timeout=20_000, check_hypotheses=False).unproved
        harmless = bug in VARIANTS
        failures += bool(unproved) == harmless
        print(
            f"{bug:56} "
            + (
                "proved"
                if not unproved
                else "breaks " + ", ".join(f"{a}: {b}" for a, b, _, _ in unproved[:3])
            ),
            flush=True,
        )
    print(f"{len(names)} planted bugs and variants, {failures} with another outcome than expected")
    return failures


if __name__ == "__main__":
    words = [a for a in sys.argv[1:] if not a.startswith("-")]
    if words[:1] == ["bugs"]:
        sys.exit(check_bugs(words[1:] or BUGS + VARIANTS) > 0)
    steering = ghosts_that_steer()
    proof = prove(only=words)
    print(
        f"{len(transitions())} steps, {len(LOCATIONS) - 1} locations, {len(INVARIANT)} conjuncts, {len(GOALS) + len(STEP_GOALS) + len(CHANGE_GOALS) + 3} goals"
    )
    print(
        f"{proof.asked} queries, {proof.asked - len(proof.unproved)} proved, {time.time() - proof.began:.0f} s, "
        f"slowest {proof.slowest[0]:.1f} s ({proof.slowest[1]})"
    )
    for step, claim, answer, model in proof.unproved:
        print(f"    NOT PROVED {step}: {claim} ({answer})")
    for name in proof.contradictory:
        print(f"    CONTRADICTORY HYPOTHESES {name}")
    for what in steering:
        print("    A GHOST STEERS", what)
    if "-m" in sys.argv and proof.unproved:
        print(proof.unproved[0][3])
    sys.exit(bool(proof.unproved or proof.contradictory or steering))
