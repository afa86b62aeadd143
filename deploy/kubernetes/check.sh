#!/usr/bin/env bash
# Renders the chart and the overlays and checks both: schemas, each other, what is made of what, and what the programs
# understand of them. Usage: check.sh <where tools and renderings go> <where the programs are>
set -euo pipefail

place=$(mkdir -p "$1" && realpath "$1") programs=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
chart=$here/../helm/mailtier
"$here/tools.sh" "$place/tools"
helm=$place/tools/helm kubectl=$place/tools/kubectl python=$place/tools/venv/bin
rendered=$place/rendered
rm -rf "$rendered" && mkdir -p "$rendered"

echo "== what is made from the chart is current"
"$here/generate.sh" "$helm" "$rendered/made"
(cd "$rendered/made" && find . -type f) | while read -r file; do
  diff -u "$here/../$file" "$rendered/made/$file" || { echo "deploy/${file#./} is not current: run make k8s" >&2; exit 1; }
done

echo "== rendering"
for values in "$chart"/ci/*.yaml; do
  "$helm" lint --strict --quiet --values "$values" "$chart"
  "$helm" template mailtier "$chart" --namespace mailtier --values "$values" >"$rendered/helm-$(basename "$values")"
done
for folder in base overlays/demo overlays/production database; do
  "$kubectl" kustomize "$here/$folder" >"$rendered/kustomize-$(basename "$folder").yaml"
done

echo "== wrong values are refused by name"
while IFS='|' read -r setting complaint; do
  said=$("$helm" template mailtier "$chart" --values "$chart/ci/base.yaml" --set "$setting" 2>&1) && { echo "$setting is taken" >&2; exit 1; }
  grep -qF -- "$complaint" <<<"$said" || { printf '%s is refused, but not as %s:\n%s\n' "$setting" "$complaint" "$said" >&2; exit 1; }
done <"$here/wrong-values.txt"

echo "== schemas"
"$python/kubernetes-validate" --strict --quiet --no-warn "$rendered"/*.yaml
"$python/python" "$here/to_json.py" "$rendered"
"$python/check-jsonschema" --schemafile "$here/schemas/custom.json" "$rendered"/custom/*.json

echo "== each other, and the programs"
"$here/secrets.sh" "$rendered/secrets"
cargo run --locked --quiet -p mailtier-xtask -- manifests "$rendered" --programs "$programs"
