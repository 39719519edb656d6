#!/bin/sh
# Installs the Debian packages named as arguments that are not there yet. Asks nothing.
set -eu
missing=
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $package"
done
# Whoever has node or npm from elsewhere keeps it.
command -v node >/dev/null && missing=$(echo "$missing" | sed 's/ nodejs//')
command -v npm >/dev/null && missing=$(echo "$missing" | sed 's/ npm//')
[ -n "$missing" ] || exit 0
janus=$(echo "$missing" | grep -w janus || true)
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
echo "installing:$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of names
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
# The tests start Janus themselves: one that nobody asked for would hold its ports.
[ -z "$janus" ] || $as_root systemctl disable --now janus >/dev/null 2>&1 || true
