# The table of one run, after rounds.awk.

# Median of a column, or "-".
function plainly(group, variant, what, format,    list, count) {
    count = collect(group, variant, what, 0, list)
    return count ? sprintf(format, median(list, count)) : "-"
}

# Median ratio to plain, with lowest and highest of the rounds' pairs.
function ratio(group, variant, what, spread,    list, count) {
    count = collect(group, variant, what, 1, list)
    if (!count) return "-"
    return sprintf("%.2f", median(list, count)) (spread ? sprintf(" (%.2f-%.2f)", list[1], list[count]) : "")
}

function table(group,    part, names, count, i, name) {
    split(group, part, " ")
    printf "\n%s, %s protocol, %d %s\n", (part[1] == "tpcb" ? "TPC-B-like" : "SELECT-only"), part[2], part[3],
        (part[3] == 1 ? "client" : "clients")
    printf "  %-13s %7s  %-18s  %8s  %-18s  %9s %6s  %9s %6s\n", "", "tps", "ratio", "CPU", "ratio", "WAL", "ratio", "+images", "ratio"
    count = split(variants[group], names, " ")
    for (i = 1; i <= count; i++) {
        name = names[i]
        printf "  %-13s %7s  %-18s  %8s  %-18s  %9s %6s  %9s %6s\n", name,
            plainly(group, name, "tps", "%.0f"), ratio(group, name, "tps", 1),
            plainly(group, name, "cpu", "%.1f"), ratio(group, name, "cpu", 1),
            plainly(group, name, "records", "%.0f"), part[1] == "tpcb" ? ratio(group, name, "records", 0) : "-",
            plainly(group, name, "wal", "%.0f"), part[1] == "tpcb" ? ratio(group, name, "wal", 0) : "-"
    }
}

END {
    printf "tps: median of %d rounds. ratio: to the plain round beside it, median (lowest-highest).\n", rounds
    print "CPU: server milliseconds per 1000 transactions, every process of the cluster, until all is chained."
    print "WAL: bytes per transaction, records only; +images: with the page images that a checkpoint before each round causes."
    for (g = 1; g <= group_count; g++) table(groups[g])
}
