#!/usr/bin/env bash
# Puts aside what the tests send mail with and no package manager should install: nodemailer, as its lock file has it,
# Debian's libfaketime, and its Postfix, unpacked for its smtp-source. Usage: clients.sh <folder of the lock file> <where to>
set -euo pipefail

locked=$1
mkdir -p "$2"
place=$(realpath "$2")
if [ ! -d "$place/node_modules/nodemailer" ] || ! cmp -s "$locked/package-lock.json" "$place/package-lock.json"; then
  cp "$locked/package.json" "$locked/package-lock.json" "$place"
  npm ci --prefix "$place" --ignore-scripts --no-audit --no-fund --silent
fi

if [ ! -e "$place/libfaketime.so.1" ]; then
  folder=$(mktemp -d "$place/packages.XXXXXX")
  (cd "$folder" && { apt-get download -qq libfaketime 2>/dev/null || { apt-get update -qq && apt-get download -qq libfaketime; }; })
  dpkg -x "$folder"/*.deb "$folder/unpacked"
  mv "$folder"/unpacked/usr/lib/*/faketime/libfaketime.so.1 "$place"
  rm -rf "$folder"
fi

[ ! -x "$place/postfix/usr/sbin/smtp-source" ] || exit 0
folder=$(mktemp -d "$place/packages.XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq postfix 2>/dev/null || { apt-get update -qq && apt-get download -qq postfix; }
# Libraries that a small system lacks; another release of Debian names some otherwise, and has them under those names.
for library in libicu72 libicu76 libdb5.3 libdb5.3t64 libnsl2 libtirpc3 libtirpc3t64; do
  apt-get download -qq "$library" 2>/dev/null || true
done
mkdir unpacked
for package in *.deb; do dpkg -x "$package" unpacked; done
mv unpacked ../postfix
