#!/usr/bin/env bash
# Writes what is made from something else: into the chart the alerts and dashboards, for kustomize the base and whole
# objects of the production overlay, from the chart's own templates without what only Helm reads.
# Usage: generate.sh <helm> [<a folder instead of deploy>]
set -euo pipefail

helm=$1
deploy=$(cd "$(dirname "$0")/.." && pwd)
target=${2:-$deploy}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without Helm's labels, its hooks, and the checksums that kustomize has names with hashes for.
strip() {
  sed -E -e '/^# Source: /d; /^ *helm\.sh\/chart: /d; /^ *app\.kubernetes\.io\/managed-by: /d' \
    -e '/^ *annotations:$/{N; /checksum\/config: /d; /helm\.sh\/hook: /{N; d}}' "$1" | sed -e '/^ *$/d' -e '1{/^---$/d}'
}

cp -r "$deploy/helm/mailtier" "$work/chart"
rm -rf "$work/chart/files" "$target/helm/mailtier/files"
mkdir -p "$work/chart/files"/{rules,dashboards} "$target/helm/mailtier" "$target/kubernetes"/{base,overlays/production}
shopt -s nullglob
rules=("$deploy"/prometheus/rules/*.yml) dashboards=("$deploy"/grafana/dashboards/*.json)
[ ${#rules[@]} -eq 0 ] || cp "${rules[@]}" "$work/chart/files/rules"
[ ${#dashboards[@]} -eq 0 ] || cp "${dashboards[@]}" "$work/chart/files/dashboards"
cp -r "$work/chart/files" "$target/helm/mailtier"

for kind in base production; do
  "$helm" template mailtier "$work/chart" --namespace mailtier --values "$work/chart/ci/$kind.yaml" \
    --output-dir "$work/$kind" >/dev/null
done
base=$work/base/mailtier/templates production=$work/production/mailtier/templates
sed -n '/mailtier\.toml: |/,$ {/mailtier\.toml: |/d; s/^    //; p}' "$base/config.yaml" >"$target/kubernetes/base/mailtier.toml"
for file in inbound queue outbound migrate disruption networkpolicy; do
  strip "$base/$file.yaml" >"$target/kubernetes/base/$file.yaml"
done
for file in api autoscaling certificates monitoring; do
  strip "$production/$file.yaml" >"$target/kubernetes/overlays/production/$file.yaml"
done
