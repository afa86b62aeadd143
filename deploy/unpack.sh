#!/usr/bin/env bash
# Unpacks Debian's packages, with what of their dependencies this machine lacks, so that no service is started; a wrapper for
# each program finds its libraries there. Where all programs are the system's own, nothing is unpacked, and the wrappers run those.
# Usage: unpack.sh <where to> "<package>…" <wrapper>:<program below /usr/sbin>…
set -euo pipefail

place=$1
packages=$2
shift 2
root=
for program in "$@"; do
  [ -x "/usr/sbin/${program#*:}" ] || root=$place/unpacked
done
if [ -n "$root" ]; then
  work=$(mktemp -d "$place/packages.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/partial" "$work/unpacked"
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  # shellcheck disable=SC2086 # several packages, split on purpose
  "${sudo[@]}" apt-get install -y -qq --no-install-recommends --download-only -o Debug::NoLocking=1 \
    -o "Dir::Cache::archives=$work" -o APT::Sandbox::User=root $packages >/dev/null
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/unpacked"; done
  rm -rf "$root"
  mv "$work/unpacked" "$place"
fi
for program in "$@"; do
  wrapper=$place/${program%%:*}
  # shellcheck disable=SC2016 # the wrapper expands it
  printf '#!/bin/sh\nLD_LIBRARY_PATH=$(echo "%s"/usr/lib/*-linux-gnu) exec "%s/usr/sbin/%s" "$@"\n' "$root" "$root" \
    "${program#*:}" >"$wrapper.new"
  chmod +x "$wrapper.new"
  mv "$wrapper.new" "$wrapper"
done
