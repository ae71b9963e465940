# Instructions of a backend, counted by callgrind. Sourced by benches/instructions/run.
#
# Counts what PostgreSQL executes in user mode; what the kernel does for it is not in these figures. All processes of such
# a cluster run some fifty times slower, which changes no count.

# callgrind_needed: valgrind is not needed to build or test pg_steward, only here.
callgrind_needed() {
    command -v valgrind >/dev/null || as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends valgrind >/dev/null
}

# callgrind_start DIR: starts a stopped cluster under callgrind; each process writes its counts when it ends.
callgrind_start() {
    local dir=$1
    printf '%s\n' '#!/bin/sh' "exec valgrind --quiet --tool=callgrind --callgrind-out-file=$dir/callgrind.%p $(pg_program postgres) \"\$@\"" |
        as_server_user tee "$dir/postgres" >/dev/null || return
    as_server_user chmod 700 "$dir/postgres" || return
    as_server_user "$(pg_program pg_ctl)" --pgdata="$dir/data" --log="$dir/log" --silent --wait --timeout=300 \
        -p "$dir/postgres" start 3>&- || return
    # The first backend of a database writes files for the others, which is not to be counted.
    count_run "$dir" 'SELECT 1;' 1 simple >/dev/null
}

# callgrind_stop DIR: stops such a cluster. callgrind still writes when the server thinks that it is gone.
callgrind_stop() {
    local postmaster
    postmaster=$(as_server_user head -n 1 "$1/data/postmaster.pid" 2>/dev/null) || return 0
    cluster_stop "$1"
    while [ -d "/proc/$postmaster" ]; do sleep 0.1; done
}

# count_run DIR STATEMENT TIMES PROTOCOL: "instructions file" of the whole session that runs a statement so many times.
count_run() {
    local dir=$1 name backend total waited=0
    # Called in a process of its own, whose number thus names the session.
    name=count.$BASHPID
    printf '%s\n' '\set id random(1, 1000)' "$2" | as_server_user tee "$dir/statement.sql" >/dev/null || return
    PGAPPNAME=$name "$(pg_program pgbench)" --host="$dir" --username="$login" --no-vacuum --protocol="$4" --client=1 \
        --transactions="$3" --random-seed=7 --file="$dir/statement.sql" "$database" >/dev/null 2>"$dir.error" ||
        { cat "$dir.error" >&2; return 1; }
    rm -f "$dir.error"
    # pgbench looks at the database in a session of its own first; the work is the last.
    until backend=$(as_server_user awk -v name="$name" '$2 == name && /disconnection/ { pid = $1; seen++ }
            END { print pid; exit seen < 2 }' "$dir/log") &&
        total=$(as_server_user awk '/^totals:/ { print $2; found = 1 } END { exit !found }' \
            "$dir/callgrind.$backend" 2>/dev/null); do
        sleep 0.1
        [ $((++waited)) -lt 600 ] || die "no count of session $name"
    done
    echo "$total $dir/callgrind.$backend"
}

# count DIR STATEMENT TIMES PROTOCOL: "instructions file file": of one execution in a warm session, the difference between sessions
# of once and twice as many, which have the same beginning and end; and callgrind's file of each.
count() {
    local once twice
    once=$(count_run "$1" "$2" "$3" "$4") || return
    twice=$(count_run "$1" "$2" "$((2 * $3))" "$4") || return
    echo "$(((${twice% *} - ${once% *}) / $3)) ${once#* } ${twice#* }"
}

# functions ONCE TWICE TIMES: "instructions<tab>function", of one execution, the function's own.
functions() {
    local file
    for file in "$1" "$2"; do
        callgrind_annotate --auto=no --threshold=100 "$file" 2>/dev/null | awk -v twice="$([ "$file" = "$2" ] && echo 1)" '
            /^ *[0-9,]+ \(/ && !/PROGRAM TOTALS/ {
                own = $1
                gsub(/,/, "", own)
                sub(/^ *[0-9,]+ \([^)]*\) *[^:]*:/, "")
                sub(/ \[.*/, "")
                print (twice ? own : -own) "\t" $0
            }'
    done | awk -F '\t' -v times="$3" '{ own[$2] += $1 } END { for (name in own) printf "%d\t%s\n", own[name] / times, name }'
}
