#!/usr/bin/env bash
# Checks what installations are made of, without a container engine: every check that has something to look at runs, and all
# of them, whatever the first says. Tools are put aside below the build's folder; nothing is installed but Python's venv.
# Usage: check.sh <the build's folder>
set -euo pipefail

cd "$(dirname "$0")/.."
mkdir -p "$1/checks" "$1/clients"
place=$(realpath "$1/checks") clients=$(realpath "$1/clients")
failed=()

# The tools of deploy/check/requirements.txt, of these versions and no others.
python_tools() {
  cmp -s deploy/check/requirements.txt "$place/requirements.txt" && return
  rm -rf "$place/venv"
  python3 -c 'import ensurepip, venv' 2>/dev/null || deploy/setup.sh /nonexistent:python3-venv
  python3 -m venv "$place/venv"
  "$place/venv/bin/pip" install --quiet --disable-pip-version-check --requirement deploy/check/requirements.txt
  cp deploy/check/requirements.txt "$place"
}

# Debian's, unpacked: a Prometheus that is installed would run.
promtool() {
  [ ! -x "$place/promtool" ] || return 0
  local work
  work=$(mktemp -d "$place/packages.XXXXXX")
  (cd "$work" && { apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; })
  dpkg -x "$work"/*.deb "$work/unpacked"
  mv "$work/unpacked/usr/bin/promtool" "$place"
  rm -rf "$work"
}

# files <pattern>…: those of the project.
files() {
  local patterns=()
  for pattern in "$@"; do patterns+=(-o -name "$pattern"); done
  find . \( -path ./data -o -name target -o -name node_modules -o -name .git \) -prune -o -type f \( "${patterns[@]:1}" \) -print | sort
}

# check <what> <command> <file>…: says how it went; where there are no files there is nothing to check.
check() {
  local what=$1 command=$2 output
  shift 2
  [ $# -gt 0 ] || return 0
  # shellcheck disable=SC2086 # a command with its options, split on purpose
  if output=$($command "$@" 2>&1); then
    printf 'ok      %-14s %d files\n' "$what" $#
  else
    printf 'FAILED  %s\n%s\n' "$what" "$output"
    failed+=("$what")
  fi
}

python_tools
promtool
deploy/haproxy.sh "$clients"
PATH=$place/venv/bin:$place:$PATH
shopt -s nullglob

mapfile -t scripts < <(files '*.sh')
mapfile -t yaml < <(files '*.yml' '*.yaml')
check shellcheck "shellcheck --external-sources" "${scripts[@]}"
check hadolint hadolint Dockerfile
check yamllint "yamllint --strict --config-file deploy/check/yamllint.yaml" "${yaml[@]}"
check compose "check-jsonschema --builtin-schema vendor.compose-spec" docker-compose.yml
# Its name server is the variable; the rest is as it runs.
DNS_SERVER=127.0.0.11:53 check haproxy "$clients/haproxy/run -c -dW -f" deploy/compose/haproxy.cfg
check prometheus "promtool check config --syntax-only" deploy/compose/prometheus.yml
check units deploy/systemd/check.sh deploy/systemd/*.service deploy/systemd/*.target
check rules "promtool check rules" deploy/prometheus/rules/*.yml
check rule-tests "promtool test rules" deploy/prometheus/tests/*.yml

if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
