#!/usr/bin/env bash
# Puts a HAProxy aside for the tests: the system's own where it is installed, else Debian's. Usage: haproxy.sh <where to>
set -euo pipefail

place=$1/haproxy
[ ! -x "$place/run" ] || exit 0
mkdir -p "$place"
"$(dirname "$0")/unpack.sh" "$(realpath "$place")" haproxy run:haproxy
