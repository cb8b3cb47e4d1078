"""The fake against a real server: the same random calls, with the same given time (TIME is replaced in the script by the last two ARGV),
and after each call the whole data set, expiries and replies are compared.   real.py PORT STEPS SEEDS"""
import redis, random, sys, time
from search import sources
from fake import Fake
PRE = """local real = redis
local redis = {call = function(c, ...) if c == 'TIME' then return {ARGV[#ARGV - 1], ARGV[#ARGV]} end return real.call(c, ...) end,
  pcall = function(c, ...) if c == 'HRANDFIELD' then return {} end return real.pcall(c, ...) end}
"""
def run(port, steps, seed):
    rng = random.Random(seed)
    r = redis.Redis(port=port, decode_responses=True); r.flushall()
    f = Fake(track_all=True); f.db, f.exp = {}, {}; f.prune_all = False
    sha = {}
    for n, s in sources().items(): f.load(n, s); sha[n] = r.script_load(PRE + s)
    us = int(time.time()) * 1000000 + 10**15 // 10           # ahead, so that real expiries (relative) never strike
    toks, stamps, cover = [], {}, {}
    names = [['H', 'Q', 'W'], ['Hy', 'Qy', 'Wy']]
    for step in range(steps):
        us += rng.choice([0, 1, 1000, 50_000, 50_000, 400_000] + [2_000_000, 9_000_000] * (rng.random() < .2) + [200_000_000] * (rng.random() < .1))
        if not toks or rng.random() < .3:
            lane = 'lane%d' % rng.randrange(5)
            st = stamps[lane] = max(stamps.get(lane, 0) + 1, us + 10_000_000)
            toks.append(('t%d' % step, lane, st)); toks = toks[-8:]
        t = rng.choice(toks)
        n = rng.choice(['acquire'] * 5 + ['acquire_all'] * 3 + ['release', 'release', 'extend', 'status', 'sweep'])
        K = rng.choice(names)
        if n == 'acquire_all': K = sum(rng.sample(names, 2), [])
        if n in ('acquire', 'acquire_all'): k, a = K, [*t, 3200, '200 3000 own', '%d %d ch' % (rng.choice([0, 1, 2]), rng.choice([0, 3000]))]
        elif n == 'release': k, a = K, [*t]
        elif n == 'extend': k, a = K[:1], [t[0], rng.choice([1000, 5000]), rng.choice('sa'), rng.randrange(1, 5)]
        elif n == 'sweep': k, a = K, []
        else: k, a = K[:2], []
        a = [str(x) for x in a]
        began, before = time.monotonic(), {x: r.pttl(x) for x in r.keys()}
        real = r.evalsha(sha[n], len(k), *k, *a, str(us // 1000000), str(us % 1000000))
        fk = f.run(n, k, a, us)
        c = n, real[0] if n in ('acquire', 'acquire_all', 'release', 'sweep') else min(real[0], 0) if n == 'extend' else ''
        cover[c] = cover.get(c, 0) + 1
        assert real == fk, (step, n, a, real, fk)
        dump, exp = {}, {}
        for x in r.keys():
            ty = r.type(x)
            dump[x] = r.hgetall(x) if ty == 'hash' else dict(r.zrange(x, 0, -1, withscores=True))
            exp[x] = r.pttl(x)
        assert dump == f.db, (step, n, a, dump, f.db)
        assert set(exp) == set(f.exp), (exp, f.exp)
        took = (time.monotonic() - began) * 1000
        for x in exp:
            if exp[x] > before.get(x, -2) + 50 or exp[x] < before.get(x, 0) - took - 50:  # was set in this step: it must be the same
                assert abs(exp[x] - (f.exp[x] - us // 1000)) < 5000, (x, exp[x], f.exp[x] - us // 1000)
    return cover
if __name__ == '__main__':
    port, steps, seeds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    tot = {}
    for s in range(seeds):
        for k, v in run(port, steps, s).items(): tot[k] = tot.get(k, 0) + v
    print('compared', sum(tot.values()), 'calls'); print(sorted(tot.items(), key=repr))
