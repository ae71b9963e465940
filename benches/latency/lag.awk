# First file: looks, "time last_id". Second: records, "id time", by id. Times are counted in bins of a millisecond.

FNR == NR {
    if ($1 ~ /^[0-9.]+$/ && $2 ~ /^[0-9]+$/) { look_time[++looks] = $1; look_id[looks] = $2 }
    next
}
{
    while (at < looks && (at == 0 || look_id[at] < $1)) at++
    if (at == 0 || look_id[at] < $1) { unseen++; next }
    lag = int((look_time[at] - $2) * 1000)
    if (lag < 0) lag = 0
    bin[lag]++
    if (lag > longest) longest = lag
    records++
}

function quantile(share,    lag, sum) {
    for (lag = 0; lag <= longest; lag++) {
        sum += bin[lag]
        if (sum >= records * share) return lag
    }
    return longest
}

END {
    if (unseen) { print name ": " unseen " records were chained that no look saw" > "/dev/stderr"; exit 1 }
    if (!records || records < transactions * per) {
        print name ": " records + 0 " records of " transactions " transactions" > "/dev/stderr"
        exit 1
    }
    printf "  %-24s p50 %5d ms   p99 %5d ms   longest %5d ms   (%.0f tps, %d records)\n", name, quantile(0.5), quantile(0.99), longest, tps, records
}
