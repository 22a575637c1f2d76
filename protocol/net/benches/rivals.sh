#!/usr/bin/env bash
# One file from disk to disk between two processes of this machine, by this program and by others, one after the other:
#   protocol/net/benches/rivals.sh DATA [MIB] [ROUNDS]
# DATA is the bench program that `cargo bench -p net --bench data --no-run` names. Tools that are not installed are named
# and left out: sendme (cargo install sendme), rsync and iperf3. Only this program, sendme and the raw stream encrypt.
set -euo pipefail
data=$1 mib=${2:-1024} rounds=${3:-3}
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/rivals.XXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
head -c "${mib}M" /dev/urandom > "$dir/file"
echo "$mib MiB, $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), median of $rounds, MiB/s"

median() { sort -g | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
rate() { awk -v mib="$mib" -v s="$1" 'BEGIN {printf "%.1f", mib/s}'; }
since() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN {print b-a}'; }
row() { printf '%-44s %10s\n' "$1" "$2"; }

ours() {
    rm -rf "$dir/from" "$dir/to"; mkfifo "$dir/talk"
    "$data" serve "$dir/from" "$dir/file" < "$dir/talk" > "$dir/said" & exec 3> "$dir/talk"
    until [ -s "$dir/said" ]; do sleep 0.05; done
    read -r node address hash _ < "$dir/said"
    rate "$("$data" fetch "$dir/to" "$node" "$address" "$hash" | cut -d' ' -f1)"; echo
    echo >&3; exec 3>&-; wait; rm -f "$dir/talk" "$dir/said"
}
raw() {
    mkfifo "$dir/talk"
    "$data" raw-serve "$dir/file" < "$dir/talk" > "$dir/said" & exec 3> "$dir/talk"
    until [ -s "$dir/said" ]; do sleep 0.05; done
    read -r node address _ < "$dir/said"
    rate "$("$data" raw-fetch "$dir/out" "$node" "$address" | cut -d' ' -f1)"; echo
    echo >&3; exec 3>&-; wait; rm -f "$dir/talk" "$dir/said" "$dir/out"
}
by_sendme() {
    mkdir -p "$dir/s" "$dir/r"
    (cd "$dir/s" && exec sendme send --no-progress --relay disabled "$dir/file" > "$dir/said" 2>&1) & local sender=$!
    until grep -q 'sendme receive' "$dir/said" 2>/dev/null; do sleep 0.05; done
    local ticket start; ticket=$(grep -o 'blob[a-z0-9]*' "$dir/said" | head -1); start=$(date +%s.%N)
    (cd "$dir/r" && sendme receive --no-progress --relay disabled "$ticket" > /dev/null 2>&1)
    rate "$(since "$start")"; echo
    kill "$sender"; wait "$sender" 2>/dev/null || true; rm -rf "$dir/s" "$dir/r" "$dir/said"
}
by_rsync() {
    printf 'use chroot = no\nuid = %s\ngid = %s\n[all]\npath = %s\nread only = yes\n' \
        "$(id -u)" "$(id -g)" "$dir" > "$dir/rsyncd.conf"
    rsync --daemon --no-detach --port=8730 --config="$dir/rsyncd.conf" & local daemon=$!
    sleep 0.5; local start; start=$(date +%s.%N)
    rsync --whole-file rsync://127.0.0.1:8730/all/file "$dir/out"
    rate "$(since "$start")"; echo
    kill "$daemon"; wait "$daemon" 2>/dev/null || true; rm -f "$dir/out"
}
by_iperf() {
    iperf3 --server --one-off --port 5999 > /dev/null & sleep 0.3
    iperf3 --client 127.0.0.1 --port 5999 --bytes "${mib}M" --json |
        python3 -c 'import json,sys; print(round(json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"]/8/2**20,1))'
    wait
}

times() { for _ in $(seq "$rounds"); do "$1"; done | median; }
row "raw iroh stream" "$(times raw)"
row "this program, verified" "$(times ours)"
if command -v sendme > /dev/null; then row "sendme, with its export" "$(times by_sendme)"; else echo "sendme: not installed"; fi
if command -v rsync > /dev/null; then row "rsync daemon, in the clear" "$(times by_rsync)"; else echo "rsync: not installed"; fi
if command -v iperf3 > /dev/null; then row "iperf3, memory to memory, in the clear" "$(times by_iperf)"; else echo "iperf3: not installed"; fi
