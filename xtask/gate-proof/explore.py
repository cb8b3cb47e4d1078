"""Searches every state that a few agents can reach. The steps, the invariant and the goals of the
model are printed as C++ from the very terms that prove.py proves, and the program is compiled
and run (g++).

    explore.py small | big      the configurations of that list; each search is complete, or the run fails
    explore.py bugs [NAME..]    each planted bug must break a goal; prints a shortest run that does
    explore.py deadlocks        planted bugs must leave states from which nobody gets home, if no goal stops the search

`nowhere` counts the states from which progress alone (no new request, no cancelling, no spurious
wake-up) cannot bring everybody home.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import z3
from invariant import *

AGENT_SORT, s = symbolic()
t, u, x = z3.Consts("t u x", AGENT_SORT)
k, i, j = z3.Ints("k i j")
LOOSE = {"t", "u", "x", "k", "i", "j"}
OPERATORS = {
    z3.Z3_OP_AND: "&&",
    z3.Z3_OP_OR: "||",
    z3.Z3_OP_ADD: "+",
    z3.Z3_OP_SUB: "-",
    z3.Z3_OP_MUL: "*",
    z3.Z3_OP_EQ: "==",
    z3.Z3_OP_LE: "<=",
    z3.Z3_OP_LT: "<",
    z3.Z3_OP_GE: ">=",
    z3.Z3_OP_GT: ">",
}
ALL = {**VARIABLES, **PER_AGENT, **PER_PLACE, **PER_SLOT}
IN_CPP = {name: f"v_{name}" for name in ALL}  # `next` and others are names of C++, too


def cpp(e):
    """A term as a C++ expression."""
    if isinstance(e, bool):
        return str(int(e))
    if isinstance(e, int):
        return str(e)
    if z3.is_int_value(e):
        return f"({e.as_long()})"
    kind, arguments, name = e.decl().kind(), [cpp(y) for y in e.children()], e.decl().name()
    if kind in (z3.Z3_OP_TRUE, z3.Z3_OP_FALSE):
        return "1" if kind == z3.Z3_OP_TRUE else "0"
    if kind == z3.Z3_OP_NOT:
        return f"!{arguments[0]}"
    if kind == z3.Z3_OP_UMINUS:
        return f"(-{arguments[0]})"
    if kind == z3.Z3_OP_ITE:
        return "({}?{}:{})".format(*arguments)
    if kind == z3.Z3_OP_DISTINCT:
        return "({}!={})".format(*arguments)
    if kind in OPERATORS:
        return "(" + OPERATORS[kind].join(arguments) + ")"
    if not arguments:
        return name if name in LOOSE else f"C_{name}" if name in CONSTANTS else f"s.{IN_CPP[name]}"
    if name in AGENT_CONSTANTS:
        return f"C_{name}[ag({arguments[0]})]"
    if name in PER_AGENT:
        return f"s.{IN_CPP[name]}[ag({arguments[0]})]"
    if name in PER_PLACE:
        return f"s.{IN_CPP[name]}[pl({arguments[0]})]"
    return f"s.{IN_CPP[name]}[ag({arguments[0]})][sl({arguments[1]})]"


def unchanged(n, name, *at):
    a, b = getattr(n, name), getattr(s, name)
    if a is b:
        return True
    a, b = (a(*at), b(*at)) if at else (a, b)
    return z3.is_expr(a) and z3.is_expr(b) and a.eq(b)


# Requests, and whatever else a user is free not to do. A wake-up out of nowhere is none of it either.
NO_PROGRESS = (
    "try_enter",
    "arrive",
    "try_upgrade",
    "upgrade",
    "close",
    "add",
    "forget_lock",
    "forget_held",
    "give_up",
    "leak",
)
ONLY_GHOSTS = (
    "overtaking_bound",
    "first_is_overtaken_at_most_twice_the_budget",
    "I11_overtaken",
    "I11_overtaken_first",
)


def source(c, bug, cap, goals):
    n, steps = len(c["want"]), transitions(bug)
    for name, fields in dict(heir=[0] * n, recursive=[0] * n, task=[0] * n).items():
        c.setdefault(name, fields)
    for name, value in dict(
        M=c["total"], UPGRADABLE=99, REST=1, fixed=0, upgrades=0, leaky=0, ghosts=1
    ).items():
        c.setdefault(name, value)
    out = [
        "#include <chrono>",
        "#include <cstdint>",
        "#include <cstdio>",
        "#include <cstdlib>",
        "#include <cstring>",
        "#include <string>",
        "#include <vector>",
        "typedef signed char V;",
        f"const int A={n}, P={n}+4, S={n}+1, GHOSTS={c['ghosts']};",
    ]
    out += [f"const int C_{name}={int(c[name])};" for name in CONSTANTS]
    out += [
        f"const int C_{name}[A]={{{','.join(str(int(y)) for y in c[name])}}};" for name in AGENT_CONSTANTS
    ]
    out.append("""static inline int ag(int a){return (unsigned)a<(unsigned)A?a:0;}
static inline int pl(int a){return (unsigned)a<(unsigned)P?a:P-1;}
static inline int sl(int a){return (unsigned)a<(unsigned)S?a:S-1;}""")
    out.append(
        "struct St{V "
        + ",".join(
            [IN_CPP[f] for f in VARIABLES]
            + [f"{IN_CPP[f]}[A]" for f in PER_AGENT]
            + [f"{IN_CPP[f]}[P]" for f in PER_PLACE]
            + [f"{IN_CPP[f]}[A][S]" for f in PER_SLOT]
        )
        + ";};"
    )
    out.append("enum{" + ",".join(LOCATIONS) + "};")
    for number, (name, step) in enumerate(steps.items()):
        guard, m = step(s, t, k)
        out.append(
            f"static bool g{number}(const St&s,int t,int k){{return {cpp(guard)};}}\nstatic void t{number}(const St&s,int t,int k,St&n){{n=s;"
        )
        for f in VARIABLES:
            if not unchanged(m, f):
                out.append(f" n.{IN_CPP[f]}={cpp(getattr(m, f))};")
        for f in PER_AGENT:
            if not unchanged(m, f, x):
                out.append(f" for(int x=0;x<A;x++) n.{IN_CPP[f]}[x]={cpp(getattr(m, f)(x))};")
        for f in PER_PLACE:
            if not unchanged(m, f, i):
                out.append(f" for(int i=0;i<P;i++) n.{IN_CPP[f]}[i]={cpp(getattr(m, f)(i))};")
        for f in PER_SLOT:
            if not unchanged(m, f, x, i):
                out.append(
                    f" for(int x=0;x<A;x++)for(int i=0;i<S;i++) n.{IN_CPP[f]}[x][i]={cpp(getattr(m, f)(x, i))};"
                )
        out.append("}")

    def table(function, entries):
        out.append(f"static const char*{function}(const St&s){{")
        for name, (agents, places, f) in entries.items():
            if c["ghosts"] or name not in ONLY_GHOSTS:
                loops = "".join(f"for(int {a}=0;{a}<A;{a}++)" for a in "tu"[:agents]) + "".join(
                    f"for(int {p}=0;{p}<=A;{p}++)" for p in "ij"[:places]
                )
                out.append(
                    f' {loops} if(!({cpp(f(s, *[t, u][:agents], *[i, j][:places]))})) return "{name}";'
                )
        out.append(" return 0;}")

    table("invariant", INVARIANT if goals and not bug else {})
    table("goal", GOALS if goals else {})
    out.append("static const char*step_goal(int step,const St&s,int t,int k){switch(step){")
    for number, (name, step) in enumerate(steps.items()):
        here = [(g, f(s, t)) for g, (names, f) in STEP_GOALS.items() if name in names]
        here += [
            (g, f(s, step(s, t, k)[1], t))
            for g, (names, f) in CHANGE_GOALS.items()
            if (not names or name in names) and name != "leak"
        ]
        out.append(
            f" case {number}: "
            + " ".join(f'if(!({cpp(f)})) return "{g}";' for g, f in here if goals)
            + " break;"
        )
    out.append("} return 0;}")
    out.append(f"""static bool is_blocked(const St&s,int t){{return {cpp(blocked(s, t))};}}
static bool has_come(const St&s){{return {cpp(turn_has_come(s))};}}
static bool is_looping(const St&s){{return {cpp(looping(s))};}}
static bool not_stuck(const St&s,int t){{return {cpp(nobody_is_stuck(s, t))};}}
static const char*stuck(const St&s){{
 bool all=true,unpolled=true;
 for(int t=0;t<A;t++){{int p=s.v_pc[t]; all=all&&is_blocked(s,t); unpolled=unpolled&&(p==IDLE||p==HOLD||p==PARK);}}
 if(all) for(int t=0;t<A;t++) if(!not_stuck(s,t)) return "nobody_is_stuck";
 if(unpolled&&has_come(s)) return "nobody_is_stuck_if_the_called_are_not_polled";
 return 0;}}
// One state for all that differ only in what nobody reads any more.
static void tidy(St&s){{
 for(int t=0;t<A;t++){{int p=s.v_pc[t]; bool freeing=p==FREE||p==CAS||p==WAKE||p==RELOCK||p==LATE;
  if(!s.v_inlist[t]) s.v_place[t]=s.v_ahead[t]=s.v_overtaken[t]=s.v_resets[t]=s.v_over_head[t]=s.v_over_first[t]=s.v_state[t]=s.v_handle[t]=s.v_ishead[t]=s.v_token[t]=0;
  if(!GHOSTS) s.v_ahead[t]=s.v_overtaken[t]=s.v_resets[t]=s.v_over_first[t]=0;
  if(!s.v_carried[t]) s.v_carrier[t]=s.v_slot[t]=0;
  if(!freeing) s.v_returns[t]=s.v_batch_len[t]=s.v_woken[t]=0;
  if(p!=FREE&&p!=CAS) s.v_closes[t]=s.v_clears[t]=0;
  for(int i=0;i<S;i++) if(!freeing||i<s.v_woken[t]||i>=s.v_batch_len[t]) s.v_batch[t][i]=0;
  if(p!=CALL_DUE&&p!=CALL_CAS&&p!=LATE&&!({int(bug == "due is stored after the list is free")}&&p==CAS)) s.v_seen[t]=0;
  if(!s.v_held[t]) s.v_holder_place[t]=0;}}
 if(!s.v_qlock) s.v_judged=s.v_editor=0;
 int w=s.v_pc[ag(s.v_caller)];
 if(w!=CALL&&w!=CALL_DUE&&w!=CALL_CAS) for(int t=A-1;t>=0;t--){{int p=s.v_pc[t]; if(p!=CALL&&p!=CALL_DUE&&p!=CALL_CAS) s.v_caller=t;}}
 if(!is_looping(s)) for(int t=A-1;t>=0;t--){{St z=s; z.v_looper=t; if(!is_looping(z)) s.v_looper=t;}}
 for(int i=0;i<P;i++){{ if(i>=s.v_length) s.v_at[i]=0; if(i>=s.v_holders) s.v_holder[i]=0; if(i>s.v_length) s.v_need_sum[i]=0; if(i>s.v_holders) s.v_held_sum[i]=0; }} }}
const int STEPS={len(steps)};
static bool(*guard[STEPS])(const St&,int,int)={{{','.join(f'g{q}' for q in range(len(steps)))}}};
static void(*move_[STEPS])(const St&,int,int,St&)={{{','.join(f't{q}' for q in range(len(steps)))}}};
static const char*name[STEPS]={{{','.join(f'"{q}"' for q in steps)}}};
static const bool chooses[STEPS]={{{','.join(str(int(q in CHOOSES)) for q in steps)}}};
static const bool progress[STEPS]={{{','.join(str(int(q not in NO_PROGRESS)) for q in steps)}}};
const int UNPARK={list(steps).index("unpark")};
std::vector<St> states; struct From{{uint32_t state; uint8_t step,t,k;}}; std::vector<From> from; std::vector<uint32_t> table_; uint64_t mask;
static uint64_t hash(const St&s){{const unsigned char*p=(const unsigned char*)&s; uint64_t h=1469598103934665603ull; size_t i=0;
 for(;i+8<=sizeof(St);i+=8){{uint64_t v; memcpy(&v,p+i,8); h=(h^v)*0x9E3779B97F4A7C15ull; h^=h>>29;}}
 for(;i<sizeof(St);i++) h=(h^p[i])*1099511628211ull;
 return h^h>>32;}}
static uint32_t find(const St&s,uint32_t f,int step,int t,int k){{
 uint64_t h=hash(s)&mask;
 for(;table_[h];h=(h+1)&mask) if(!memcmp(&states[table_[h]-1],&s,sizeof(St))) return table_[h]-1;
 states.push_back(s); from.push_back({{f,(uint8_t)step,(uint8_t)t,(uint8_t)k}}); table_[h]=states.size();
 if(states.size()*2>mask){{mask=mask*2+1; std::vector<uint32_t>().swap(table_); table_.resize(mask+1);
  for(uint32_t q=0;q<states.size();q++){{uint64_t z=hash(states[q])&mask; while(table_[z]) z=(z+1)&mask; table_[z]=q+1;}}}}
 return states.size()-1;}}
static void broken(const char*what,uint32_t at){{std::vector<std::string> run;
 for(uint32_t z=at;z;z=from[z].state){{char b[80]; snprintf(b,80,chooses[from[z].step]?"%s(%d,%d)":"%s(%d)",name[from[z].step],from[z].t,from[z].k); run.push_back(b);}}
 printf("{{\\"states\\":%zu,\\"broken\\":\\"%s\\",\\"steps\\":%zu,\\"run\\":\\"",states.size(),what,run.size());
 for(size_t z=run.size();z--;) printf("%s ",run[z].c_str());
 printf("\\"}}\\n"); exit(0);}}
int main(){{
 mask=(1<<20)-1; table_.resize(mask+1); St z; memset(&z,0,sizeof z); z.v_free=z.v_total={c["total"]}; tidy(z); find(z,0,0,0,0);
 static uint64_t taken[STEPS]; int longest=0,overtaken=0; bool cut=false; std::vector<std::pair<uint32_t,uint32_t>> edges;
 for(uint32_t q=0;q<states.size();q++){{ St s=states[q];
  const char*b=goal(s); if(!b&&{int(goals)}) b=stuck(s); if(!b) b=invariant(s); if(b) broken(b,q);
  if(s.v_length>longest) longest=s.v_length;
  for(int t=0;t<A;t++) if(s.v_inlist[t]&&s.v_overtaken[t]>overtaken) overtaken=s.v_overtaken[t];
  for(int step=0;step<STEPS;step++) for(int t=0;t<A;t++) for(int k=0;k<=(chooses[step]?C_M:0);k++) if(guard[step](s,t,k)){{
   b=step_goal(step,s,t,k); if(b){{char m[120]; snprintf(m,120,"%s at %s(%d)",b,name[step],t); broken(m,q);}}
   St n; move_[step](s,t,k,n); tidy(n); taken[step]++; uint32_t id=find(n,q,step,t,k);
   if(progress[step]&&!(step==UNPARK&&!s.v_token[t])) edges.push_back({{id,q}}); }}
  if(states.size()>{cap}u){{cut=true;break;}} }}
 long nowhere=-1;
 if(!cut){{ // backwards from the states in which everybody is home
  std::vector<uint32_t> off(states.size()+1); for(auto&e:edges) off[e.first+1]++; for(size_t q=0;q<states.size();q++) off[q+1]+=off[q];
  std::vector<uint32_t> fill(off.begin(),off.end()-1), src(edges.size()); for(auto&e:edges) src[fill[e.first]++]=e.second;
  std::vector<char> home(states.size()); std::vector<uint32_t> todo;
  for(uint32_t q=0;q<states.size();q++){{bool all=true; for(int t=0;t<A;t++) all=all&&states[q].v_pc[t]==IDLE; if(all){{home[q]=1;todo.push_back(q);}}}}
  while(todo.size()){{uint32_t q=todo.back(); todo.pop_back(); for(uint32_t e=off[q];e<off[q+1];e++) if(!home[src[e]]){{home[src[e]]=1;todo.push_back(src[e]);}}}}
  nowhere=0; for(size_t q=0;q<states.size();q++) nowhere+=!home[q]; }}
 printf("{{\\"states\\":%zu,\\"complete\\":%d,\\"overtaken\\":%d,\\"longest\\":%d,\\"nowhere\\":%ld,\\"never\\":\\"",states.size(),!cut,overtaken,longest,nowhere);
 for(int q=0;q<STEPS;q++) if(!taken[q]) printf("%s ",name[q]);
 printf("\\"}}\\n"); }}
""")
    return "\n".join(out)


def explore(c, bug=None, cap=30_000_000, goals=True):
    text = source(dict(c), bug, cap, goals)
    stem = os.path.join(
        tempfile.gettempdir(), "gate-explore-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    )
    if not os.path.exists(stem):
        with open(stem + ".cpp", "w") as f:
            f.write(text)
        subprocess.run(["g++", "-O2", "-w", "-std=c++17", stem + ".cpp", "-o", stem + ".new"], check=True)
        os.rename(stem + ".new", stem)
    ran = subprocess.run([stem], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(
            f"the search of {c} ended with {ran.returncode} (out of memory?) {ran.stdout[-200:]}{ran.stderr[-200:]}"
        )
    return json.loads(ran.stdout)


def gate(total, B, BATCH, want, task, **more):
    return dict(total=total, B=B, BATCH=BATCH, want=want, task=task, **more)


def lock(B, BATCH, task):
    return gate(1, B, BATCH, [1] * len(task), task, fixed=1)


def rwlock(B, BATCH, want, task, total=5, **more):
    return gate(
        total,
        B,
        BATCH,
        want,
        task,
        fixed=1,
        upgrades=1,
        UPGRADABLE=total // 2 + 1,
        REST=(total - 1) // 2,
        **more,
    )


# Locks; semaphores, which may close and change their maximum (up to M); read-write locks. Of those
# with 5 permits a reader takes 1, an upgradable reader 3, a writer 5; of those with 3, it is 1, 2, 3.
SMALL = [
    lock(0, 9, [0, 1]),
    lock(1, 1, [0, 1]),
    gate(1, 1, 1, [1, 1], [0, 1], M=2),
    gate(2, 1, 1, [1, 2], [0, 1], M=3),
    gate(2, 2, 9, [2, 2], [0, 1], M=3),
    rwlock(1, 1, [3, 1], [1, 0]),
    rwlock(1, 9, [3, 5], [0, 1]),
    rwlock(0, 1, [3, 3], [1, 1]),
    rwlock(1, 9, [1, 5], [0, 1], recursive=[1, 0]),
    rwlock(1, 1, [3, 5], [1, 0], leaky=1, heir=[1, 0]),
]
BIG = [
    lock(0, 1, [0, 1, 0]),
    lock(1, 9, [0, 1, 0]),
    lock(2, 9, [0, 1, 0]),
    gate(2, 1, 1, [1, 1, 2], [0, 1, 0], ghosts=0),
    gate(1, 1, 9, [1, 1, 1], [0, 1, 1], M=2, ghosts=0),
    gate(3, 1, 2, [1, 2, 3], [1, 0, 0], ghosts=0),
    rwlock(1, 9, [1, 2, 3], [0, 1, 0], total=3, ghosts=0),
    rwlock(0, 1, [2, 2, 3], [0, 1, 0], total=3, ghosts=0),
    rwlock(1, 1, [1, 1, 3], [0, 0, 1], total=3, ghosts=0),
    rwlock(2, 1, [2, 1, 3], [1, 0, 0], total=3, ghosts=0),
    rwlock(1, 9, [1, 2, 3], [0, 1, 0], total=3, recursive=[1, 0, 0], ghosts=0),
    rwlock(1, 9, [2, 1, 3], [1, 0, 0], total=3, leaky=1, heir=[1, 0, 0], ghosts=0),
]
# Where each planted bug shows.
TWO_LOCKERS, THREE_LOCKERS = lock(1, 1, [0, 1]), lock(1, 9, [0, 1, 0])
READER_UPGRADE_WRITER = rwlock(1, 9, [1, 3, 5], [0, 1, 0])
RESIZED = gate(2, 1, 1, [1, 2], [0, 1], M=2)
RESIZED_BY_A_THIRD = gate(2, 1, 1, [1, 2, 1], [0, 0, 1], ghosts=0)
SOME_AND_MANY = gate(3, 1, 9, [1, 2, 2], [0, 1, 0], fixed=1, ghosts=0)
SHOWN_BY = {
    "arriving is not counted": TWO_LOCKERS,
    "queueing does not judge": THREE_LOCKERS,
    "the recalled stay ASLEEP": SOME_AND_MANY,
    "FULL as soon as anybody is called": SOME_AND_MANY,
    "unlinking does not reduce called": TWO_LOCKERS,
    "a called waiter enters whatever is called before it": SOME_AND_MANY,
    "the freeing CAS replaces another word": TWO_LOCKERS,
    "a cancelled waiter does not judge": THREE_LOCKERS,
    "due is too large by one": TWO_LOCKERS,
    "the head's leaving does not clear the budget": TWO_LOCKERS,
    "due is stored after the list is free": TWO_LOCKERS,
    "a full batch is the last one": RESIZED_BY_A_THIRD,
    "close tells only those whose turn has come": RESIZED,
    "anybody may enter alone": SOME_AND_MANY,
    "it falls asleep without a handle": TWO_LOCKERS,
    "a release never calls": TWO_LOCKERS,
    "a recalled waiter sleeps on": SOME_AND_MANY,
    "upgrade queues at the back": READER_UPGRADE_WRITER,
    "push_front does not recall": READER_UPGRADE_WRITER,
    "the dismissed are counted as called": RESIZED,
    "too large a need is not dismissed": RESIZED,
    "a fair release leaves the door open": TWO_LOCKERS,
    "adding does not judge": RESIZED,
    "forgetting does not judge": RESIZED,
    "the maximum shrinks before the permits are gone": RESIZED,
}
DEADLOCKS = [
    "a recalled waiter sleeps on",
    "the recalled stay ASLEEP",
    "a release never calls",
    "it falls asleep without a handle",
    "due is too large by one",
    "upgrade queues at the back",
]


def describe(c):
    said = {
        "gate of": c["total"],
        "budget": c["B"],
        "batch": c["BATCH"],
        "wants": c["want"],
        "tasks": c["task"],
    }
    said |= {name: c[name] for name in ("M", "UPGRADABLE", "recursive", "leaky") if name in c}
    return ", ".join(f"{name} {str(value).replace(' ', '')}" for name, value in said.items())


def check_all(configurations):
    failures, total, taken = 0, 0, set()
    for c in configurations:
        r = explore(c)
        ok = r.get("complete") == 1 and (r["nowhere"] == 0 or c.get("leaky"))  # a leaked upgrade stays
        failures += not ok
        total += r["states"]
        taken |= set(transitions()) - set(r.get("never", "").split())
        shown = [
            key
            for key in ("states", "overtaken", "nowhere", "broken", "run")
            if key in r and (key != "overtaken" or c.get("ghosts", 1))
        ]
        print(
            f"    {'' if ok else 'FAILED '}{describe(c)}: " + ", ".join(f"{key} {r[key]}" for key in shown),
            flush=True,
        )
    never = sorted(set(transitions()) - taken)
    print(
        f"    {len(configurations)} searches, {total} states, {failures} failed; steps never taken: {never or 'none'}"
    )
    return failures or configurations is BIG and len(never)  # two agents cannot do everything


def check_bugs(bugs):
    missed = 0
    for bug in bugs:
        r = explore(SHOWN_BY[bug], bug, cap=3_000_000)
        missed += "broken" not in r
        shown = f"{r['broken']} after {r['steps']} steps: {r['run']}" if "broken" in r else f"NOT FOUND {r}"
        print(f"    {bug:52} {shown}", flush=True)
    print(f"    {len(bugs)} planted bugs, {missed} not found")
    return missed


def check_deadlocks():
    failures = 0
    for bug in [None, *DEADLOCKS]:
        for c in [
            rwlock(1, 9, [1, 2, 3], [0, 1, 0], total=3, ghosts=0),
            gate(2, 1, 9, [1, 2, 1], [0, 0, 1], fixed=1, ghosts=0),
            gate(2, 1, 1, [1, 2], [0, 1], M=2),
        ]:
            r = explore(c, bug, goals=False)
            if r["nowhere"]:
                break
        failures += not r["complete"] or (r["nowhere"] != 0) != (bug is not None)
        print(
            f"    {bug or 'no bug':52} {r['states']} states, from {r['nowhere']} nobody gets home", flush=True
        )
    return failures


if __name__ == "__main__":
    what, names = (sys.argv[1:2] or ["small"])[0], sys.argv[2:]
    checks = dict(
        small=lambda: check_all(SMALL),
        big=lambda: check_all(BIG),
        bugs=lambda: check_bugs(names or BUGS),
        deadlocks=check_deadlocks,
    )
    sys.exit(checks[what]() > 0)
