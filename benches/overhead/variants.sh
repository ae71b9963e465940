# The clusters that are compared, one for each variant, alike but for what they compare. Sourced by benches/overhead/run.

every_variant=(plain off observe enforce unprotected pgaudit trigger locked_chain)
tables=(pgbench_accounts pgbench_branches pgbench_tellers pgbench_history)

# variant_exists NAME
variant_exists() {
    [[ " ${every_variant[*]} " == *" $1 "* ]]
}

# takes_part VARIANT WORK: row triggers see no reads.
takes_part() {
    case $1-$2 in
        trigger-select | locked_chain-select) return 1 ;;
    esac
}

# chains VARIANT: whether its work ends in pg_steward's chain.
chains() {
    case $1 in
        observe | enforce) ;;
        *) return 1 ;;
    esac
}

# has_sequencer VARIANT: whether a round ends only when the sequencer is through.
has_sequencer() {
    chains "$1" || [ "$1" = unprotected ]
}

# prepare VARIANT DIR SCALE: its started cluster with the pgbench tables.
prepare() {
    local variant=$1 dir=$2 scale=$3
    case $variant in
        plain) bench_cluster "$dir" ;;
        off) bench_cluster "$dir" "${governing[@]}" "steward.mode = 'off'" ;;
        observe) bench_cluster "$dir" "${governing[@]}" "steward.mode = 'observe'" ;;
        enforce | unprotected) bench_cluster "$dir" "${governing[@]}" "steward.mode = 'enforce'" ;;
        pgaudit)
            install_pgaudit
            bench_cluster "$dir" "shared_preload_libraries = 'pgaudit'" "pgaudit.log = 'read, write'" "pgaudit.log_catalog = off"
            ;;
        trigger | locked_chain) bench_cluster "$dir" ;;
    esac || return
    pgbench_tables "$dir" "$scale" || return
    case $variant in
        off) govern "$dir" "${tables[@]}" ;;
        observe | enforce) govern "$dir" "${tables[@]}" && activate "$dir" ;;
        # A policy that concerns another table.
        unprotected) ask "$dir" --command='CREATE TABLE elsewhere (id int PRIMARY KEY)' && govern "$dir" elsewhere && activate "$dir" ;;
        pgaudit) ask "$dir" --command='CREATE EXTENSION pgaudit' ;;
        trigger) ask "$dir" --file=benches/overhead/audit_trigger.sql ;;
        locked_chain) ask "$dir" --file=benches/overhead/locked_chain.sql ;;
    esac || return
}

activate() {
    ask "$1" --output=/dev/null --command='SELECT steward.activate()' && drain "$1"
}

# pgaudit is not needed to build or test pg_steward, only here.
install_pgaudit() {
    local major
    [ ! -e "$("$PG_CONFIG" --pkglibdir)/pgaudit.so" ] || return 0
    major=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
    as_root apt-get update -q >/dev/null &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --reinstall \
            "postgresql-$major-pgaudit" >/dev/null
}
