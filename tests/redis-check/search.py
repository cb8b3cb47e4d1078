"""The search: every order, delay, duplicate and loss of messages, breadth first, over the scripts as they ship.

A state is (tick, database, ghost, budgets, then what each client is and has under way), all but the tick numbered once and
for all. So what can follow is worked out once for each part, not for each state, and the scripts run once for each database
and message. What makes no difference any more is left out of a state: when a release was sent, an answer that changes
nothing, a validity that is over. Clients with the same attempts are interchangeable: of the states that differ by their
names only, one is looked at. So in a trace the names may change from one line to the next."""
import sys, time, os, re, gc, collections, itertools
from fake import Fake
HERE = os.path.dirname(os.path.abspath(__file__))
TICK_MS, BASE_US = 20000, 1_700_000_000_000_000
TTL, WAITER, DELAY = 40000, 30000, 30000                     # ms: lease 2 ticks, dead waiter after 2 ticks, stamp good for 1 tick

def rd(name): return open(os.path.join(HERE, '..', '..', 'src', 'redis', 'scripts', name + '.lua')).read()
def sources(patch=()):
    """The scripts as the crate puts them together, with these changes: (script, old text, new text)."""
    q = rd('_queue')
    src = {n: (q if n in ('acquire', 'acquire_all', 'release', 'sweep') else '') + rd(n) for n in ('acquire', 'acquire_all', 'release', 'extend', 'status', 'sweep')}
    for name, old, new in patch:
        assert old in src[name], (name, old)
        src[name] = src[name].replace(old, new)
    return src

class Violation(Exception): pass

class Numbers(dict):
    """Things and their numbers."""
    def __init__(self): self.all = []
    def __missing__(self, x):
        self[x] = n = len(self.all)
        self.all.append(x)
        return n

class Once(dict):
    """A function's answers, worked out once each."""
    def __init__(self, f): self.f = f
    def __missing__(self, x):
        r = self[x] = self.f(x)
        return r

# What a client is, and what it has under way. phase: i idle, a acquiring, h held.
# msgs: (attempt, stamp, kind, sent at tick, 1 if it was delivered before)   replies: (attempt, kind, 1 yes 0 no -1 over, valid until ms)
Client = collections.namedtuple('Client', 'idx phase stamp valid polls exts msgs replies')
Budget = collections.namedtuple('Budget', 'dups flush sweeps')

class Search:
    """What is searched says: ghost (the first one), effect (what a message does), sweep, check, waits, ends (what ends an
    attempt), flushed (the ghost after a FLUSHALL)."""
    def __init__(self, attempts, patch=(), horizon=4, dups=1, polls=1, exts=0, flush=0, sweeps=0, checks=None, delay=DELAY, B=1, GRACE=0, FORGET=60_000_000):
        self.cl = sorted(attempts)
        self.attempts = [tuple(attempts[c]) for c in self.cl]
        self.horizon, self.polls, self.exts, self.checks, self.delay = horizon, polls, exts, checks, delay
        self.B, self.GRACE, self.FORGET = B, GRACE, FORGET   # FORGET: us after its stamp until a lane may be forgotten, as patched
        self.budget = Budget(dups, flush, sweeps)
        self.fake = Fake()
        for n, src in sources(patch).items(): self.fake.load(n, src)
        self.dbs, self.ghosts, self.clients, self.budgets = [], Numbers(), Numbers(), Numbers()
        self.dbid, self.ran = {}, {}
        self.scripts = self.edges = 0
        self.like = [self.attempts.index(a) for a in self.attempts]      # the first client with the same attempts
        per = lambda f: Once(lambda k: Once(lambda n: f(*k, n)))
        self.tick, self.move, self.alone, self.told = per(self.later), per(self.moves), per(self.without_copies), per(self.answered)
        self.arriving, self.happening, self.sweeping = per(self.deliveries), per(self.outcome), Once(self.swept)
        self.messages, self.replies = Numbers(), Numbers()
        self.belief, self.verdict = Once(self.believing), Once(self.checked)
        # What puts equal clients into another order.
        groups = [[i for i, l in enumerate(self.like) if l == first] for first in sorted(set(self.like))]
        self.perms = []
        for parts in itertools.product(*map(itertools.permutations, groups)):
            perm = dict(zip(sum(groups, []), sum(map(list, parts), [])))
            self.perms.append([perm[i] for i in range(len(self.cl))])
        self.order = Once(self.ordered)
        self.dbs_as, self.ghosts_as = [[Once(lambda n, p=p, f=f: f(p, n)) for p in self.perms] for f in (self.renamed_db, self.renamed_ghost)]
    def us(self, T): return BASE_US + T * TICK_MS * 1000
    def ms(self, T): return self.us(T) // 1000
    def fail(self, prop, why):
        if self.checks is None or prop in self.checks: raise Violation(prop + ': ' + why)

    # ---- the database ----
    def intern(self, db, exp):
        fz = tuple(sorted((k, tuple(sorted(v.items()))) for k, v in db.items())) + (('!', tuple(sorted(exp.items()))),)
        i = self.dbid.get(fz)
        if i is None:
            i = self.dbid[fz] = len(self.dbs)
            self.dbs.append(dict({k: dict(v) for k, v in db.items()}, exp=dict(exp)))
        return i
    def execute(self, db, T, name, keys, argv):
        k = (db, T, name, keys, argv)
        r = self.ran.get(k)
        if r is None:
            d = self.dbs[db]
            self.fake.exp = dict(d['exp'])
            self.fake.db = {k2: dict(v) for k2, v in d.items() if k2 != 'exp'}
            rep = self.fake.run(name, keys, argv, self.us(T))
            r = self.ran[k] = (self.intern(self.fake.db, self.fake.exp), rep, tuple(self.fake.pub))
            self.scripts += 1
        return r

    # ---- one client ----
    def settled(self, who, T, c):
        """Without what makes no difference any more."""
        att, ms = self.attempts[who], self.ms(T)
        idx, phase, stamp, valid, polls, exts, msgs, replies = c
        if valid <= ms: valid = 0
        if phase != 'a': polls = 0
        if phase != 'h': valid = exts = 0
        if phase == 'i' and (idx == len(att) or stamp < self.us(T) + self.delay * 1000): stamp = 0
        def matters(r):
            if r[0] != idx or phase == 'i': return False
            if phase == 'h': return r[2] == 1 and r[3] > valid
            return r[2] != 0 or not self.waits(att[idx])
        replies = {(i, kind, ok, v if v > ms else 0) for i, kind, ok, v in replies}
        msgs = [(i, s, kind, t if i == idx and phase != 'i' and kind[0] != 'rel' else 0, n) for i, s, kind, t, n in msgs]
        return Client(idx, phase, stamp, valid, polls, exts, tuple(sorted(msgs)), tuple(sorted(filter(matters, replies))))
    def number(self, who, T, c): return self.clients[self.settled(who, T, c)]
    def moves(self, who, T, n):
        """What the client can do by itself: (what, the client then)."""
        att, c, out = self.attempts[who], self.clients.all[n], []
        def to(what, c): out.append((what, self.number(who, T, c)))
        def send(c, *kinds): return c.msgs + tuple((c.idx, c.stamp, kind, T, 0) for kind in kinds)
        if c.phase == 'i' and c.idx < len(att):
            c2 = c._replace(phase='a', stamp=max(c.stamp + 1, self.us(T) + self.delay * 1000), polls=self.polls)
            to(('send', c.idx, 'acquire', att[c.idx]), c2._replace(msgs=send(c2, ('acq', self.waits(att[c.idx])))))
        if c.phase in 'ah':
            ended = c._replace(idx=c.idx + 1, phase='i', msgs=send(c, *self.ends(att[c.idx])))
            to(('send', c.idx, 'release' if c.phase == 'h' else 'cancel'), ended)
            if c.phase == 'a' and c.polls:
                to(('send', c.idx, 'acquire again'), c._replace(polls=c.polls - 1, msgs=send(c, ('acq', self.waits(att[c.idx])))))
            if c.phase == 'h' and c.exts < self.exts and self.ms(T) < c.valid:
                for mode in 'as':
                    to(('send', c.idx, 'extend', c.exts + 1, mode), c._replace(exts=c.exts + 1, msgs=send(c, ('ext', c.exts + 1, mode))))
        for r in c.replies:
            idx, kind, ok, valid = r
            rest = c._replace(replies=tuple(x for x in c.replies if x != r))
            if ok == 1: c2 = rest._replace(phase='h', valid=max(c.valid, valid))
            else:                                             # refused, or over: of several names it may still hold some
                c2 = rest._replace(idx=c.idx + 1, phase='i')
                if ok < 0 and len(self.ends(att[idx])) > 1: c2 = c2._replace(msgs=send(c, *self.ends(att[idx])))
            to(('reply', idx, kind, {1: 'yes', 0: 'no', -1: 'over'}[ok], valid), c2)
        return out
    def deliveries(self, who, T, dups, n):
        """What can arrive: (its number, when it was sent, whether again, whether it is waited for, the client then)."""
        c, out = self.clients.all[n], []
        for m in sorted(set(c.msgs)):
            idx, stamp, kind, sent, again = m
            if again and not dups: continue
            msgs = list(c.msgs); msgs.remove(m)
            if again == 0 and dups: msgs.append(m[:4] + (1,))
            if dups - again == 0: msgs = [x for x in msgs if x[4] == 0]
            awaited = kind[0] != 'rel' and c.idx == idx and c.phase in 'ah'
            number = self.messages[who, idx, stamp, kind, c.idx > idx + (c.phase == 'i')]
            out.append((number, sent, again, awaited, self.number(who, T, c._replace(msgs=tuple(msgs)))))
        return out
    def answered(self, who, T, k):
        """The client when this reply to what it sent at that time is under way."""
        n, sent, reply = k
        c, (kind, ok, left) = self.clients.all[n], self.replies.all[reply]
        reply = (c.idx, kind, ok, self.ms(sent) + left if ok == 1 else 0)
        return self.number(who, T, c._replace(replies=c.replies + (reply,)))
    def later(self, who, T, n): return self.number(who, T + 1, self.clients.all[n])
    def without_copies(self, who, T, n):
        c = self.clients.all[n]
        return self.number(who, T, c._replace(msgs=tuple(x for x in c.msgs if x[4] == 0)))
    def believing(self, n):
        c = self.clients.all[n]
        return c.idx if c.phase == 'h' and c.valid else -1     # validity that is over is 0

    # ---- all of them ----
    def initial(self):
        idle = Client(0, 'i', 0, 0, 0, 0, (), ())
        clients = [self.number(i, 0, idle) for i in range(len(self.cl))]
        return (0, self.intern({}, {}), self.ghosts[self.ghost()], self.budgets[self.budget], *clients)
    def outcome(self, db, T, g, message):
        """(what happened, database, ghost, reply) or (what happened, violation)."""
        who, idx, stamp, kind, later = self.messages.all[message]
        try:
            what, db2, ghost, reply = self.effect(db, T, self.ghosts.all[g], who, idx, stamp, kind, later)
            return what, db2, self.ghosts[ghost], reply and self.replies[(kind[0],) + reply]
        except Violation as e: return ('deliver', idx, kind), e
    def swept(self, k):
        db, T, g = k
        try:
            what, db2, ghost = self.sweep(db, T, self.ghosts.all[g])
            return what, db2, self.ghosts[ghost]
        except Violation as e: return ('sweep',), e
    def checked(self, k):
        T, db, g, *who = k
        try: self.check(db, T, self.ghosts.all[g], [(i, idx) for i, idx in enumerate(who) if idx >= 0])
        except Violation as e: return e
    def succ(self, st):
        """(who, what happens, the state then or a violation) for all that can happen next."""
        T, db, g, b, *cs = st
        out, budget, canonical = [], self.budgets.all[b], self.canonical
        def put(who, what, *st): out.append((who, what, canonical(st)))
        if T < self.horizon:
            then = [self.tick[like, T][n] for like, n in zip(self.like, cs)]
            put('', ('tick', T + 1), T + 1, db, g, b, *then)
            if budget.flush: put('', ('FLUSHALL',), T + 1, self.intern({}, {}), self.ghosts[self.flushed(self.ghosts.all[g])], self.budgets[budget._replace(flush=budget.flush - 1)], *then)
        if budget.sweeps:
            what, *r = self.sweeping[db, T, g]
            if len(r) == 1: out.append(('', what, r[0]))
            else: put('', what, T, *r, self.budgets[budget._replace(sweeps=budget.sweeps - 1)], *cs)
        happening = self.happening[db, T, g]
        for i, n in enumerate(cs):
            like, before, after = self.like[i], cs[:i], cs[i + 1:]
            told = self.told[like, T]
            for what, n2 in self.move[like, T][n]: put(i, what, T, db, g, b, *before, n2, *after)
            for message, sent, again, awaited, n2 in self.arriving[i, T, budget.dups][n]:
                what, *r = happening[message]
                if len(r) == 1: out.append((i, what, r[0])); continue
                db2, g2, reply = r
                if awaited: n2 = told[n2, sent, reply]
                if not again: put(i, what, T, db2, g2, b, *before, n2, *after)
                else:
                    clients = [*before, n2, *after]
                    if budget.dups == 1: clients = [self.alone[like, T][x] for like, x in zip(self.like, clients)]
                    put(i, what + ('again',), T, db2, g2, self.budgets[budget._replace(dups=budget.dups - 1)], *clients)
        return out
    def ordered(self, cs):
        """The least order of these clients, and the numbers of the permutations that lead to it."""
        key = lambda p: tuple(cs[i] for i in self.perms[p])
        best = min(map(key, range(len(self.perms))))
        return best, [p for p in range(len(self.perms)) if key(p) == best]
    def canonical(self, st):
        """The one of the states that differ by names only."""
        if len(self.perms) == 1: return st
        cs, perms = self.order[st[4:]]
        _, db, g, b = st[:4]
        if len(perms) == 1:
            if perms[0]: db, g = self.dbs_as[perms[0]][db], self.ghosts_as[perms[0]][g]
        else: db, g = min((self.dbs_as[p][db], self.ghosts_as[p][g]) for p in perms)
        return (st[0], db, g, b) + cs
    def renamed(self, perm, x):
        to = {self.cl[frm]: self.cl[i] for i, frm in enumerate(perm)}
        def deep(x):
            if isinstance(x, str): return re.sub('(tok|lane|ch|own)([A-Z])', lambda m: m[1] + to[m[2]], x)
            if isinstance(x, dict): return {deep(k): deep(v) for k, v in x.items()}
            if isinstance(x, frozenset): return frozenset(map(deep, x))
            if isinstance(x, tuple): return getattr(x, '_make', tuple)(map(deep, x))
            return x
        return deep(x)
    def renamed_db(self, perm, n):
        d = self.renamed(perm, self.dbs[n])
        return self.intern({k: v for k, v in d.items() if k != 'exp'}, d['exp'])
    def renamed_ghost(self, perm, n): return self.ghosts[self.renamed(perm, self.ghosts.all[n])]
    def explore(self, seconds=600):
        gc.disable()                           # there are no circles, and it looks at millions of tuples again and again
        t0, init = time.process_time(), self.initial()
        before, q, n = {init: None}, collections.deque([init]), 0
        def result(**kw): return dict(states=n, s=time.process_time() - t0, **kw)
        while q:
            st = q.popleft(); n += 1
            if n % 20000 == 0 and time.process_time() - t0 > seconds: return result(complete=False, queue=len(q))
            bad = self.verdict[st[:3] + tuple([self.belief[c] for c in st[4:]])]
            if bad: return result(violation=str(bad), trace=self.trace(before, st))
            edges = self.succ(st)
            self.edges += len(edges)
            for who, what, nx in edges:
                if type(nx) is not tuple: return result(violation=str(nx), trace=self.trace(before, st) + [(who, what)])
                if nx not in before: before[nx] = st; q.append(nx)
        return result(complete=True)
    def trace(self, before, st):
        out = []
        while before[st] is not None:
            out.append(next((who, what) for who, what, nx in self.succ(before[st]) if nx == st))
            st = before[st]
        return out[::-1]

def diff(a, b): return {k: (a.get(k), b.get(k)) for k in set(a) | set(b) if a.get(k) != b.get(k)}

def show(tag, r, m):
    s = 'OK complete' if r.get('complete') else 'VIOLATION ' + r['violation'] if 'violation' in r else 'CUT (no violation so far)'
    print('%-44s %s  states %d edges %d scripts %d  %.1f s' % (tag, s, r['states'], m.edges, m.scripts, r['s']), flush=True)
    if 'violation' in r and '-v' in sys.argv:
        for who, what in r['trace']: print('      ', '' if who == '' else m.cl[who], *what)
