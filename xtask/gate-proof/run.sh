#!/usr/bin/env bash
# Runs the proof and what ties it to the engine. `quick` (a few minutes): words, links, the proof, small searches, some logs of the engine.
# `all` (much longer): besides, the planted bugs, large searches and many logs. Anything that is not proved, or not caught, is a failure.
set -euo pipefail
cd "$(dirname "$0")"
how=${1:-quick}
[[ $how == quick || $how == all ]] || { echo "usage: run.sh [quick|all]" >&2; exit 2; }

target=${CARGO_TARGET_DIR:-$PWD/../../target}
python=${PYTHON:-python3}
if ! "$python" -c 'import z3' 2>/dev/null; then
    python=$target/gate-proof-python/bin/python
    [[ -x $python ]] || python3 -m venv "$target/gate-proof-python"
    "$python" -m pip install --quiet --requirement requirements.txt
fi
export CARGO_TARGET_DIR=$target/gate-proof-trace TMPDIR=$target/gate-proof-search # where searches are compiled
mkdir -p "$TMPDIR"
cargo build --quiet --release --manifest-path trace/Cargo.toml

step() { echo "== $1"; shift; "$python" "$@"; }
step "Words: the arithmetic, for all 2^64 words" words.py
step "Links: the list, for any length" links.py
step "Proof: any number of agents" prove.py
step "Search: two agents, every state" explore.py small
step "Logs: what the shipped engine did" replay.py $([[ $how == all ]] && echo 20 || echo 2)
if [[ $how == all ]]; then
    step "Proof: planted bugs" prove.py bugs
    step "Search: planted bugs" explore.py bugs
    step "Search: deadlocks" explore.py deadlocks
    step "Logs: planted bugs in the engine's source" replay.py bugs
    step "Search: three agents, every state" explore.py big
fi
