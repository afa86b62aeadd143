#!/usr/bin/env bash
# Puts a signing name server (Knot DNS) and a validating resolver (Unbound) aside for the tests: the system's own where they
# are installed, else Debian's packages unpacked, so that no service is started. Usage: name_servers.sh <where to>
set -euo pipefail

place=$1/name_servers
[ ! -x "$place/unbound" ] || exit 0
mkdir -p "$place"
place=$(realpath "$place")
if [ -x /usr/sbin/knotd ] && [ -x /usr/sbin/keymgr ] && [ -x /usr/sbin/unbound ]; then
  root=
else
  work=$(mktemp -d "$place/packages.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/partial" "$work/unpacked"
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  apt-get install -y -qq --no-install-recommends --download-only -o Debug::NoLocking=1 \
    -o "Dir::Cache::archives=$work" -o APT::Sandbox::User=root knot unbound >/dev/null
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/unpacked"; done
  rm -rf "$place/unpacked"
  mv "$work/unpacked" "$place"
  root=$place/unpacked
fi
for program in knotd keymgr unbound; do
  # shellcheck disable=SC2016 # the wrapper expands it
  printf '#!/bin/sh\nLD_LIBRARY_PATH=$(echo "%s"/usr/lib/*-linux-gnu) exec "%s/usr/sbin/%s" "$@"\n' "$root" "$root" \
    "$program" >"$place/$program.new"
  chmod +x "$place/$program.new"
  mv "$place/$program.new" "$place/$program"
done
