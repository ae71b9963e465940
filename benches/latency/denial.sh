# The durable denial. Sourced by benches/latency/run.
#
# Measured by psql's \timing over the unix socket, one statement after the other in one session: sending, parsing, the
# decision, the record with its fdatasync, the error's way back. The session's first statement is left out.

# times DIR COUNT STATEMENT: milliseconds of each execution. Errors are expected and land in $scratch/errors.
times() {
    awk -v count="$2" -v statement="$3" 'BEGIN {
        print "\\timing on\n\\set VERBOSITY verbose"
        for (i = 0; i <= count; i++) print statement }' |
        "$(pg_program psql)" --no-psqlrc --quiet --host="$1" --username="$login" --dbname="$database" 2>"$scratch/errors" |
        awk '/^Time:/ && seen++ { print $2 }'
}

# quantiles NAME WHAT: one line of the report from milliseconds on stdin.
quantiles() {
    awk -v name="$1" -v what="$2" -f benches/statistics.awk -f <(echo '{ n = insert(list, n, $1 + 0) }
        END { if (!n) exit 1; printf "  %-34s median %7.3f ms   p99 %7.3f ms   (%d, %s)\n", name, median(list, n), percentile(list, n, 0.99), n, what }')
}

# denials_of NAME WHAT: one line; every statement must have been refused by the policy.
denials_of() {
    times "$governed" "$denials" 'TRUNCATE protected_row;' | quantiles "$1" "$2"
    [ "$(grep -c 'ERROR:  42501: critical statement refused' "$scratch/errors")" -eq "$((denials + 1))" ] ||
        die "$(head -n 3 "$scratch/errors"): not every statement was refused"
}

report_denials() {
    local chained
    printf '\nDurable denial: TRUNCATE of a protected table is refused (budget: median 1 ms)\n'
    times "$plain" "$denials" 'TRUNCATE protected_row;' | quantiles 'plain PostgreSQL: an error' 'permission denied, nothing written'
    times "$plain" "$denials" 'UPDATE protected_row SET value = value + 1 WHERE id = 1;' |
        quantiles 'plain PostgreSQL: a commit' 'one row updated and flushed'
    denials_of 'pg_steward, idle server' 'record on disk before the error'
    load_start "$governed" --builtin=tpcb-like --time="$((denials / 50 + 3))"
    sleep 1
    denials_of "pg_steward, $clients TPC-B clients" 'the same while the load runs'
    load_end
    drain "$governed"
    chained=$(ask "$governed" --command="SELECT count(*) FROM steward.chain WHERE steward._record_text(record, 14) = 'DENIED'")
    [ "$chained" -eq "$((2 * (denials + 1)))" ] || die "$chained denials are chained, $((2 * (denials + 1))) were made"
    echo "  all $chained denials are in the chain"
}
