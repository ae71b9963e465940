# What every bench needs: one place for the settings of its clusters, the policy, and waiting until nothing is left to chain.
# Sourced by benches/*/run; does nothing by itself.
#
# Never: a setting that one side of a comparison has and the other has not, unless it is what is compared.
. pg_test/server.sh

# The database of every bench and the login of its load.
database=bench
login=bench

# The same for every cluster. fsync stays on. Checkpoints come only between measurements, and autovacuum is off, because the
# clusters that wait for their turn must not work meanwhile; that chain and journal want vacuuming is thus in no figure.
settings=("shared_buffers = '256MB'" "max_wal_size = '8GB'" "checkpoint_timeout = '1h'" "autovacuum = off"
    "fsync = on" "max_connections = 50")
governing=("shared_preload_libraries = 'pg_steward'" "steward.database = '$database'")

# Builds and installs the library that is measured.
build() {
    echo 'Building and installing pg_steward ...'
    install_extension >/dev/null 2>&1 || die 'the build failed; see: make install'
}

# bench_cluster DIR [LINE...]: a started cluster with the database and the login.
bench_cluster() {
    local dir=$1
    shift
    cluster_create "$dir" "${settings[@]}" "$@" || return
    cluster_start "$dir" || return
    cluster_psql "$dir" --dbname=postgres --quiet --set=ON_ERROR_STOP=1 --command="CREATE ROLE $login LOGIN" \
        --command="CREATE DATABASE $database OWNER $login"
}

# ask DIR [ARG...]: psql as the superuser in the bench's database, for scripts: values only, the first error ends it.
ask() {
    local dir=$1
    shift
    cluster_psql "$dir" --dbname="$database" --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"
}

# pgbench_tables DIR SCALE
pgbench_tables() {
    "$(pg_program pgbench)" --host="$1" --username="$login" --initialize --quiet --scale="$2" "$database" >"$1.init" 2>&1 ||
        { cat "$1.init" >&2; return 1; }
    rm -f "$1.init"
}

# govern DIR [TABLE...]: the extension with its installed rules, everybody registered, these tables protected; not active.
govern() {
    local dir=$1 table
    shift
    ask "$dir" --output=/dev/null --file=benches/persons.sql || return
    for table; do
        ask "$dir" --output=/dev/null --command="SELECT steward.protect('$table')" || return
    done
}

# drain DIR: returns when everything recorded so far is in the chain.
drain() {
    ask "$1" --output=/dev/null --command="SELECT steward.flush_audit('10 min')"
}

# verify DIR AT_LEAST: the whole chain is good and has no fewer records than the work must have left. Says what it found.
verify() {
    drain "$1" || return
    ask "$1" --field-separator=' ' --command='SELECT ok, checked, kind, first_bad_id FROM steward.verify_chain()' |
        awk -v at_least="$2" -v name="$(basename "$1")" '
            $1 == "t" && $2 >= at_least { good = 1 }
            { printf "%s: %d records verified, %d expected at least: %s\n", name, $2, at_least, good ? "ok" : $3 " " $4 }
            END { exit !good }'
}
