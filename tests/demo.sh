#!/usr/bin/env bash
# Runs the README's demo command as a reader would: waits for the page, sends the printed curl line, presses Ctrl-C.
# usage: tests/demo.sh 'COMMAND'
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
export TMPDIR="$scratch/tmp"
mkdir "$TMPDIR"
trap 'kill -9 -- -"$demo" 2>/dev/null || true; rm -rf "$scratch"' EXIT

set -m # the demo gets a process group of its own, as in a terminal
bash -c "exec $1" >"$scratch/out" 2>"$scratch/err" &
demo=$!
set +m

fail() { echo "demo: $*"; cat "$scratch/out" "$scratch/err"; exit 1; }
for _ in $(seq 1 1200); do
  grep -q 'Ctrl-C' "$scratch/out" && break
  kill -0 "$demo" 2>/dev/null || fail "it ended by itself"
  sleep 0.5
done
grep -q 'Ctrl-C' "$scratch/out" || fail "it was not ready in ten minutes"

page=$(grep -o 'http://127.0.0.1:[0-9]*/' "$scratch/out" | head -n 1)
curl -sf "$page" | grep -qi '<html' || fail "there is no page at $page"
line=$(grep -A 20 'curl ' "$scratch/out" | sed -n '/curl /,/^$/p')
bash -c "$line" >"$scratch/answer" 2>/dev/null || fail "the curl line failed: $line"
grep -q '"deliveries":1' "$scratch/answer" || fail "the webhook was not taken: $(cat "$scratch/answer")"

kill -INT -- -"$demo"
for _ in $(seq 1 40); do kill -0 "$demo" 2>/dev/null || break; sleep 0.25; done
kill -0 "$demo" 2>/dev/null && fail "it did not end on Ctrl-C"
left=$(find "$TMPDIR" -mindepth 1 | head -n 3)
[ -z "$left" ] || fail "it left something behind: $left"
cat "$scratch/out"
echo "demo: ready, answered, ended, nothing left behind"
