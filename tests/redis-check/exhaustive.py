"""Exhaustive runs. Each line says whether the space was searched to its end or cut by the time limit.
exhaustive.py SECONDS [words]: so much processor time each at most; only those with one of these words in their names."""
from model import *
# Forget lanes as early as the time check allows: the hardest case.
PRUNE = [('acquire', 'us - FORGET', 'us'), ('release', 'us - FORGET', 'us'), ('sweep', 'us - FORGET', 'us')]
R = [  # name, attempts, options
 ('lock 2x1 try, again 1, dup 1, 3 ticks', dict(A='t', B='t'), dict(horizon=3)),
 ('lock 3x1 try, dup 1, 2 ticks', dict(A='t', B='t', C='t'), dict(horizon=2, polls=0)),
 ('lock 3x1 wait, dup 0, 2 ticks', dict(A='w', B='w', C='w'), dict(horizon=2, polls=0, dups=0)),
 ('lock A: 2 tries B: 1 try, dup 1, 3 ticks', dict(A='tt', B='t'), dict(horizon=3, polls=0)),
 ('lock A: 2 waits B: 1 wait, dup 1, 2 ticks', dict(A='ww', B='w'), dict(horizon=2, polls=0)),
 ('lock 2x1 wait, FLUSHALL, dup 1, 3 ticks', dict(A='w', B='w'), dict(horizon=3, polls=0, flush=1)),
 ('lock A: 3 tries B: 1 wait, B=1, dup 0, 1 tick', dict(A='ttt', B='w'), dict(horizon=1, polls=0, dups=0)),
 ('lock A: 2 tries B: 1 wait, B=0, dup 1, 1 tick', dict(A='tt', B='w'), dict(B=0, horizon=1, polls=0)),
 ('lock 2x1 try, 1 extension, dup 1, 3 ticks', dict(A='t', B='t'), dict(horizon=3, polls=0, exts=1)),
 ('lock 2x1 try, stamp 70 s > ttl, dup 1, 4 ticks', dict(A='t', B='t'), dict(horizon=4, polls=0, delay=70000)),
 ('lock A: 2 tries B: 1 try, forget at once, 3 ticks', dict(A='tt', B='t'), dict(patch=PRUNE, FORGET=0, horizon=3, polls=0)),
 ('lock 2x1 try, grace 10 s, dup 1, 3 ticks', dict(A='t', B='t'), dict(GRACE=10000, horizon=3, polls=0)),
 ('lock A: 2 tries B, C: 1 wait, B=0, dup 0, 1 tick', dict(A='tt', B='w', C='w'), dict(B=0, horizon=1, polls=0, dups=0)),
 ('sweep 2x1 try, forget at once, swept twice, dup 1, 4 ticks', dict(A='t', B='t'), dict(patch=PRUNE, FORGET=0, horizon=4, polls=0, sweeps=2)),
 ('sweep 2x1 try, stamp 70 s > ttl, forget at once, dup 1, 5 ticks', dict(A='t', B='t'), dict(patch=PRUNE, FORGET=0, horizon=5, polls=0, sweeps=1, delay=70000)),
 ('sweep wait, wait twice, forget at once, dup 1, 3 ticks', dict(A='w', B='ww'), dict(patch=PRUNE, FORGET=0, horizon=3, polls=0, sweeps=1)),
 ('sweep 3x1 wait, forget at once, dup 0, 3 ticks', dict(A='w', B='w', C='w'), dict(patch=PRUNE, FORGET=0, horizon=3, polls=0, dups=0, sweeps=1)),
 ('sweep try, wait, 1 extension, dup 1, 3 ticks', dict(A='t', B='w'), dict(patch=PRUNE, FORGET=0, horizon=3, polls=0, exts=1, sweeps=1)),
 ('sweep try, wait, as it ships, dup 1, 6 ticks', dict(A='t', B='w'), dict(horizon=6, polls=0, sweeps=1)),
 ('lock 2x2 tries, dup 1, 2 ticks', dict(A='tt', B='tt'), dict(horizon=2, polls=0)),
 ('lock 2x1 wait, again 1, dup 1, 3 ticks', dict(A='w', B='w'), dict(horizon=3)),
 ('lock 3x1 wait, dup 1, 2 ticks', dict(A='w', B='w', C='w'), dict(horizon=2, polls=0)),
 ('lock 2x1 try, dup 2, 3 ticks', dict(A='t', B='t'), dict(horizon=3, polls=0, dups=2)),
 ('lock 3x1 try, dup 1, 3 ticks', dict(A='t', B='t', C='t'), dict(horizon=3, polls=0)),
 ('lock 3x1 wait, dup 1, 3 ticks', dict(A='w', B='w', C='w'), dict(horizon=3, polls=0)),
 ('lock 4x1 try, dup 0, 2 ticks', dict(A='t', B='t', C='t', D='t'), dict(horizon=2, polls=0, dups=0)),
 ('lock 4x1 wait, dup 0, 2 ticks', dict(A='w', B='w', C='w', D='w'), dict(horizon=2, polls=0, dups=0)),
 ('lock 2x2 waits, dup 0, 3 ticks', dict(A='ww', B='ww'), dict(horizon=3, polls=0, dups=0)),
 ('lock A: 2 tries B, C: 1 wait, dup 1, 1 tick', dict(A='tt', B='w', C='w'), dict(horizon=1, polls=0)),
 ('lock 2x1 try, 2 extensions, dup 1, 3 ticks', dict(A='t', B='t'), dict(horizon=3, polls=0, exts=2)),
 ('sweep 3x1 try, forget at once, dup 1, 2 ticks', dict(A='t', B='t', C='t'), dict(patch=PRUNE, FORGET=0, horizon=2, polls=0, sweeps=1)),
]
if __name__ == '__main__':
    for tag, at, mk in R:
        if len(sys.argv) > 2 and not any(x in tag for x in sys.argv[2:]): continue
        m = Locks(at, **mk)
        show(tag, m.explore(seconds=int(sys.argv[1])), m)
        del m; gc.collect()
