"""Several names at once: acquire_all beside acquire, over the same adversary. A client takes 'x', 'y' or both, in either order, and
ends both by a release of each, which are late, lost and doubled each by itself. ALL: an attempt is granted every name or none, and
one that waits holds nothing and stands in one queue at most. The other properties are those of model.py, for each name.
sets.py SECONDS | mutants: as exhaustive.py and mutants.py."""
from search import *

# As in model.py; fences and passed for each name.
Ghost = collections.namedtuple('Ghost', 'over fences passed flags')

def keys(name): return ('H' + name, 'Q' + name, 'W' + name)

class Sets(Search):
    """attempts: {'A': ['xy:w', 'x:t'], ...}: the names in the order in which they are passed; w waits, t tries."""
    def __init__(self, attempts, **kw):
        self.names = sorted({n for at in attempts.values() for a in at for n in a.split(':')[0]})
        super().__init__(attempts, **kw)
    def ghost(self): return Ghost(frozenset(), tuple(0 for _ in self.names), tuple((None, 0) for _ in self.names), frozenset())
    def flushed(self, g): return self.ghost()._replace(fences=g.fences, flags=frozenset(['FLUSHED']))
    def waits(self, attempt): return attempt.endswith('w')
    def ends(self, attempt): return [('rel', n) for n in attempt.split(':')[0]]
    def holder(self, db, n, ms):
        h = db.get('H' + n, {})
        return (h['t'], int(h['x'])) if int(h.get('x', 0)) > ms else None
    def fence(self, db, n): return int(db.get('H' + n, {}).get('n', 0))
    def head(self, db, n, ms):
        for m, _ in sorted(db.get('Q' + n, {}).items(), key=lambda x: x[1]):
            if int(db.get('W' + n, {}).get(m, '0').split()[0]) > ms: return m
    def first(self, db, n): return min(db.get('Q' + n, {}).items(), key=lambda x: x[1], default=(None,))[0]
    def strip(self, db): return {k: (sorted(v) if k[0] == 'W' else dict(v)) for k, v in db.items() if k != 'exp'}
    def effect(self, db, T, ghost, who, idx, stamp, kind, later):
        name, ms, wanted = self.cl[who], self.ms(T), self.attempts[who][idx].split(':')[0]
        tok, waits = 'tok%s%d' % (name, idx), self.waits(self.attempts[who][idx])
        if kind[0] == 'acq':
            script = 'acquire_all' if len(wanted) > 1 else 'acquire'
            argv = (tok, 'lane' + name, stamp, TTL, '0 %d own%s' % (TTL, name), '%d %d ch%s' % (self.B, WAITER if waits else 0, name))
            call = script, tuple(k for w in wanted for k in keys(w)), argv
        else: call = 'release', keys(kind[1]), (tok, 'lane' + name, stamp)
        db2, rep, pub = self.execute(db, T, *call)
        D, D2 = self.dbs[db], self.dbs[db2]
        over, fences, passed, flags = ghost
        fences, passed = list(fences), list(passed)
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
                        stood = any(tok in D.get('Q' + n, {}) for n in self.names)
                        if count > (max(self.B, 1) if stood else self.B): self.fail('BY', 'head overtaken %d times' % count)
                        passed[i] = (head, count)
            if rep[0] == 1:
                said = [int(rep[1])] + [int(f) for f in rep[4:]]
                if said != [self.fence(D2, w) for w in wanted]: self.fail('FM', 'said %s' % said)
            if not waits and rep[0] == 0: over = over | {tok}
        else:
            if kind[1] in now: self.fail('GHOST', 'still held after release')
            over = over | {tok}
        for w in self.names:
            h0, h1 = self.holder(D, w, ms), self.holder(D2, w, ms)
            if h0 and (not h1 or h1[0] != h0[0]) and not (kind == ('rel', w) and h0[0] == tok): self.fail('ME', 'lease ended by a stranger')
            if h0 and h1 and h1[1] < h0[1]: self.fail('SHORT', 'lease shortened')
            head1 = self.head(D2, w, ms)
            if not h1 and head1 and (h0 or self.first(D, w) != self.first(D2, w)) and not (kind[0] == 'acq' and head1 == tok):
                if not any(p[1] == head1 for p in pub): self.fail('LV', '%s is free, and its head %s not told' % (w, head1))
        db3, rep3, _ = self.execute(db2, T, *call)
        if self.strip(self.dbs[db3]) != self.strip(D2): self.fail('IDEM', 'a repeat changed %s' % (diff(self.strip(D2), self.strip(self.dbs[db3])),))
        if kind[0] == 'acq' and (rep[0] == 1) != (rep3[0] == 1): self.fail('IDEM', 'a repeat answered %s' % (rep3,))
        passed = tuple(p if p[0] in D2.get('Q' + w, {}) else (None, 0) for w, p in zip(self.names, passed))
        reply = (rep[0], rep[2]) if kind[0] == 'acq' else None
        return ('deliver', idx, kind, rep), db2, Ghost(over, tuple(fences), passed, flags), reply
    def check(self, db, T, ghost, who):
        if 'FLUSHED' in ghost.flags: return
        for n in self.names:
            holders = [(i, idx) for i, idx in who if n in self.attempts[i][idx].split(':')[0]]
            if len(holders) > 1: self.fail('ME', 'two believe that they hold %s' % n)
            h = self.holder(self.dbs[db], n, self.ms(T))
            for i, idx in holders:
                if not h or h[0] != 'tok%s%d' % (self.cl[i], idx): self.fail('ME', '%s believes, the server disagrees' % self.cl[i])

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
 ('sets 3x1 wait, dup 0, 1 tick', dict(A=['xy:w'], B=['yx:w'], C=['xy:w']), dict(horizon=1, polls=0, dups=0)),
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
    mutants = sys.argv[1] == 'mutants'
    for tag, at, mk in M if mutants else R:
        if len(sys.argv) > 2 and not any(x in tag for x in sys.argv[2:] if x != '-v'): continue
        m = Sets(at, **mk)
        show(tag, m.explore(seconds=300 if mutants else int(sys.argv[1])), m)
        del m; gc.collect()
