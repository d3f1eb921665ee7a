#!/usr/bin/env bash
# Installs what the tests need beside Rust, from Debian's or Ubuntu's packages. Does nothing where it is all there.
set -euo pipefail

packages=()
command -v cc >/dev/null || packages+=(build-essential)
command -v prometheus-alertmanager >/dev/null || packages+=(prometheus-alertmanager)
command -v curl >/dev/null || packages+=(curl)
if ! command -v npm >/dev/null; then packages+=(nodejs npm); fi
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

# A signer that nobody here wrote, for the test that lets it sign.
signer="${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/signer"
if [ ! -d "$signer/node_modules/@octokit/webhooks-methods" ]; then
  mkdir -p "$signer"
  npm install --silent --no-audit --no-fund --prefix "$signer" @octokit/webhooks-methods@6
fi
