# CPU of a cluster, from /proc. Checked against a known load by benches/check_cpu. Sourced by the benches.

ticks_per_second=$(getconf CLK_TCK)

# server_cpu_ms DIR: milliseconds of CPU, user and system, that the cluster's processes have used since it started: the
# postmaster, its living children, and through the postmaster's account of reaped children every one that has ended.
# A child that is reaped between two looks would be counted twice or not at all; then this looks again.
server_cpu_ms() {
    local postmaster
    postmaster=$(as_server_user head -n 1 "$1/data/postmaster.pid") || return
    until awk -v postmaster="$postmaster" -v per_second="$ticks_per_second" '
        # Fields of /proc/PID/stat after the name, which may hold blanks: 2 ppid, 12 utime, 13 stime, 14 cutime, 15 cstime.
        function look(file, field,    line) {
            line = ""
            if ((getline line < file) <= 0) return 0
            close(file)
            sub(/^.*\) /, "", line)
            return split(line, field, " ")
        }
        function reaped() {
            if (!look("/proc/" postmaster "/stat", own)) exit 2
            return own[14] + own[15]
        }
        BEGIN {
            before = reaped()
            for (i = 1; i < ARGC; i++)
                if (look(ARGV[i], child) && child[2] == postmaster) ticks += child[12] + child[13] + child[14] + child[15]
            if (reaped() != before) exit 1
            printf "%.0f\n", (ticks + own[12] + own[13] + before) * 1000 / per_second
        }' /proc/[0-9]*/stat; do
        [ -d "/proc/$postmaster" ] || return
    done
}

# process_cpu_ms PID: the same of one living process.
process_cpu_ms() {
    awk -v per_second="$ticks_per_second" '{ sub(/^.*\) /, ""); print ($12 + $13) * 1000 / per_second }' "/proc/$1/stat"
}
