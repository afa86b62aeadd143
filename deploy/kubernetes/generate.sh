#!/usr/bin/env bash
# Writes what kustomize has in common with the chart: the base, and whole objects of the production overlay, from the
# chart's own templates. What only Helm reads is left out. Usage: generate.sh <helm> [<where to, else here>]
set -euo pipefail

helm=$1
here=$(cd "$(dirname "$0")" && pwd)
target=${2:-$here}
chart=$here/../helm/mailtier
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without Helm's labels, its hooks, and the checksums that kustomize has names with hashes for.
strip() {
  sed -E -e '/^# Source: /d; /^ *helm\.sh\/chart: /d; /^ *app\.kubernetes\.io\/managed-by: /d' \
    -e '/^ *annotations:$/{N; /checksum\/config: /d; /helm\.sh\/hook: /{N; d}}' "$1" | sed -e '/^ *$/d' -e '1{/^---$/d}'
}

for kind in base production; do
  "$helm" template mailtier "$chart" --namespace mailtier --values "$chart/ci/$kind.yaml" --output-dir "$work/$kind" >/dev/null
done
mkdir -p "$target/base" "$target/overlays/production"
base=$work/base/mailtier/templates production=$work/production/mailtier/templates
sed -n '/mailtier\.toml: |/,$ {/mailtier\.toml: |/d; s/^    //; p}' "$base/config.yaml" >"$target/base/mailtier.toml"
for file in inbound queue outbound migrate disruption networkpolicy; do
  strip "$base/$file.yaml" >"$target/base/$file.yaml"
done
for file in api autoscaling certificates monitoring; do
  strip "$production/$file.yaml" >"$target/overlays/production/$file.yaml"
done
