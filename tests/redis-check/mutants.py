"""The checker must fail: the scripts with one protection removed. mutants.py [words]: those with one of these in their names."""
from model import *
from exhaustive import PRUNE
W1 = dict(A='w', B='w'); T1 = dict(A='t', B='t')
M = [  # name, changes to the scripts, attempts, options, with the properties of which one must break
 ('shortens', [('acquire', 'return {1, last, left, us}', "call('HSET', H, 'x', string.format('%d', ms + ARGV[4])) return {1, last, left, us}")], T1, dict(horizon=2, exts=1, checks={'SHORT'})),
 ('honest remaining replaced by ttl', [('acquire', 'return {1, last, left, us}', 'return {1, last, tonumber(ARGV[4]), us}')], T1, dict(horizon=3, checks={'ME'})),
 ('extend dedup by equality', [('extend', 'tonumber(ARGV[4]) > tonumber(seq)', 'ARGV[4] ~= seq')], dict(A='t'), dict(horizon=1, exts=2, polls=0, dups=2, checks={'IDEM'})),
 ('no mark at grant', [('acquire', ", lane, ARGV[3])", ")")], T1, dict(horizon=3, polls=0, delay=70000, checks={'GHOST'})),
 ('no mark at cancel', [('release', "call('HSET', H, lane, '-' .. ARGV[3])", '')], dict(A='w'), dict(horizon=1, checks={'GHOST'})),
 ('release may lower the mark (first draft)', [('release', 'math.max(stamp, us, mark, -mark)', 'math.max(stamp, us)')], dict(A='tt'), dict(horizon=1, polls=0, checks={'GHOST'})),
 ('no stamp check, lanes forgotten', [('acquire', 'if not queued and stamp < us then', 'if false then'), ('acquire', 'us - FORGET', 'us')], T1, dict(horizon=3, polls=0, checks={'GHOST'})),
 ('refused try not marked', [('acquire', "call('HSET', H, lane, '-' .. ARGV[3])", '')], T1, dict(horizon=1, checks={'GHOST'})),
 ('cancelled head passes nothing on', [('release', 'told = leave(H, Q, W, token, ms, left <= 0)', 'leave(H, Q, W, token, ms, false)')], dict(A='w', B='w', C='w'), dict(horizon=1, polls=0, dups=0, checks={'LV'})),
 ('dead head dropped, next not told', [('acquire', 'if dropped and behind and free then', 'if false then')], dict(A='tt', B='w', C='w'), dict(B=0, horizon=2, polls=0, dups=0, checks={'LV'})),
 ('overtakings not counted', [('acquire', 'passed + 1', 'passed')], dict(A='ttt', B='w'), dict(horizon=1, polls=0, dups=0, checks={'BY'})),
 ('counter not reset: stays within B (expect none)', [('release', "redis.call('HSET', H, 'w', '0')", ''), ('release', "if dropped then call('HSET', H, 'w', '0') end", '')], dict(A='ttt', B='w'), dict(horizon=1, polls=0, dups=0, checks={'BY'})),
 ('fence = last + 1', [('acquire', 'last < us and us or last + 1', 'last + 1')], T1, dict(horizon=2, flush=1, polls=0, checks={'FM'})),
 ('lease ends a tick early on the server', [('acquire', "'%d', ms + lease", "'%d', ms + lease - 20000")], T1, dict(horizon=3, polls=0, checks={'ME'})),
 ('release without token check', [('release', 'if h[1] == token and till > 0 then', 'if till > 0 then')], T1, dict(horizon=2, polls=0, checks={'ME'})),
 ('extension revives an expired lease', [('extend', 'if till <= ms then', 'if false then')], T1, dict(horizon=4, exts=1, polls=0, checks={'GHOST', 'ME', 'REPLY', 'CODE'})),
 ('sweep takes a lease', PRUNE + [('sweep', 'if free and not head', 'if not head')], T1, dict(FORGET=0, horizon=3, polls=0, sweeps=1, checks={'ME'})),
 ('sweep takes lanes that count', [('sweep', 'us - FORGET then lanes', 'us + FORGET then lanes')], T1, dict(horizon=3, polls=0, sweeps=1, checks={'GHOST'})),
 ('sweep takes the lock with lanes that count', PRUNE + [('sweep', 'not kept and', ''), ('sweep', "'q', 'w')", "'q', 'w', 'laneA', 'laneB')")], T1, dict(FORGET=0, horizon=4, polls=0, sweeps=1, delay=70000, checks={'GHOST'})),
 ('fences that do not follow the clock, swept', PRUNE + [('acquire', 'last < us and us or last + 1', 'last + 1')], T1, dict(FORGET=0, horizon=4, polls=0, sweeps=1, checks={'FM'})),
 ('sweep takes live waiters', [('sweep', 'if tonumber(till) <= ms then', 'if true then')], dict(A='w', B='w', C='w'), dict(horizon=1, polls=0, dups=0, sweeps=1, checks={'SWEEP'})),
 ('sweep drops the head, next not told', [('sweep', 'if free then tell', 'if false then tell')], dict(A='t', B='w', C='w'), dict(B=0, horizon=2, polls=1, dups=0, sweeps=1, checks={'LV'})),
 ('release names another fence as the last', [('release', "(h[1] and call('HGET', H, 'n') or 0)", '0')], T1, dict(horizon=3, polls=0, checks={'CODE'})),
 ('extend names another fence as the last', [('extend', '(h[3] or 0) + 0}', '0}')], T1, dict(horizon=3, polls=0, exts=1, checks={'CODE'})),
]
if __name__ == '__main__':
    for tag, patch, at, mk in M:
        if len(sys.argv) > 1 and not any(x in tag for x in sys.argv[1:] if x != '-v'): continue
        m = Locks(at, patch, **mk)
        try: show(tag, m.explore(seconds=300), m)
        except Exception as e: print('%-44s ERROR %r' % (tag, e))
