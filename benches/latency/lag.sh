# Statement → chained. Sourced by benches/latency/run.
#
# A session looks every 10 ms which record of the chain is the last that it can see. Afterwards every record of the load gets
# the time from the beginning of its statement, which it holds, to the first look that saw it. So the figure includes the
# statement, its commit, and up to one interval of looking: it is never too small.

# look_start DIR: a session that writes "time id" for each look to $scratch/looks until it is ended.
look_start() {
    printf '%s\n' "SELECT extract(epoch FROM clock_timestamp()), (SELECT id FROM steward.chain ORDER BY id DESC LIMIT 1)" '\watch 0.01' |
        "$(pg_program psql)" --no-psqlrc --host="$1" --username=postgres --dbname="$database" --no-align --field-separator=' ' \
            --set=ON_ERROR_STOP=1 >"$scratch/looks" 2>"$scratch/look_errors" &
    looker=$!
}

look_end() {
    kill "$looker" 2>/dev/null || die "the looking session failed: $(cat "$scratch/look_errors")"
    # It ends by the signal, which is no success.
    if wait "$looker" 2>/dev/null; then die 'the looking session ended by itself'; fi
}

last_id() {
    ask "$governed" --command='SELECT max(id) FROM steward.chain'
}

# lag_of NAME WORK RECORDS_PER_TRANSACTION
lag_of() {
    local from to
    drain "$governed"
    from=$(last_id)
    look_start "$governed"
    load_start "$governed" --builtin="$2" --time="$seconds"
    load_end
    # Not at once: drain wakes the sequencer, and the last records shall wait for it as all others do.
    sleep 0.5
    drain "$governed"
    to=$(last_id)
    sleep 0.1
    look_end
    ask "$governed" --field-separator=' ' --command="SELECT id, extract(epoch FROM operation_time)
        FROM steward.audit_log WHERE id > $from AND id <= $to AND user_id = '$login' ORDER BY id" |
        awk -v name="$1" -v per="$3" -v tps="$(awk '/^tps = / { print $3 }' "$scratch/pgbench")" \
            -v transactions="$(awk '/actually processed/ { print $NF }' "$scratch/pgbench")" \
            -f benches/latency/lag.awk "$scratch/looks" -
}

report_lag() {
    printf '\nStatement → visible in the chain, %d clients for %d s (budget: p99 500 ms)\n' "$clients" "$seconds"
    lag_of 'TPC-B-like (journal)' tpcb-like 5
    lag_of 'SELECT-only (spool)' select-only 1
}
