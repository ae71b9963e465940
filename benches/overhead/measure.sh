# One round of one variant: throughput, CPU of the server, WAL. Sourced by benches/overhead/run.

# wal_position DIR
wal_position() {
    ask "$1" --command='SELECT pg_current_wal_lsn()'
}

# wal_written DIR FROM TO: "bytes records": bytes of WAL between two positions, and those of its records without the page
# images that the first change of each page after a checkpoint takes along. Short rounds after a checkpoint are full of
# such images, so the ratio of all bytes flatters whoever adds to them.
wal_written() {
    local lower upper
    lower=$((16#${2#*/})) upper=$((16#${3#*/}))
    [ "${2%/*}" = "${3%/*}" ] || upper=$((upper + (16#${3%/*} - 16#${2%/*}) * (1 << 32)))
    if [ "$lower" -eq "$upper" ]; then
        echo 0 0
        return
    fi
    as_server_user "$(pg_program pg_waldump)" --path="$1/data/pg_wal" --start="$2" --end="$3" --stats 2>/dev/null |
        awk -v bytes="$((upper - lower))" '$1 == "Total" { gsub(/\[[^]]*\]/, ""); print bytes, $3; found = 1 } END { exit !found }'
}

# pgbench_load DIR WORK PROTOCOL CLIENTS SECONDS: "tps transactions"
pgbench_load() {
    local builtin=tpcb-like
    [ "$2" = tpcb ] || builtin=select-only
    "$(pg_program pgbench)" --host="$1" --username="$login" --no-vacuum --builtin="$builtin" --protocol="$3" --client="$4" \
        --jobs="$(($4 < 2 ? 1 : 2))" --time="$5" "$database" 2>/dev/null |
        awk '/^number of transactions actually processed/ { transactions = $NF } /^tps = / { tps = $3 }
            END { print tps, transactions; exit !(tps > 0 && transactions > 0) }'
}

# measure DIR VARIANT WORK PROTOCOL CLIENTS SECONDS: "tps transactions cpu_ms wal_bytes wal_record_bytes" of one round. CPU
# and WAL are counted until the sequencer is through; who has none gets a session that asks nothing in its place, so that
# both sides have started the same number of backends.
measure() {
    local dir=$1 variant=$2 cpu wal load cpu_end wal_end
    shift 2
    ask "$dir" --command=CHECKPOINT || return
    wal=$(wal_position "$dir") || return
    cpu=$(server_cpu_ms "$dir") || return
    load=$(pgbench_load "$dir" "$@") || return
    if has_sequencer "$variant"; then drain "$dir"; else ask "$dir" --output=/dev/null --command='SELECT 1'; fi || return
    cpu_end=$(server_cpu_ms "$dir") || return
    wal_end=$(wal_position "$dir") || return
    wal=$(wal_written "$dir" "$wal" "$wal_end") || return
    echo "$load $((cpu_end - cpu)) $wal"
}
