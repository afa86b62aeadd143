#!/usr/bin/env bash
# Puts a signing name server (Knot DNS) and a validating resolver (Unbound) aside for the tests: the system's own where they
# are installed, else Debian's. Usage: name_servers.sh <where to>
set -euo pipefail

place=$1/name_servers
[ ! -x "$place/unbound" ] || exit 0
mkdir -p "$place"
"$(dirname "$0")/unpack.sh" "$(realpath "$place")" "knot unbound" knotd:knotd keymgr:keymgr unbound:unbound
