# Reads the raw rounds of benches/overhead/run (round work protocol clients variant tps transactions cpu_ms wal_bytes
# wal_record_bytes) and pairs each with the plain round beside it. After benches/statistics.awk, before
# report.awk or chart.awk.

NR == 1 { next }
{
    group = $2 " " $3 " " $4
    if (!(group in group_seen)) { group_seen[group] = 1; groups[++group_count] = group }
    if (!(group " " $5 in variant_seen)) {
        variant_seen[group " " $5] = 1
        variants[group] = variants[group] (variants[group] == "" ? "" : " ") $5
    }
    if ($1 > rounds) rounds = $1
    cell = $1 " " group " " $5
    value[cell, "tps"] = $6
    value[cell, "cpu"] = $8 * 1000 / $7
    value[cell, "wal"] = $9 / $7
    value[cell, "records"] = $10 / $7
}

# The rounds' values of one variant, sorted into list; "ratio": of each to the plain round beside it. Returns their number.
function collect(group, variant, what, ratio, list,    round, cell, base, count, v) {
    count = 0
    for (round = 1; round <= rounds; round++) {
        cell = round " " group " " variant
        base = round " " group " plain"
        if (!((cell, what) in value)) continue
        v = value[cell, what]
        if (ratio) {
            if (!((base, what) in value) || value[base, what] <= 0) continue
            v /= value[base, what]
        }
        count = insert(list, count, v)
    }
    return count
}
