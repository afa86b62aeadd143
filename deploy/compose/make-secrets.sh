#!/bin/sh
# Makes the secrets of docker-compose.yml, each in the folder of those who need it: what was given, else what is there, else
# something new at random. Usage: make-secrets.sh <folder of given files> <folder to make them in>
set -eu

given=$1 made=$2
umask 077

# The users of the images: ours, PostgreSQL's, Grafana's.
program=65532 postgres=999 grafana=472

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# put <folder>/<file> <owner>: what standard input has, whole or not at all. Without root there is nobody to give it to. The
# folder may be seen into, its files are their owner's.
put() {
  (umask 022 && mkdir -p "$made/${1%/*}")
  cat >"$made/$1.new"
  [ "$(id -u)" -ne 0 ] || chown "$2:$2" "$made/$1.new"
  mv "$made/$1.new" "$made/$1"
}

# secret <given file> <folder>/<file> <owner>
secret() {
  if [ -e "$given/$1" ]; then
    [ -s "$given/$1" ] || { echo "make-secrets: deploy/compose/secrets/$1 is empty: write the secret into it, or remove it" >&2; exit 78; }
    put "$2" "$3" <"$given/$1"
    echo "make-secrets: $2 as given"
  elif [ ! -s "$made/$2" ]; then
    random | put "$2" "$3"
    echo "make-secrets: $2 is new"
  fi
}

secret cluster-secret cluster/secret $program
secret admin-token admin/token $program
secret grafana-password grafana/password $grafana
secret database-password postgres/password $postgres

# In a URL, whatever stands in the password.
password=$(od -An -v -tx1 "$made/postgres/password" | tr -d '\n' | sed 's/ 0a$//; s/ /%/g')
printf 'postgres://mailtier:%s@postgres/mailtier' "$password" | put database/url $program

if [ -e "$given/tls.crt" ] || [ -e "$given/tls.key" ]; then
  for file in tls.crt tls.key; do
    [ -s "$given/$file" ] || { echo "make-secrets: deploy/compose/secrets/$file is missing or empty: give both tls.crt and tls.key" >&2; exit 78; }
  done
  put tls/tls.key $program <"$given/tls.key"
  put tls/tls.crt $program <"$given/tls.crt"
  echo "make-secrets: tls as given"
elif [ ! -s "$made/tls/tls.crt" ]; then
  # Enough for encryption between mail servers, which ask for no name; people's clients ask for a real one.
  folder=$(mktemp -d)
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$MAILTIER_HOSTNAME" \
    -addext "subjectAltName=DNS:$MAILTIER_HOSTNAME" -keyout "$folder/key" -out "$folder/crt" 2>/dev/null
  put tls/tls.key $program <"$folder/key"
  put tls/tls.crt $program <"$folder/crt"
  rm -r "$folder"
  echo "make-secrets: tls is new, signed by itself for $MAILTIER_HOSTNAME"
fi
