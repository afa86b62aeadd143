#!/usr/bin/env bash
# Starts the whole system and a sink, sends a message through all three tiers, and shows its trace and what arrived.
# Usage: run.sh <folder of the programs> <data directory> once|serve
set -euo pipefail

programs=$1 data=$2 mode=$3
here=$(dirname "$0")
mkdir -p "$data/sink"
log=$data/log
pids=()
stop() {
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  wait
}
trap stop EXIT
trap 'exit 130' INT TERM

echo "== starting PostgreSQL, queue, outbound, inbound and a sink (log: $log)"
"$programs/mailtier" sink --listen 127.0.0.1:2526 --directory "$data/sink" >"$data/sink.log" 2>&1 & pids+=($!)
"$programs/mailtier" up --data "$data" --config "$here/mailtier.toml" --ready-file "$data/ready" >"$log" 2>&1 & pids+=($!)
for ((i = 0; i < 900; i++)); do
  [ -e "$data/ready" ] && break
  kill -0 "${pids[1]}" 2>/dev/null || { cat "$log" >&2; exit 1; }
  read -rt 0.1 <> <(:) || true
done
[ -e "$data/ready" ] || { echo "not ready after 90 s; see $log" >&2; exit 1; }

echo "== sending a message to 127.0.0.1:2525"
id=$("$programs/mailtier" send --server 127.0.0.1:2525 --from you@sender.example --to someone@recipient.example \
  --subject "Hello from Mailtier" --text "It went through all three tiers." --print-id)
echo "== accepted as $id; its trace:"
"$programs/mailtier" trace "$id" --data "$data" --wait delivered
echo "== what the sink received:"
cat "$data"/sink/*.eml
[ "$mode" = once ] || { echo "== serving SMTP on 127.0.0.1:2525; Ctrl-C stops everything"; wait "${pids[1]}"; }
