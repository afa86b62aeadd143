#!/usr/bin/env bash
# Puts a HAProxy aside for the tests: the system's own where it is installed, else Debian's package with what of its
# dependencies this machine lacks, unpacked, so that no service is started. Usage: haproxy.sh <where to>
set -euo pipefail

place=$1/haproxy
[ ! -x "$place/run" ] || exit 0
mkdir -p "$place"
place=$(realpath "$place")
root=
if ! [ -x /usr/sbin/haproxy ]; then
  work=$(mktemp -d "$place/packages.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/partial" "$work/unpacked"
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" apt-get install -y -qq --no-install-recommends --download-only -o Debug::NoLocking=1 \
    -o "Dir::Cache::archives=$work" -o APT::Sandbox::User=root haproxy >/dev/null
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/unpacked"; done
  rm -rf "$place/unpacked"
  mv "$work/unpacked" "$place"
  root=$place/unpacked
fi
# shellcheck disable=SC2016 # the wrapper expands it
printf '#!/bin/sh\nLD_LIBRARY_PATH=$(echo "%s"/usr/lib/*-linux-gnu) exec "%s/usr/sbin/haproxy" "$@"\n' "$root" "$root" \
  >"$place/run.new"
chmod +x "$place/run.new"
mv "$place/run.new" "$place/run"
