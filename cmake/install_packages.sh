#!/bin/bash
# Installs the Debian packages named on the command line that are missing. As root, or by sudo where it asks no password; where
# neither works, prints the line to run and fails. Says nothing when there is nothing to do.
set -euo pipefail

is_installed() {
  [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

if ! command -v dpkg-query >/dev/null; then
  echo "This is no Debian: install what these packages hold by other means: $*" >&2
  exit 1
fi

missing=()
for package in "$@"; do
  is_installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

if ((EUID == 0)); then
  as_root=(env)
elif sudo -n true 2>/dev/null; then
  as_root=(sudo -n env)
else
  echo "Packages are missing, and this is neither root nor sudo without a password. Run:" >&2
  echo "  sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends ${missing[*]}'" >&2
  exit 1
fi

apt() {
  "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}

echo "Installing ${missing[*]}" >&2
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
# A fresh container has no package lists at all, and old lists name files that are gone.
if ! { apt update && apt install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
  cat "$log" >&2
  echo "Could not install: ${missing[*]}" >&2
  exit 1
fi
