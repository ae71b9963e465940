# The sequencer's speed: it is stopped while records pile up, then timed until the last is chained. And verification.
# Sourced by benches/latency/run.
#
# Nothing else runs while it works the backlog off. The load is written with synchronous_commit = off, so that the pile
# grows fast; the sequencer itself commits as it always does.

stopped=

stop_sequencer() {
    stopped=$(ask "$governed" --command='SELECT sequencer_pid FROM steward.audit_status')
    as_root kill -STOP "$stopped"
}

resume_sequencer() {
    [ -z "$stopped" ] || as_root kill -CONT "$stopped"
    stopped=
}

now() {
    date +%s.%N
}

# rate NAME RECORDS BEGIN END CPU_MS: one line of the report.
rate() {
    awk -v name="$1" -v n="$2" -v begin="$3" -v end="$4" -v cpu="$5" 'BEGIN {
        printf "  %-14s %8.0f records/s   %8.0f per CPU second   (%d records in %.1f s)\n", name, n / (end - begin),
            (cpu > 0 ? n * 1000 / cpu : 0), n, end - begin }'
}

# backlog_of NAME RECORDS_PER_TRANSACTION ARG...: pgbench with these arguments piles up the records.
backlog_of() {
    local name=$1 per=$2 transactions=$((records / $2 / clients)) from count begin cpu sequencer
    shift 2
    drain "$governed"
    from=$(last_id)
    stop_sequencer
    sequencer=$stopped
    PGOPTIONS='-c synchronous_commit=off' load_start "$governed" "$@" --transactions="$transactions"
    load_end
    cpu=$(process_cpu_ms "$sequencer") begin=$(now)
    resume_sequencer
    drain "$governed"
    rate "$name" "$(($(last_id) - from))" "$begin" "$(now)" "$(($(process_cpu_ms "$sequencer") - cpu))"
    count=$(($(last_id) - from))
    [ "$count" -ge $((transactions * clients * per)) ] || die "$count records chained, $((transactions * clients * per)) made"
}

report_backlog() {
    printf '\nSequencer, working off a backlog alone (budget: 100000 records/s)\n'
    backlog_of 'journal' 4 --file=benches/latency/writes.sql --define=scale="$scale"
    backlog_of 'spool' 1 --builtin=select-only
}

report_verification() {
    local begin cpu
    printf '\nVerification of the whole chain, the start of a session included (budget: 1000000 records/s per core)\n'
    drain "$governed"
    begin=$(now) cpu=$(server_cpu_ms "$governed")
    verify "$governed" "$records" >"$scratch/verified" || die "$(cat "$scratch/verified")"
    rate 'verify_chain' "$(last_id)" "$begin" "$(now)" "$(($(server_cpu_ms "$governed") - cpu))"
}
