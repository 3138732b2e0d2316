#!/usr/bin/env bash
# Installs what is missing, and nothing else: Debian packages from apt-packages.txt, Python
# packages from requirements.txt into .venv. Cheap when nothing is missing.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"

say() { printf '== %s\n' "$*" >&2; }

missing=()
for package in $(grep -v '^#' cmake/apt-packages.txt); do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
      as_root=(sudo)
    else
      say "missing Debian packages, and no right to install them: ${missing[*]}"
      say "ask an administrator, or build against your site's modules: docs/installing.md"
      exit 2
    fi
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  # The daemons of slurm and munge are started by the tests alone.
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

want=$(sha256sum cmake/requirements.txt | cut -c1-16)
if [ "$(cat .venv/.installed 2>/dev/null || true)" != "$want" ]; then
  say "installing Python packages into .venv (torch is a large download)"
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r cmake/requirements.txt
  printf '%s\n' "$want" > .venv/.installed
fi
