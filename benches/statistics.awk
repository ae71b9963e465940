# Order statistics for the benches' reports; mawk has no sort of its own.

# Puts a value into its place in list[1..count], which is sorted; returns the new count.
function insert(list, count, v,    i) {
    for (i = count; i > 0 && list[i] > v; i--) list[i + 1] = list[i]
    list[i + 1] = v
    return count + 1
}

# The value that a share of the sorted list does not exceed, nearest rank.
function percentile(list, count, share,    rank) {
    rank = int(count * share)
    if (rank < count * share) rank++
    return list[rank < 1 ? 1 : rank]
}

function median(list, count) {
    if (count % 2) return list[(count + 1) / 2]
    return (list[count / 2] + list[count / 2 + 1]) / 2
}
