#!/usr/bin/env bash
# Makes the secrets that the manifests name, for programs that look at them once and for nobody else.
# Usage: secrets.sh <where to>
set -euo pipefail

mkdir -p "$1"/{mailtier,mailtier-db-app,mailtier-smtp}
cd "$1"
printf 'cluster-secret-of-a-check' >mailtier/cluster-secret
printf 'admin-secret-of-a-check' >mailtier/admin-secret
printf 'postgresql://mailtier:check@mailtier-db-rw.mailtier:5432/mailtier' >mailtier-db-app/uri

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=mailtier-ca \
  -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.crt 2>/dev/null
# A certificate by it. Usage: issue <folder> <alternative name>
issue() {
  mkdir -p "$1"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1/tls.key" -out "$1/request" 2>/dev/null
  openssl x509 -req -in "$1/request" -CA ca.crt -CAkey ca.key -days 2 -out "$1/tls.crt" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$2") 2>/dev/null
  cp ca.crt "$1/ca.crt"
}
issue mailtier-smtp DNS:mx.example.com
issue mailtier-api-tls DNS:mailtier-api.mailtier.svc
for tier in inbound queue outbound; do issue "mailtier-$tier-tls" "URI:spiffe://mailtier/$tier"; done
