#!/bin/bash
# Installs those Debian packages named on the command line that are missing. It needs root, or sudo
# without a password. Without both, it prints the line to run and fails. It prints nothing when
# nothing is missing.
#
# --optional "PACKAGE..." as the first argument: installs these, too, but does without them where
# they cannot be had.
set -euo pipefail

optional=()
if [[ "${1:-}" == --optional ]]; then
  read -ra optional <<<"$2"
  shift 2
fi

is_installed() {
  [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

if ! command -v dpkg-query >/dev/null; then
  echo "This is no Debian. Install what these packages contain by other means: $*" >&2
  exit 1
fi

required_missing=()
for package in "$@"; do
  is_installed "$package" || required_missing+=("$package")
done
optional_missing=()
for package in "${optional[@]}"; do
  is_installed "$package" || optional_missing+=("$package")
done
missing=("${required_missing[@]}" "${optional_missing[@]}")
if ((${#missing[@]} == 0)); then
  exit 0
fi

if ((EUID == 0)); then
  as_root=(env)
elif sudo -n true 2>/dev/null; then
  as_root=(sudo -n env)
elif ((${#required_missing[@]} == 0)); then
  exit 0
else
  echo "Packages are missing, and this is neither root nor sudo without a password. Run:" >&2
  echo "  sudo apt-get update" >&2
  echo "  sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

apt() {
  "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}

install() {
  apt install -y --no-install-recommends "$@"
}

echo "Installing ${missing[*]}" >&2
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
# A fresh container has no package lists at all. Old lists name files that no longer exist.
if { apt update && install "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
  exit 0
fi
if { ((${#required_missing[@]} == 0)) || install "${required_missing[@]}"; } \
  >>"$log" 2>&1 </dev/null; then
  echo "Going on without ${optional_missing[*]}" >&2
  exit 0
fi
cat "$log" >&2
echo "Could not install: ${required_missing[*]}" >&2
exit 1
