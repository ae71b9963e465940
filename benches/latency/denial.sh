# The durable denial. Sourced by benches/latency/run.
#
# Measured by psql's \timing over the unix socket, one statement after the other in one session: sending, parsing, the
# decision, the record with its fdatasync, the error's way back. The first statement of each session is left out. What the
# disk can do changes from second to second, so the kinds take turns, and a commit of plain PostgreSQL stands beside them.

turns=10
truncate='TRUNCATE protected_row;'
update='UPDATE protected_row SET value = value + 1 WHERE id = 1;'

# turn NAME DIR STATEMENT: some executions, their milliseconds to $scratch/NAME.ms, their errors to $scratch/NAME.errors.
turn() {
    awk -v count="$((denials / turns))" -v statement="$3" 'BEGIN {
        print "\\timing on\n\\set VERBOSITY verbose"
        for (i = 0; i <= count; i++) print statement }' |
        "$(pg_program psql)" --no-psqlrc --quiet --host="$2" --username="$login" --dbname="$database" 2>>"$scratch/$1.errors" |
        awk '/^Time:/ && seen++ { print $2 }' >>"$scratch/$1.ms"
}

# quantiles NAME WORDS INCLUDES: one line of the report.
quantiles() {
    awk -v name="$2" -v includes="$3" -f benches/statistics.awk -f <(echo '{ n = insert(list, n, $1 + 0) }
        END { if (!n) exit 1; printf "  %-33s median %7.3f ms   p99 %7.3f ms   (%d, %s)\n", name, median(list, n),
            percentile(list, n, 0.99), n, includes }') "$scratch/$1.ms"
}

# refused NAME: every statement of that name must have been refused by the policy.
refused() {
    [ "$(grep -c 'ERROR:  42501: critical statement refused' "$scratch/$1.errors")" -eq "$made" ] ||
        die "$(head -n 3 "$scratch/$1.errors"): not every statement was refused"
}

report_denials() {
    local i chained made=$(((denials / turns + 1) * turns))
    printf '\nDurable denial: TRUNCATE of a protected table is refused (budget: median 1 ms)\n'
    for ((i = 0; i < turns; i++)); do
        turn error "$plain" "$truncate"
        turn commit "$plain" "$update"
        turn denial "$governed" "$truncate"
    done
    load_start "$governed" --builtin=tpcb-like --time="$((denials / 100 + turns / 2))"
    for ((i = 0; i < turns; i++)); do turn busy "$governed" "$truncate"; done
    load_end
    quantiles error 'plain PostgreSQL: an error' 'permission denied, nothing written'
    quantiles commit 'plain PostgreSQL: a commit' 'one row updated and flushed'
    quantiles denial 'pg_steward, idle server' 'record on disk before the error'
    quantiles busy "pg_steward, $clients TPC-B clients" 'the same while the load runs'
    refused denial
    refused busy
    drain "$governed"
    chained=$(ask "$governed" --command="SELECT count(*) FROM steward.audit_log WHERE result = 'DENIED'")
    [ "$chained" -eq $((2 * made)) ] || die "$chained denials are chained, $((2 * made)) were made"
    echo "  all $chained denials are in the chain"
}
