# Shell functions for throw-away clusters, and for installing the extension into the server that
# they run. Sourced by pg_test/run, the demo and benches/overhead/run; does nothing by itself.
#
# A cluster is one directory: data/, log, and the unix socket. It listens nowhere else, trusts
# whoever can enter the directory (mode 0700), and is found again by the pid file inside.
# PostgreSQL refuses to run as root; its programs then run as the user "postgres".

# Rust's installer puts cargo here, and sudo or a bare login shell does not look there.
PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH

export PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}

# What the caller's shell says about other servers, and a backtrace in the DETAIL of every error,
# have no place in a cluster under test.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS PGDATA
unset RUST_BACKTRACE RUST_LOG
export PGPORT=5432

if [ "$(id -u)" -eq 0 ]; then
    server_user=postgres
else
    server_user=$(id -un)
fi

# Prints an error and ends the calling script.
die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Runs a command with the rights of the machine's administrator.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Runs a command as the owner of the clusters, from a directory that this user can enter.
as_server_user() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && exec runuser -u "$server_user" -- "$@")
    else
        (cd / && exec "$@")
    fi
}

# pg_program NAME: the path of a PostgreSQL program of the version under test.
pg_program() {
    printf '%s/%s' "$("$PG_CONFIG" --bindir)" "$1"
}

# install_extension: builds the release library and puts it into the server's directories. What is there stays until all is
# built, and a file takes another's place at once: a running server has the old library mapped, and one that starts while
# nothing is there does not come up.
install_extension() {
    local built=${CARGO_TARGET_DIR:-target}/package file
    rm -rf "$built" && cargo pgrx package --pg-config "$PG_CONFIG" --out-dir "$built" || return
    while IFS= read -r -d '' file; do
        as_root install -D -m "$(stat -c %a "$built/$file")" "$built/$file" "/$file.new" &&
            as_root mv -f "/$file.new" "/$file" || return
    done < <(find "$built" -type f -printf '%P\0')
}

# cluster_create DIR [LINE...]: a fresh cluster with these lines in postgresql.conf; not started.
# A throw-away cluster that is already there is stopped and replaced.
cluster_create() {
    local dir=$1
    shift
    # The kernel allows 107 bytes for the path of a unix socket.
    [ ${#dir} -le 85 ] || die "$dir is too long for a unix socket; set TMPDIR to a shorter directory"
    cluster_remove "$dir" || return
    as_server_user mkdir -m 700 "$dir" || return
    as_server_user touch "$dir/throw_away" || return
    as_server_user "$(pg_program initdb)" --pgdata="$dir/data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null || return
    printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$dir'" "port = $PGPORT" "$@" |
        as_server_user tee -a "$dir/data/postgresql.conf" >/dev/null
}

# cluster_start DIR: starts the cluster and waits until it answers. Messages go to DIR/log. The server must not keep the
# caller's output open (3 is a script's copy of it), or whoever reads that would wait for the server to end.
cluster_start() {
    as_server_user "$(pg_program pg_ctl)" --pgdata="$1/data" --log="$1/log" --silent --wait start 3>&- ||
        { as_server_user tail -n 20 "$1/log" >&2; return 1; }
}

# cluster_stop DIR: stops the server whose pid file is in the directory, if it runs.
cluster_stop() {
    local pg_ctl
    pg_ctl=$(pg_program pg_ctl)
    if as_server_user "$pg_ctl" --pgdata="$1/data" status >/dev/null 2>&1; then
        as_server_user "$pg_ctl" --pgdata="$1/data" --mode=fast --silent --wait stop
    fi
}

# cluster_remove DIR: stops and deletes a throw-away cluster. Refuses to touch anything else.
cluster_remove() {
    [ -e "$1" ] || [ -L "$1" ] || return 0
    if [ -L "$1" ] || [ "$(stat -c %U "$1")" != "$server_user" ] || [ ! -e "$1/throw_away" ]; then
        die "$1 exists and is not a throw-away cluster of $server_user; remove it or set TMPDIR"
    fi
    cluster_stop "$1" && as_server_user rm -rf "$1"
}

# cluster_psql DIR [ARG...]: psql as the superuser of the cluster, unless -U says otherwise.
cluster_psql() {
    local dir=$1
    shift
    "$(pg_program psql)" --no-psqlrc --host="$dir" --username=postgres "$@"
}
