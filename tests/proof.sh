#!/usr/bin/env bash
# The long form of the proofs: the fault matrix with large numbers, 100 rounds of each crash. It takes about an hour on two
# cores, and prints the tables that stand in docs/proofs.md. One of them mounts a small disk, which only root can do.
# A part of it: tests/proof.sh matrix, tests/proof.sh crash
set -euo pipefail
cd "$(dirname "$0")/.."
export OPENIM_BRIDGE_PROOF=long
exec cargo test --locked --test stories "proof::${1:-}" -- --nocapture --include-ignored --test-threads=1
