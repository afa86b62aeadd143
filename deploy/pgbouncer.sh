#!/usr/bin/env bash
# Puts a PgBouncer aside that keeps prepared statements (1.21 or newer): the system's own where it is new enough, else
# Debian 13's, unpacked with the libraries it was built for. Usage: pgbouncer.sh <where to>
set -euo pipefail

place=$1/pgbouncer
[ ! -x "$place/run" ] || exit 0
mkdir -p "$place"
place=$(realpath "$place")
own=$(command -v pgbouncer || true)
if [ -n "$own" ] && printf '1.21\n%s\n' "$("$own" --version | awk 'NR == 1 {print $2}')" | sort -VC; then
  printf '#!/bin/sh\nexec %s "$@"\n' "$own" >"$place/run"
  chmod +x "$place/run"
  exit 0
fi

work=$(mktemp -d "$place/packages.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial unpacked
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >debian.list
options=(-o "Dir::Etc::sourcelist=$work/debian.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
  -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update -qq
apt-get "${options[@]}" download -qq pgbouncer libc6 libcares2 libevent-2.1-7t64 libpam0g libssl3t64 libsystemd0 \
  libaudit1 libcap2 libcap-ng0 libzstd1
for package in *.deb; do dpkg -x "$package" unpacked; done
rm -rf ../unpacked
mv unpacked ..
# shellcheck disable=SC2016 # the wrapper expands it
printf '#!/bin/sh\nexec "%s"/usr/lib64/ld-linux-*.so.2 --library-path "$(echo "%s"/usr/lib/*-linux-gnu)" "%s" "$@"\n' \
  "$place/unpacked" "$place/unpacked" "$place/unpacked/usr/sbin/pgbouncer" >"$place/run.new"
chmod +x "$place/run.new"
mv "$place/run.new" "$place/run"
