"""One lock: acquire, release, extend and sweep, and what must be true of them."""
from search import *

KEYS = ('H', 'Q', 'W')
# What has been so far, as an onlooker knows it. fin: ended attempts; granted; fence: the last one; passed: (head, overtakings);
# ext: (token, number) of extensions; last: the token that was granted last; refused: tries that were; flags.
Ghost = collections.namedtuple('Ghost', 'fin granted fence passed ext last refused flags')

class Locks(Search):
    """attempts: {'A': ['w', 't'], ...}: w waits in the queue, t tries."""
    def ghost(self): return Ghost(frozenset(), frozenset(), 0, (None, 0), frozenset(), None, frozenset(), frozenset())
    def flushed(self, g): return self.ghost()._replace(fence=g.fence, flags=g.flags | {'FLUSHED'})
    def waits(self, attempt): return attempt == 'w'
    def ends(self, attempt): return [('rel',)]
    def call(self, kind, name, idx, stamp):
        t, lane = 'tok%s%d' % (name, idx), 'lane' + name
        if kind[0] == 'acq':
            waiting = '%d %d ch%s' % (self.B, WAITER if kind[1] else 0, name)
            return 'acquire', KEYS, (t, lane, stamp, TTL + self.GRACE, '%d %d own%s' % (self.GRACE, TTL, name), waiting)
        if kind[0] == 'rel': return 'release', KEYS, (t, lane, stamp)
        if kind[0] == 'ext': return 'extend', KEYS[:1], (t, 10000 if kind[2] == 'a' else TTL + self.GRACE, kind[2], kind[1])
    def holder(self, db, ms):                  # (token, lease end)
        h = db.get('H', {})
        x = int(h.get('x', 0))
        return (h['t'], x) if x > ms else None
    def head(self, db, ms):                    # first live waiter, and whether dead ones stand before it
        w = db.get('W', {}); dead = False
        for m, _ in sorted(db.get('Q', {}).items(), key=lambda x: x[1]):
            if int(w.get(m, '0').split()[0]) > ms: return m, dead
            dead = True
        return None, dead
    def first(self, db): return min(db.get('Q', {}).items(), key=lambda x: x[1], default=(None,))[0]      # dead or alive
    def strip(self, db):                       # liveness deadlines do not count for idempotence
        return {k: (sorted(v) if k == 'W' else dict(v)) for k, v in db.items()}

    def sweep(self, db, T, ghost):
        """Somebody cleans up: it must change nothing that counts."""
        ms = self.ms(T)
        db2, rep, pub = self.execute(db, T, 'sweep', KEYS, ())
        D, D2 = self.dbs[db], self.dbs[db2]
        live = lambda d: sorted(m for m in d.get('Q', {}) if int(d.get('W', {}).get(m, '0').split()[0]) > ms)
        if self.holder(D, ms) != self.holder(D2, ms): self.fail('ME', 'a lease was swept')
        if live(D) != live(D2): self.fail('SWEEP', 'a live waiter was swept')
        head, dead = self.head(D2, ms)
        if dead: self.fail('SWEEP', 'a dead head was left')
        if not self.holder(D2, ms) and head and self.first(D) != self.first(D2) and not any(p[1] == head for p in pub):
            self.fail('LV', 'lock free, new head %s not told' % head)
        db3, rep3, pub3 = self.execute(db2, T, 'sweep', KEYS, ())
        if db3 != db2 or rep3[:3] != [0, 0, 0] or pub3: self.fail('IDEM', 'a second sweep did %s' % (rep3,))
        passed = ghost.passed if ghost.passed[0] in D2.get('Q', {}) else (None, 0)
        return ('sweep', rep), db2, ghost._replace(passed=passed, flags=ghost.flags | {'SWEPT'})

    def effect(self, db, T, ghost, who, idx, stamp, kind, later):
        name, ms = self.cl[who], self.ms(T)
        fin, granted, last, passed, ext, latest, refused, flags = ghost
        tok = 'tok%s%d' % (name, idx)
        call = self.call(kind, name, idx, stamp)
        db2, rep, pub = self.execute(db, T, *call)
        D, D2 = self.dbs[db], self.dbs[db2]
        flushed, swept = 'FLUSHED' in flags, 'SWEPT' in flags
        h0, h1 = self.holder(D, ms), self.holder(D2, ms)
        head0, head1 = self.head(D, ms)[0], self.head(D2, ms)[0]
        if kind[0] == 'acq':
            new, yes = h1 and h1[0] == tok and not (h0 and h0[0] == tok), rep[0] == 1
            if new:
                if h0: self.fail('ME', 'granted while held')
                if not flushed:
                    if tok in refused: self.fail('GHOST', 'granted after it was refused for good')
                    if tok in fin: self.fail('GHOST', 'granted after its release or cancel was applied')
                    if tok in granted: self.fail('GHOST', 'granted twice')
                    if self.us(T) > stamp and tok not in D.get('Q', {}): self.fail('GHOST', 'granted after its stamp')
                fence = int(D2['H']['n'])
                if fence <= last: self.fail('FM', 'fence %d after %d' % (fence, last))
                last, latest, granted = fence, tok, granted | {tok}
                # An attempt whose end has not arrived, while a later one of its lane is under way: the client begins none then.
                if later: flags = flags | {'lane' + name}
                if head0 and head0 != tok:
                    passed = (head0, passed[1] + 1 if passed[0] == head0 else 1)
                    if passed[1] > self.B: self.fail('BY', 'head overtaken %d times' % passed[1])
            if yes and not (h1 and h1[0] == tok): self.fail('REPLY', 'yes but not holder')
            if yes and rep[1] != last: self.fail('FM', 'told the fence %d, not %d' % (rep[1], last))
            if not yes and h1 and h1[0] == tok: self.fail('REPLY', 'no but holder')
            if not kind[1] and rep[0] == 0: refused = refused | {tok}
        if kind[0] == 'rel':
            if h0 and h0[0] != tok and h1 != h0: self.fail('ME', 'release freed another')
            if h1 and h1[0] == tok: self.fail('GHOST', 'still held after release')
            if not flushed:
                if tok in fin: want = (2, 3) if tok in granted and latest != tok else (2,)
                elif tok in granted:
                    if h0 and h0[0] == tok: want = (1,)
                    elif latest == tok: want = (-1, 3) if swept else (-1,)
                    else: want = (3,)
                    if later or 'lane' + name in flags: want += (2,)     # another attempt of the lane may have moved the mark
                else: want = (2, 3)
                if tok in fin and (swept or stamp + self.FORGET < self.us(T)): want += (3,)
                if rep[0] not in want: self.fail('CODE', 'release said %s, expected %s' % (rep[0], want))
                # By this a holder knows whether another was granted since.
                if rep[0] == 3 and rep[3] != last and not (swept and rep[3] == 0): self.fail('CODE', 'release said that the last fence is %d, it is %d' % (rep[3], last))
            fin = fin | {tok}
        if kind[0] == 'ext':
            if h1 and not h0: self.fail('GHOST', 'extension revived a lease that had ended')
            if h0 and h1 and h1[1] != h0[1]:
                if h0[0] != tok: self.fail('ME', 'extended another')
                if (tok, kind[1]) in ext: self.fail('IDEM', 'extension %d applied twice' % kind[1])
                if any(t == tok and q > kind[1] for t, q in ext): self.fail('IDEM', 'old extension applied')
                ext = ext | {(tok, kind[1])}
            if not flushed and rep[0] == -2 and rep[2] != last and not (swept and rep[2] == 0): self.fail('CODE', 'extend said that the last fence is %d, it is %d' % (rep[2], last))
        if h0 and h1 and h0[0] == h1[0] and h1[1] < h0[1]: self.fail('SHORT', 'lease shortened by %s' % (kind,))
        if h0 and not h1 and not (kind[0] == 'rel' and h0[0] == tok): self.fail('ME', 'lease ended by a stranger')
        # rule D
        if not h1 and head1 and (h0 or self.first(D) != self.first(D2)) and not (kind[0] == 'acq' and head1 == tok):
            if not any(p[1] == head1 for p in pub): self.fail('LV', 'lock free, new head %s not told' % head1)
        # the same message once more, at once
        db3, rep3, _ = self.execute(db2, T, *call)
        if db3 != db2 and self.strip(self.dbs[db3]) != self.strip(D2): self.fail('IDEM', 'repeat changed %s' % (diff(self.strip(D2), self.strip(self.dbs[db3])),))
        if kind[0] == 'acq' and (rep[0] == 1) != (rep3[0] == 1): self.fail('IDEM', 'repeat answered %s' % (rep3,))
        if kind[0] == 'acq' and rep[0] == 1 and rep3[1] != rep[1]: self.fail('IDEM', 'repeat answered %s' % (rep3,))
        if passed[0] not in D2.get('Q', {}): passed = (None, 0)
        reply = None
        if kind[0] == 'acq': reply = (rep[0], rep[2] - self.GRACE)
        if kind[0] == 'ext': reply = (1 if rep[0] - self.GRACE > 0 else -1, rep[0] - self.GRACE)
        return ('deliver', idx, kind, rep), db2, Ghost(fin, granted, last, passed, ext, latest, refused, flags), reply
    def check(self, db, T, ghost, who):
        if 'FLUSHED' in ghost.flags: return
        if len(who) > 1: self.fail('ME', 'two believe they hold: %s' % [self.cl[i] for i, _ in who])
        h = self.holder(self.dbs[db], self.ms(T))
        if h and h[0] in ghost.fin: self.fail('GHOST', 'held by a finished attempt')
        for i, idx in who:
            if not h or h[0] != 'tok%s%d' % (self.cl[i], idx): self.fail('ME', '%s believes, server disagrees' % self.cl[i])
