#!/usr/bin/env bash
# Installs what the tests need beside Rust, from Debian's or Ubuntu's packages. Does nothing where it is all there.
set -euo pipefail

packages=()
command -v cc >/dev/null || packages+=(build-essential)
command -v prometheus-alertmanager >/dev/null || packages+=(prometheus-alertmanager)
command -v curl >/dev/null || packages+=(curl)
if ! command -v npm >/dev/null; then packages+=(nodejs npm); fi
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
# The tests start PostgreSQL from its own binaries, as another user where they are run by root.
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! [ -x "$(pg_config --bindir 2>/dev/null)/initdb" ]; then
  packages+=(postgresql)
fi

if [ ${#packages[@]} -gt 0 ]; then
  root=""
  [ "$(id -u)" -eq 0 ] || root="sudo"
  $root apt-get update -q
  # The tests start Alertmanager and PostgreSQL themselves: the packages' services must not.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod +x "$policy"
    trap '$root rm -f "$policy"' EXIT
  fi
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
fi

# Clients that nobody here wrote, for the tests that let them sign: a few small packages, each version locked.
signer="${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/signer"
clients="$(dirname "$0")/signers"
mkdir -p "$signer"
if ! cmp -s "$clients/package-lock.json" "$signer/package-lock.json"; then
  cp "$clients/package.json" "$clients/package-lock.json" "$signer/"
  # What was installed halfway must not pass for done.
  npm ci --silent --ignore-scripts --no-audit --no-fund --prefix "$signer" || { rm -f "$signer/package-lock.json"; exit 1; }
fi
if ! cmp -s "$clients/requirements.txt" "$signer/requirements.txt"; then
  python3 -m venv "$signer/python"
  "$signer/python/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$clients/requirements.txt"
  cp "$clients/requirements.txt" "$signer/"
fi
