#!/usr/bin/env bash
# Installs Debian packages for what is missing. Each argument is command:package[:package…]; the command may be a file's
# pattern, or empty for PostgreSQL's server, whose programs lie outside the path.
set -euo pipefail

missing=()
for need in "$@"; do
  IFS=: read -r command first more <<<"$need"
  if [ -z "$command" ]; then
    first=${more:-$first}
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null || missing+=("$first")
  elif ! command -v "$command" >/dev/null && ! compgen -G "$command" >/dev/null; then
    # shellcheck disable=SC2206 # several packages, split on purpose
    missing+=("$first" ${more//:/ })
  fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "missing: ${missing[*]}; install them as root" >&2; exit 69; }
  sudo=(sudo)
fi
echo "installing: ${missing[*]}"
"${sudo[@]}" apt-get update -qq
for package in "${missing[@]}"; do
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null && continue
  [ "$package" = rustup ] || { echo "cannot install $package" >&2; exit 69; }
  echo "this Debian has no rustup package: install Rust from https://rustup.rs and run the command again" >&2
  exit 69
done
