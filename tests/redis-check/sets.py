"""Several names at once: acquire_all beside acquire, over the same adversary. A client takes 'x', 'y' or both, in either order, and
ends both by a release of each, which are late, lost and doubled each by itself. ALL: an attempt is granted every name or none, and
one that waits holds nothing and stands in one queue at most. The other properties are those of model.py, for each name."""
from model import *

def keys(name): return ('H' + name, 'Q' + name, 'W' + name)

class Sets(Model):
    """attempts: {'A': ['xy:w', 'x:t'], ...}: the names in the order in which they are passed; w waits, t tries."""
    B, GRACE = 1, 0
    def __init__(self, attempts, patch=None, B=1, **kw):
        self.B = B
        self.src = sources()
        for name, old, new in patch or []:
            assert old in self.src[name], (name, old)
            self.src[name] = self.src[name].replace(old, new)
        super().__init__(self, attempts, **kw)
        self.names = sorted({n for at in attempts.values() for a in at for n in a.split(':')[0]})
    def wanted(self, ci, idx): return self.attempts[self.cl[ci]][idx].split(':')[0]
    def waits(self, ci, idx): return self.attempts[self.cl[ci]][idx].endswith('w')
    def holder(self, db, n, ms):
        h = db.get('H' + n, {})
        return (h['t'], int(h['x'])) if int(h.get('x', 0)) > ms else None
    def fence(self, db, n): return int(db.get('H' + n, {}).get('n', 0))
    def head(self, db, n, ms):
        for m, _ in sorted(db.get('Q' + n, {}).items(), key=lambda x: x[1]):
            if int(db.get('W' + n, {}).get(m, '0').split()[0]) > ms: return m
    def strip(self, db): return {k: (sorted(v) if k[0] == 'W' else dict(v)) for k, v in db.items() if k != 'exp'}
    def initial(self):
        g = (frozenset(), frozenset(), tuple(0 for _ in self.names), tuple((None, 0) for _ in self.names), frozenset())
        return (0, self.intern({}, {}), tuple((0, 'i', 0, 0, 0) for _ in self.cl), (), (), g, (self.dups, self.flush))
    # client: (attempt, phase, stamp, valid until, polls left); ghost: over attempts, granted, fences, overtakings, flags
    def succ(self, st):
        T, db, cl, msgs, reps, g, (dups, fl) = st
        out = []
        if T < self.horizon:
            out.append((('tick', T + 1), (T + 1, db, cl, msgs, reps, g, (dups, fl))))
            if fl: out.append((('FLUSHALL',), (T + 1, self.intern({}, {}), cl, msgs, reps, (frozenset(), frozenset(), g[2], tuple((None, 0) for _ in self.names), g[4] | {'FLUSHED'}), (dups, fl - 1))))
        for ci, name in enumerate(self.cl):
            idx, ph, stamp, valid, polls = cl[ci]
            def to(c, msgs2=msgs, reps2=reps): return (T, db, cl[:ci] + (c,) + cl[ci + 1:], msgs2, reps2, g, (dups, fl))
            if ph == 'i' and idx < len(self.attempts[name]):
                sp = max(stamp + 1, self.us(T) + self.delay * 1000)
                out.append((('send', name, idx, 'acquire'), to((idx, 'a', sp, 0, self.polls), self.addm(msgs, (ci, idx, sp, ('acq',), T, 0)))))
            if ph in 'ah':
                more = msgs
                for n in self.wanted(ci, idx): more = self.addm(more, (ci, idx, stamp, ('rel', n), T, 0))
                out.append((('send', name, idx, 'release' if ph == 'h' else 'cancel'), to((idx + 1, 'i', stamp, 0, 0), more, tuple(r for r in reps if r[0] != ci))))
                if ph == 'a' and polls:
                    out.append((('send', name, idx, 'acquire again'), to((idx, 'a', stamp, 0, polls - 1), self.addm(msgs, (ci, idx, stamp, ('acq',), T, 0)))))
        for mi, m in enumerate(msgs):
            if m[5] == 0 or dups and m[5] == 1: out.append(self.deliver(st, mi))
        for ri, (ci, idx, sent, ok, left) in enumerate(reps):
            c, rest = cl[ci], reps[:ri] + reps[ri + 1:]
            more = msgs
            if ok == 1: c2 = (c[0], 'h', c[2], max(c[3], self.ms(sent) + left), c[4])
            elif c[1] == 'h' or ok == 0 and self.waits(ci, idx): c2 = c
            else:
                c2 = (idx + 1, 'i', c[2], 0, 0)
                if ok < 0 and len(self.wanted(ci, idx)) > 1:                  # it may hold some of them: what the client does
                    for n in self.wanted(ci, idx): more = self.addm(more, (ci, idx, c[2], ('rel', n), T, 0))
            rest = tuple(x for x in rest if x[0] != ci or x[1] == c2[0])
            out.append((('reply', self.cl[ci], idx, ok, left), (T, db, cl[:ci] + (c2,) + cl[ci + 1:], more, rest, g, (dups, fl))))
        return out
    def deliver(self, st, mi):
        T, db, cl, msgs, reps, g, (dups, fl) = st
        ci, idx, stamp, kind, sent, n = m = msgs[mi]
        name, ms, wanted = self.cl[ci], self.ms(T), self.wanted(ci, idx)
        tok = 'tok%s%d' % (name, idx)
        if kind[0] == 'acq':
            script = 'acquire_all' if len(wanted) > 1 else 'acquire'
            ks = tuple(k for w in wanted for k in keys(w))
            argv = (tok, 'lane' + name, stamp, TTL, '0 %d %s' % (TTL, name), '%d %d ch%s' % (self.B, WAITER if self.waits(ci, idx) else 0, name))
        else: script, ks, argv = 'release', keys(kind[1]), (tok, 'lane' + name, stamp)
        k = (db, T, script, argv, ks)
        db2, rep, pub = self.execute_on(k)
        D, D2 = self.dbs[db], self.dbs[db2]
        over, granted, fences, passed, flags = g
        fences, passed = list(fences), list(passed)
        desc = ('deliver', name, idx, kind, 'dup' if n else '', rep)
        try:
            now = [w for w in self.names if (self.holder(D2, w, ms) or ' ')[0] == tok]
            before = [w for w in self.names if (self.holder(D, w, ms) or ' ')[0] == tok]
            if kind[0] == 'acq':
                new = len(now) > len(before)
                if new and set(now) != set(wanted): self.fail('ALL', 'granted %s of %s' % (now, wanted))
                if rep[0] == 1 and set(now) != set(wanted): self.fail('ALL', 'yes, but it holds %s' % now)
                if rep[0] == 0 and now: self.fail('ALL', 'it waits, and holds %s' % now)
                stands = [w for w in self.names if tok in D2.get('Q' + w, {})]
                if len(stands) > 1 or rep[0] == 1 and stands: self.fail('ALL', 'it stands in the queues of %s' % stands)
                if new:
                    if tok in over: self.fail('GHOST', 'granted to an attempt that is over')
                    for i, w in enumerate(self.names):
                        if w not in wanted: continue
                        if self.holder(D, w, ms): self.fail('ME', 'granted while held')
                        got = self.fence(D2, w)
                        if got <= fences[i]: self.fail('FM', 'fence %d after %d' % (got, fences[i]))
                        fences[i] = got
                        head = self.head(D, w, ms)
                        if head and head != tok:
                            count = passed[i][1] + 1 if passed[i][0] == head else 1
                            if count > self.B: self.fail('BY', 'head overtaken %d times' % count)
                            passed[i] = (head, count)
                    granted = granted | {tok}
                if rep[0] == 1:
                    said = [int(rep[1])] + [int(f) for f in rep[4:]]
                    if said != [self.fence(D2, w) for w in wanted]: self.fail('FM', 'said %s' % said)
                if not self.waits(ci, idx) and rep[0] == 0: over = over | {tok}
            else:
                if self.holder(D2, kind[1], ms) and kind[1] in now: self.fail('GHOST', 'still held after release')
                over = over | {tok}
            for w in self.names:
                h0, h1 = self.holder(D, w, ms), self.holder(D2, w, ms)
                if h0 and (not h1 or h1[0] != h0[0]) and not (kind == ('rel', w) and h0[0] == tok): self.fail('ME', 'lease ended by a stranger')
                if h0 and h1 and h1[1] < h0[1]: self.fail('SHORT', 'lease shortened')
                head1, raw = self.head(D2, w, ms), lambda d: min(d.get('Q' + w, {}).items(), key=lambda x: x[1], default=(None,))[0]
                if not h1 and head1 and (h0 or raw(D) != raw(D2)) and not (kind[0] == 'acq' and head1 == tok):
                    if not any(p[1] == head1 for p in pub): self.fail('LV', '%s is free, and its head %s not told' % (w, head1))
            db3, rep3, _ = self.execute_on((db2,) + k[1:])
            if self.strip(self.dbs[db3]) != self.strip(D2): self.fail('IDEM', 'a repeat changed %s' % (diff(self.strip(D2), self.strip(self.dbs[db3])),))
            if kind[0] == 'acq' and (rep[0] == 1) != (rep3[0] == 1): self.fail('IDEM', 'a repeat answered %s' % (rep3,))
        except Violation as e: return desc, e
        msgs2, dups2 = msgs[:mi] + msgs[mi + 1:], dups - (n == 1)
        if n == 0 and dups2: msgs2 = self.addm(msgs2, m[:5] + (1,))
        if dups2 == 0: msgs2 = tuple(x for x in msgs2 if x[5] == 0)
        reps2 = reps
        if kind[0] == 'acq' and cl[ci][0] == idx and cl[ci][1] in 'ah':
            r = (ci, idx, sent, rep[0], rep[2] if rep[0] == 1 else 0)
            if r not in reps: reps2 = tuple(sorted(reps + (r,), key=repr))
        passed = tuple(p if p[0] and p[0] in D2.get('Q' + w, {}) else (None, 0) for w, p in zip(self.names, passed))
        return desc, (T, db2, cl, msgs2, reps2, (over, granted, tuple(fences), passed, flags), (dups2, fl))
    def execute_on(self, k):
        if k not in self.memo:
            d = self.dbs[k[0]]
            self.fake.exp = dict(d['exp'])
            self.fake.db = {x: dict(v) for x, v in d.items() if x != 'exp'}
            rep = self.fake.run(k[2], k[4], k[3], self.us(k[1]))
            self.memo[k] = (self.intern(self.fake.db, self.fake.exp), rep, tuple(self.fake.pub))
            self.stats['scripts'] += 1
        return self.memo[k]
    def check(self, st):
        T, db, cl = st[:3]
        if 'FLUSHED' in st[5][4]: return
        for n in self.names:
            who = [i for i, c in enumerate(cl) if c[1] == 'h' and c[3] > self.ms(T) and n in self.wanted(i, c[0])]
            if len(who) > 1: self.fail('ME', 'two believe that they hold %s' % n)
            h = self.holder(self.dbs[db], n, self.ms(T))
            for i in who:
                if not h or h[0] != 'tok%s%d' % (self.cl[i], cl[i][0]): self.fail('ME', '%s believes, the server disagrees' % self.cl[i])

R = [  # name, attempts, options
 ('sets 2x1 try, opposite orders, dup 1, 3 ticks', dict(A=['xy:t'], B=['yx:t']), dict(horizon=3)),
 ('sets 2x1 wait, opposite orders, dup 0, 2 ticks', dict(A=['xy:w'], B=['yx:w']), dict(horizon=2, dups=0)),
 ('sets 2x1 wait, opposite orders, dup 1, 1 tick', dict(A=['xy:w'], B=['yx:w']), dict(horizon=1, polls=0)),
 ('sets both wait, x waits, y waits, dup 0, 1 tick', dict(A=['xy:w'], B=['x:w'], C=['y:w']), dict(horizon=1, polls=0, dups=0)),
 ('sets both wait twice, x tries, dup 0, 1 tick', dict(A=['xy:w', 'xy:w'], B=['x:t']), dict(horizon=1, polls=0, dups=0)),
 ('sets both try, x waits twice, dup 1, 1 tick', dict(A=['xy:t'], B=['x:w', 'x:t']), dict(horizon=1, polls=0)),
 ('sets 2x1 try, FLUSHALL, dup 1, 2 ticks', dict(A=['xy:t'], B=['yx:t']), dict(horizon=2, polls=0, flush=1)),
 ('sets both try, x tries, stamp 70 s > ttl, dup 1, 4 ticks', dict(A=['xy:t'], B=['x:t']), dict(horizon=4, polls=0, delay=70000)),
 ('sets both try twice, forget at once, dup 1, 3 ticks', dict(A=['xy:t', 'x:t'], B=['y:t']), dict(horizon=3, polls=0, patch=[('acquire', 'us - FORGET', 'us'), ('acquire_all', 'us - FORGET', 'us')])),
 ('sets both wait, y tries twice, B=0, dup 0, 1 tick', dict(A=['xy:w'], B=['y:t', 'y:t']), dict(horizon=1, dups=0, B=0)),
 ('big: sets 3x1 wait, dup 0, 1 tick', dict(A=['xy:w'], B=['yx:w'], C=['xy:w']), dict(horizon=1, polls=0, dups=0)),
]
M = [  # name, attempts, options, with the property that must break
 ('grants what it can', dict(A=['xy:t'], B=['y:t']), dict(horizon=1, checks={'ALL', 'ME'}, patch=[('acquire_all', 'if not h.free or', 'if i == 1 and not h.free or')])),
 ('completes what it holds in part', dict(A=['xy:t', 'x:t'], B=['x:t']), dict(horizon=3, checks={'ALL', 'GHOST'}, patch=[('acquire_all', 'if mine > 0 or over or', 'if mine == 0 and over or')])),
 ('no mark at grant', dict(A=['xy:t'], B=['x:t']), dict(horizon=3, polls=0, delay=70000, checks={'GHOST'}, patch=[('acquire_all', "'i', ARGV[5], lane, ARGV[3])", "'i', ARGV[5])"), ('release', "'HSET', H, 'x', '0', lane, over", "'HSET', H, 'x', '0', 'none', over")])),
 ('refused try not marked', dict(A=['xy:t'], B=['x:t']), dict(horizon=1, checks={'GHOST'}, patch=[('acquire_all', "redis.call('HSET', h.lock, lane, '-' .. ARGV[3])", '')])),
 ('stays in the queue that it leaves', dict(A=['xy:w'], B=['x:t'], C=['y:t']), dict(horizon=1, dups=0, checks={'ALL'}, patch=[('acquire_all', 'if h.queued and (i ~= block or wait == 0) then', 'if false then')])),
 ('leaves and tells nobody', dict(A=['xy:w'], B=['x:t', 'y:t'], C=['x:w']), dict(horizon=0, polls=1, dups=0, checks={'LV'}, patch=[('acquire_all', 'token, ms, h.free)', 'token, ms, false)')])),
 ('overtakings not counted', dict(A=['xy:t', 'xy:t', 'xy:t'], B=['x:w']), dict(horizon=0, polls=0, dups=0, checks={'BY'}, patch=[('acquire_all', 'h.passed + 1', 'h.passed')])),
 ('one fence for all', dict(A=['xy:t'], B=['y:t']), dict(horizon=1, polls=0, dups=0, checks={'FM'}, patch=[('acquire_all', 'out[i == 1 and 2 or i + 3] = fence', 'out[i == 1 and 2 or i + 3] = fence - i + 1')])),
]
if __name__ == '__main__':
    for tag, at, mk in (M if sys.argv[1] == 'mutants' else R):
        m = Sets(at, **mk)
        show(tag, m.explore(seconds=60 if sys.argv[1] == 'mutants' else int(sys.argv[1])), m)
        del m
