"""Explicit-state exploration of the real Lua against an adversarial network. See main() for the configurations.
A state: (tick, db, clients, messages, replies, ghost, budgets). Every order, delay, duplicate and loss of messages is explored."""
import sys, time, os, collections
from fake import Fake
HERE = os.path.dirname(os.path.abspath(__file__))
TICK_MS, BASE_US = 20000, 1_700_000_000_000_000
TTL, WAITER, DELAY = 40000, 30000, 30000                     # ms: lease 2 ticks, dead waiter after 2 ticks, stamp good for 1 tick

def rd(name): return open(os.path.join(HERE, '..', '..', 'src', 'redis', 'scripts', name + '.lua')).read()
def sources():
    """The scripts as the crate puts them together."""
    q = rd('_queue')
    return {'acquire': q + rd('acquire'), 'acquire_all': q + rd('acquire_all'), 'release': q + rd('release'), 'extend': rd('extend'), 'status': rd('status'), 'sweep': q + rd('sweep')}

class Locks:
    """How the checker speaks to the scripts, and reads its state."""
    B = 1; GRACE = 0; FORGET = 60_000_000      # us after its stamp until a lane may be forgotten, as patched
    def __init__(self, patch=None, **kw):
        self.src = sources()
        for name, old, new in patch or []:
            assert old in self.src[name], (name, old)
            self.src[name] = self.src[name].replace(old, new)
        self.__dict__.update(kw)
    def call(self, kind, tok, now_us):
        if kind[0] == 'sweep': return 'sweep', ('H', 'Q', 'W'), ()
        c, i, stamp = tok
        t, lane = 'tok%s%d' % (c, i), 'lane' + c
        if kind[0] == 'acq':
            waiting = '%d %d ch%s' % (self.B, WAITER if kind[1] else 0, c)
            return 'acquire', ('H', 'Q', 'W'), (t, lane, stamp, TTL + self.GRACE, '%d %d %s' % (self.GRACE, TTL, c), waiting)
        if kind[0] == 'rel': return 'release', ('H', 'Q', 'W'), (t, lane, stamp)
        if kind[0] == 'ext': return 'extend', ('H',), (t, 10000 if kind[2] == 'a' else TTL + self.GRACE, kind[2], kind[1])
    def holder(self, db, ms):                  # (token string, lease end)
        h = db.get('H', {})
        x = int(h.get('x', 0))
        return (h['t'], x) if x > ms else None
    def fence(self, db): return int(db.get('H', {}).get('n', 0))
    def head(self, db, ms):                    # first live waiter, and whether dead ones stand before it
        w = db.get('W', {}); dead = False
        for m, _ in sorted(db.get('Q', {}).items(), key=lambda x: x[1]):
            if int(w.get(m, '0').split()[0]) > ms: return m, dead
            dead = True
        return None, dead
    def queued(self, db, t): return t in db.get('Q', {})
    def granted(self, r): return r[0] == 1
    def left(self, r): return r[2]
    def fence_of(self, r): return r[1]
    def over(self, r): return r[0] < 0
    def strip(self, db):                       # liveness deadlines do not count for idempotence
        return {k: (sorted(v) if k == 'W' else dict(v)) for k, v in db.items()}
    def relcode(self, r): return r[0]

ACQ = {'w': ('acq', True), 't': ('acq', False)}

class Violation(Exception): pass

class Model:
    def __init__(self, api, attempts, horizon=4, dups=1, polls=1, exts=0, flush=0, sweeps=0, checks=None, delay=DELAY):
        self.delay = delay
        # attempts: {'A': ['w','t'], ...}: w waits in the queue, t tries
        self.api, self.attempts, self.cl = api, attempts, sorted(attempts)
        self.horizon, self.dups, self.polls, self.exts, self.flush, self.sweeps = horizon, dups, polls, exts, flush, sweeps
        self.checks = checks
        self.fake = Fake()
        for n, src in api.src.items(): self.fake.load(n, src)
        self.dbs, self.dbid, self.memo = [], {}, {}
        self.stats = collections.Counter()
    def us(self, T): return BASE_US + T * TICK_MS * 1000
    def ms(self, T): return self.us(T) // 1000
    def intern(self, db, exp):
        fz = tuple(sorted((k, tuple(sorted(v.items()))) for k, v in db.items())) + (('!', tuple(sorted(exp.items()))),)
        i = self.dbid.get(fz)
        if i is None:
            i = self.dbid[fz] = len(self.dbs)
            d = {k: dict(v) for k, v in db.items()}
            d['exp'] = dict(exp)
            self.dbs.append(d)
        return i
    def execute(self, db, T, name, keys, argv):
        k = (db, T, name, argv)
        r = self.memo.get(k)
        if r is None:
            d = self.dbs[db]
            self.fake.exp = dict(d['exp'])
            self.fake.db = {k2: dict(v) for k2, v in d.items() if k2 != 'exp'}
            rep = self.fake.run(name, keys, argv, self.us(T))
            r = self.memo[k] = (self.intern(self.fake.db, self.fake.exp), rep, tuple(self.fake.pub))
            self.stats['scripts'] += 1
        return r
    def fail(self, prop, why):
        if self.checks is None or prop in self.checks: raise Violation(prop + ': ' + why)
    # client: (attempt index, phase, stamp, valid_until, polls left, exts used)   phase i idle, a acquiring, h held
    def initial(self):
        cl = tuple((0, 'i', 0, 0, 0, 0) for _ in self.cl)
        g = (frozenset(), frozenset(), 0, (None, 0), frozenset(), frozenset(), frozenset())
        return (0, self.intern({}, {}), cl, (), (), g, (self.dups, self.flush))
    # ghost: fin(applied), granted, lastfence, (head, overtaken), told, ext applied, lost(expired and superseded... computed)
    def succ(self, st):
        T, db, cl, msgs, reps, g, (dups, fl) = st
        out = []
        if T < self.horizon:
            out.append((('tick', T + 1), (T + 1, db, cl, msgs, reps, g, (dups, fl))))
            if fl:
                g2 = (frozenset(), frozenset(), g[2], (None, 0), frozenset(), frozenset(), g[6] | {'FLUSHED'})
                out.append((('FLUSHALL',), (T + 1, self.intern({}, {}), cl, msgs, reps, g2, (dups, fl - 1))))
        if sum(x[0] == 'swept' for x in g[6]) < self.sweeps: out.append(self.sweep(st))
        for ci, name in enumerate(self.cl):
            idx, ph, stamp, valid, polls, exts = cl[ci]
            def setc(c, msgs2=msgs, reps2=reps): return (T, db, cl[:ci] + (c,) + cl[ci + 1:], msgs2, reps2, g, (dups, fl))
            if ph == 'i' and idx < len(self.attempts[name]):
                sp = max(stamp + 1, self.us(T) + self.delay * 1000)
                kind = self.attempts[name][idx]
                m = (ci, idx, sp, ACQ[kind], T, 0)
                out.append((('send', name, idx, 'acquire', kind), setc((idx, 'a', sp, 0, self.polls, 0), self.addm(msgs, m))))
            if ph in 'ah':
                tok = (ci, idx, stamp)
                drop = tuple(r for r in reps if not (r[0] == ci))
                m = (ci, idx, stamp, ('rel',), T, 0)
                out.append((('send', name, idx, 'release' if ph == 'h' else 'cancel'),
                            setc((idx + 1, 'i', stamp, 0, 0, 0), self.addm(msgs, m), drop)))
                if ph == 'a' and polls:
                    m = (ci, idx, stamp, ACQ[self.attempts[name][idx]], T, 0)
                    out.append((('send', name, idx, 'acquire again'), setc((idx, 'a', stamp, 0, polls - 1, exts), self.addm(msgs, m))))
                if ph == 'h' and exts < self.exts and self.ms(T) < valid:
                    for mode in ('a', 's'):
                        m = (ci, idx, stamp, ('ext', exts + 1, mode), T, 0)
                        out.append((('send', name, idx, 'extend', exts + 1, mode), setc((idx, 'h', stamp, valid, polls, exts + 1), self.addm(msgs, m))))
        for mi, m in enumerate(msgs):
            if m[5] == 0 or (dups and m[5] == 1):
                out.append(self.deliver(st, mi))
        for ri, r in enumerate(reps):
            ci, idx, t_send, kind, ok, left = r
            c = cl[ci]
            rest = reps[:ri] + reps[ri + 1:]
            if kind == 'acq':
                if ok == 1:
                    v = max(c[3], self.ms(t_send) + left)
                    c2 = (c[0], 'h', c[2], v, c[4], c[5])
                elif ok == 0: c2 = c if c[1] == 'h' or self.attempts[self.cl[ci]][idx] in 'wM' else (idx + 1, 'i', c[2], 0, 0, 0)
                else: c2 = c if c[1] == 'h' else (idx + 1, 'i', c[2], 0, 0, 0)
            else: c2 = (c[0], c[1], c[2], max(c[3], self.ms(t_send) + left), c[4], c[5]) if ok == 1 else c
            rest = tuple(x for x in rest if x[0] != ci or x[1] == c2[0])
            out.append((('reply', self.cl[ci], idx, kind, 'yes' if ok == 1 else 'no' if ok == 0 else 'over', left),
                        (T, db, cl[:ci] + (c2,) + cl[ci + 1:], msgs, rest, g, (dups, fl))))
        return out
    def sweep(self, st):
        """Somebody cleans up: it must change nothing that counts."""
        T, db, cl, msgs, reps, g, budgets = st
        api, ms = self.api, self.ms(T)
        name, keys, argv = api.call(('sweep',), None, self.us(T))
        db2, rep, pub = self.execute(db, T, name, keys, argv)
        D, D2 = self.dbs[db], self.dbs[db2]
        desc = ('sweep', rep)
        live = lambda d: sorted(m for m in d.get('Q', {}) if int(d.get('W', {}).get(m, '0').split()[0]) > ms)
        try:
            if api.holder(D, ms) != api.holder(D2, ms): self.fail('ME', 'a lease was swept')
            if live(D) != live(D2): self.fail('SWEEP', 'a live waiter was swept')
            if api.head(D2, ms)[1]: self.fail('SWEEP', 'a dead head was left')
            head = api.head(D2, ms)[0]
            if not api.holder(D2, ms) and head and api_raw(api, D) != api_raw(api, D2) and not any(p[1] == head for p in pub):
                self.fail('LV', 'lock free, new head %s not told' % head)
            db3, rep3, pub3 = self.execute(db2, T, name, keys, argv)
            if db3 != db2 or rep3[:3] != [0, 0, 0] or pub3: self.fail('IDEM', 'a second sweep did %s' % (rep3,))
        except Violation as e: return desc, e
        fin, granted, last, over, told, ext, flags = g
        told = frozenset(t for t in told | {p[1] for p in pub} if api.queued(D2, t))
        if over[0] and not api.queued(D2, over[0]): over = (None, 0)
        flags = flags | {('swept', sum(x[0] == 'swept' for x in flags))}
        return desc, (T, db2, cl, msgs, reps, (fin, granted, last, over, told, ext, flags), budgets)
    def addm(self, msgs, m): return tuple(sorted(msgs + (m,), key=repr))
    def deliver(self, st, mi):
        T, db, cl, msgs, reps, g, (dups, fl) = st
        api = self.api
        ci, idx, stamp, kind, t_send, n = m = msgs[mi]
        name = self.cl[ci]
        tok = 'tok%s%d' % (name, idx)
        ms = self.ms(T)
        sname, keys, argv = api.call(kind, (name, idx, stamp), self.us(T))
        db2, rep, pub = self.execute(db, T, sname, keys, argv)
        D, D2 = self.dbs[db], self.dbs[db2]
        fin, granted, last, over, told, ext, flags = g
        flushed = 'FLUSHED' in flags
        h0, h1 = api.holder(D, ms), api.holder(D2, ms)
        head0, dead0 = api.head(D, ms)
        head1, _ = api.head(D2, ms)
        desc = ('deliver', name, idx, kind, 'dup' if n else '', rep)
        try:
            if kind[0] == 'acq':
                new = h1 and h1[0] == tok and not (h0 and h0[0] == tok)
                if new:
                    if h0: self.fail('ME', 'granted while held')
                    if not flushed:
                        if ('no', tok) in flags: self.fail('GHOST', 'granted after it was refused for good')
                        if tok in fin: self.fail('GHOST', 'granted after its release or cancel was applied')
                        if tok in granted: self.fail('GHOST', 'granted twice')
                        if self.us(T) > stamp and not api.queued(D, tok): self.fail('GHOST', 'granted after its stamp')
                    f = api.fence(D2)
                    if f <= last: self.fail('FM', 'fence %d after %d' % (f, last))
                    last = f
                    if head0 and head0 != tok:
                        cnt = (over[1] if over[0] == head0 else 0) + 1
                        over = (head0, cnt)
                        if cnt > api.B: self.fail('BY', 'head overtaken %d times' % cnt)
                    granted = granted | {tok}
                told = told - {tok}
                if api.granted(rep) and not (h1 and h1[0] == tok): self.fail('REPLY', 'yes but not holder')
                if api.granted(rep) and not new and last and len(self.cl) == 1 and int(self.api.fence_of(rep)) != last: self.fail('IDEM', 'resend answered another fence')
                if not api.granted(rep) and h1 and h1[0] == tok: self.fail('REPLY', 'no but holder')
            if kind[0] == 'rel':
                if h0 and h0[0] != tok and h1 != h0: self.fail('ME', 'release freed another')
                if h1 and h1[0] == tok: self.fail('GHOST', 'still held after release')
                if not flushed and self.checks is None or self.checks and 'CODE' in self.checks:
                    code = api.relcode(rep)
                    swept = any(x[0] == 'swept' for x in flags)
                    forgotten = swept or stamp + api.FORGET < self.us(T)
                    if tok in fin: want = (2, -2) if tok in granted and ('last', tok) not in flags else (2,)
                    elif tok in granted:
                        if h0 and h0[0] == tok: want = (1,)
                        elif ('last', tok) in flags: want = (-1, 3) if swept else (-1,)
                        else: want = (-2, -3, 3) if swept else (-2, -3) if forgotten else (-2,)
                        if cl[ci][0] > idx + (cl[ci][1] == 'i'): want += (2,)    # a later attempt of the lane may have moved the mark
                    else: want = (3, -3, 2)
                    if tok in fin and forgotten: want += (3, -3)
                    if code not in want: self.fail('CODE', 'release said %s, expected %s' % (code, want))
                fin = fin | {tok}
            if kind[0] == 'acq' and new:
                flags = frozenset(x for x in flags if x[0] != 'last') | {('last', tok)}
            if kind[0] == 'acq' and not kind[1] and rep[0] == 0: flags = flags | {('no', tok)}
            if kind[0] == 'ext' and h1 and not h0: self.fail('GHOST', 'extension revived a lease that had ended')
            if kind[0] == 'ext' and h0 and h1 and h1[1] != h0[1]:
                if h0[0] != tok: self.fail('ME', 'extended another')
                if (tok, kind[1]) in ext: self.fail('IDEM', 'extension %d applied twice' % kind[1])
                if any(t == tok and q > kind[1] for t, q in ext): self.fail('IDEM', 'old extension applied')
                ext = ext | {(tok, kind[1])}
            if h0 and h1 and h0[0] == h1[0] and h1[1] < h0[1]: self.fail('SHORT', 'lease shortened by %s' % (kind,))
            if h0 and not h1 and not (kind[0] == 'rel' and h0[0] == tok): self.fail('ME', 'lease ended by a stranger')
            # rule D
            if not h1 and head1 and (h0 or api_raw(api, D) != api_raw(api, D2)) and not (kind[0] == 'acq' and head1 == tok):
                if not any(p[1] == head1 for p in pub): self.fail('LV', 'lock free, new head %s not told' % head1)
            for p in pub: told = told | {p[1]}
            # the same message once more, at once
            db3, rep3, _ = self.execute(db2, T, sname, keys, argv)
            if db3 != db2 and api.strip(self.dbs[db3]) != api.strip(D2): self.fail('IDEM', 'repeat changed %s' % (diff(api.strip(D2), api.strip(self.dbs[db3])),))
            if kind[0] == 'acq' and api.granted(rep) and (not api.granted(rep3) or self.api.fence_of(rep3) != self.api.fence_of(rep)): self.fail('IDEM', 'repeat answered %s' % (rep3,))
            if kind[0] == 'acq' and not api.granted(rep) and api.granted(rep3): self.fail('IDEM', 'repeat granted')
        except Violation as e:
            return desc, e
        msgs2 = msgs[:mi] + msgs[mi + 1:]
        dups2 = dups - (n == 1)
        if n == 0 and dups2: msgs2 = self.addm(msgs2, m[:5] + (1,))
        if dups2 == 0: msgs2 = tuple(x for x in msgs2 if x[5] == 0)
        reps2 = reps
        if kind[0] != 'rel' and cl[ci][0] == idx and cl[ci][1] in 'ah':
            if kind[0] == 'acq': r = (ci, idx, t_send, 'acq', 1 if api.granted(rep) else -1 if api.over(rep) else 0, api.left(rep) - api.GRACE if api.granted(rep) else 0)
            else:
                l = rep[0] - api.GRACE
                r = (ci, idx, t_send, 'ext', 1 if l > 0 else -1, l)
            if r not in reps: reps2 = tuple(sorted(reps + (r,), key=repr))
        told = frozenset(t for t in told if api.queued(D2, t))
        if over[0] and not api.queued(D2, over[0]): over = (None, 0)
        return desc, (T, db2, cl, msgs2, reps2, (fin, granted, last, over, told, ext, flags), (dups2, fl))
    def check(self, st):
        T, db, cl, msgs, reps, g, _ = st
        ms = self.ms(T)
        if 'FLUSHED' not in g[6]:
            v = [self.cl[i] for i, c in enumerate(cl) if c[1] == 'h' and c[3] > ms]
            if len(v) > 1: self.fail('ME', 'two believe they hold: %s' % v)
            h = self.api.holder(self.dbs[db], ms)
            if h and h[0] in g[0]: self.fail('GHOST', 'held by a finished attempt')
            for i, c in enumerate(cl):
                if c[1] == 'h' and c[3] > ms and (not h or h[0] != 'tok%s%d' % (self.cl[i], c[0])): self.fail('ME', '%s believes, server disagrees' % self.cl[i])
    def explore(self, limit=10**7, seconds=600):
        t0 = time.time()
        init = self.initial()
        seen = {hash(init)}
        parent = {}
        q = collections.deque([init])
        n = 0
        while q:
            st = q.popleft(); n += 1
            hs = hash(st)
            if n % 20000 == 0 and (time.time() - t0 > seconds or n > limit):
                return dict(complete=False, states=n, queue=len(q), s=time.time() - t0)
            try: self.check(st)
            except Violation as e: return dict(violation=str(e), states=n, trace=self.trace(parent, hs), s=time.time() - t0)
            for act, nx in self.succ(st):
                self.stats['edges'] += 1
                if isinstance(nx, Violation):
                    return dict(violation=str(nx), states=n, trace=self.trace(parent, hs) + [act], s=time.time() - t0)
                h = hash(nx)
                if h not in seen:
                    seen.add(h); q.append(nx); parent[h] = (hs, act)
        return dict(complete=True, states=n, s=time.time() - t0)
    def trace(self, parent, h):
        out = []
        while h in parent: h, a = parent[h]; out.append(a)
        return out[::-1]

def api_raw(api, D):                           # the head as the queue stood, dead or alive
    q = sorted(D.get('Q', {}).items(), key=lambda x: x[1])
    return q[0][0] if q else None
def diff(a, b):
    return {k: (a.get(k), b.get(k)) for k in set(a) | set(b) if a.get(k) != b.get(k)}

def show(tag, r, m):
    s = 'OK complete' if r.get('complete') else 'VIOLATION ' + r['violation'] if 'violation' in r else 'CUT (no violation so far)'
    print('%-44s %s  states %d edges %d scripts %d  %.1f s' % (tag, s, r['states'], m.stats['edges'], m.stats['scripts'], r['s']), flush=True)
    if 'violation' in r and '-v' in sys.argv:
        for a in r['trace']: print('      ', *a)
