#!/usr/bin/env bash
# Puts the mail servers aside that the tests deliver to: Debian's packages and what of their dependencies this machine lacks,
# each server in a folder of its own, since they conflict; nothing is installed, and no service is started.
# Usage: mail_servers.sh <where to>
set -euo pipefail

mkdir -p "$1/mail_servers"
place=$(realpath "$1/mail_servers")
missing=()
for server in postfix exim opensmtpd dovecot; do
  [ -d "$place/$server" ] || missing+=("$server")
done
[ ${#missing[@]} -gt 0 ] || exit 0
declare -A packages=([postfix]=postfix [exim]="exim4-base exim4-daemon-light" [opensmtpd]=opensmtpd
  [dovecot]="dovecot-core dovecot-lmtpd")

work=$(mktemp -d "$place/packages.XXXXXX")
trap 'rm -rf "$work"' EXIT
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
for server in "${missing[@]}"; do
  mkdir -p "$work/$server/partial" "$work/$server/unpacked"
  # shellcheck disable=SC2086 # several packages, split on purpose
  apt-get install -y -qq --no-install-recommends --reinstall --download-only -o Debug::NoLocking=1 \
    -o "Dir::Cache::archives=$work/$server" -o APT::Sandbox::User=root ${packages[$server]} >/dev/null
  for package in "$work/$server"/*.deb; do dpkg -x "$package" "$work/$server/unpacked"; done
  # Where some packages have /lib it is a link to /usr/lib.
  if [ -d "$work/$server/unpacked/lib" ]; then
    mkdir -p "$work/$server/unpacked/usr/lib"
    cp -a "$work/$server/unpacked/lib/." "$work/$server/unpacked/usr/lib"
    rm -rf "$work/$server/unpacked/lib"
  fi
  mv "$work/$server/unpacked" "$place/$server"
done
