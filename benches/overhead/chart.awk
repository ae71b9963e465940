# The chart of one run as SVG, after rounds.awk: throughput and server CPU as ratios to plain PostgreSQL, with the
# spread of the rounds. Self-contained: it brings its own background, light or dark as the reader's system is, and names
# generic fonts only. Shows the prepared protocol, if it was run, with the largest number of clients.

function chosen(work,    g, part, best, weight, heaviest) {
    heaviest = -1
    for (g = 1; g <= group_count; g++) {
        split(groups[g], part, " ")
        if (part[1] != work) continue
        weight = part[3] + (part[2] == "prepared" ? 1000 : 0)
        if (weight > heaviest) { heaviest = weight; best = groups[g] }
    }
    return best
}

# The end of a metric's axis: a little more than the highest value shown.
function axis_end(what, start,    w, names, count, i, n, list, end) {
    end = start
    for (w = 1; w <= 2; w++) {
        if (shown[w] == "") continue
        count = split(variants[shown[w]], names, " ")
        for (i = 1; i <= count; i++) {
            n = collect(shown[w], names[i], what, 1, list)
            if (n && list[n] * 1.05 > end) end = list[n] * 1.05
        }
    }
    return end
}

function text(x, y, class, anchor, words) {
    return sprintf("<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y, class, anchor, words)
}

function line(x1, y1, x2, y2, class) {
    return sprintf("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1, x2, y2, class)
}

# One bar from zero to the median, a whisker from lowest to highest, and the figure.
function bar(group, name, what, x, y, width, end,    list, n, m, ours) {
    n = collect(group, name, what, 1, list)
    if (!n) return ""
    m = median(list, n)
    ours = name ~ /^(off|observe|enforce|unprotected)$/
    return sprintf("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"14\" rx=\"2\" class=\"%s\"/>\n", x, y, m / end * width, ours ? "ours" : "theirs") \
        line(x + list[1] / end * width, y + 7, x + list[n] / end * width, y + 7, "spread") \
        line(x + list[1] / end * width, y + 3, x + list[1] / end * width, y + 11, "spread") \
        line(x + list[n] / end * width, y + 3, x + list[n] / end * width, y + 11, "spread") \
        text(x + width + 44, y + 11, "figure", "end", sprintf("%.2f", m))
}

function label(name) {
    if (name == "trigger") return "audit trigger"
    if (name == "locked_chain") return "locked hash chain"
    if (name == "unprotected") return "enforce, unprotected tables"
    if (name ~ /^(off|observe|enforce)$/) return "pg_steward " name
    return name
}

function panel(group, y,    part, names, count, i, top, svg) {
    split(group, part, " ")
    svg = text(20, y, "heading", "start", (part[1] == "tpcb" ? "TPC-B-like" : "SELECT-only") ", " part[3] \
        (part[3] == 1 ? " client, " : " clients, ") part[2] " statements")
    y += 20
    svg = svg text(left, y, "note", "start", "transactions per second, ratio to plain: more is better") \
        text(right, y, "note", "start", "server CPU per transaction, ratio: less is better")
    top = y + 10
    y = top + 4
    count = split(variants[group], names, " ")
    for (i = 1; i <= count; i++) {
        if (names[i] == "plain") continue
        svg = svg text(left - 10, y + 11, "name", "end", label(names[i])) bar(group, names[i], "tps", left, y, span, tps_end) \
            bar(group, names[i], "cpu", right, y, span, cpu_end)
        y += 21
    }
    bottom = y
    return svg line(left + span / tps_end, top, left + span / tps_end, y, "plain") line(right + span / cpu_end, top, right + span / cpu_end, y, "plain")
}

END {
    left = 215; right = 590; span = 300
    shown[1] = chosen("tpcb"); shown[2] = chosen("select")
    tps_end = axis_end("tps", 1.1); cpu_end = axis_end("cpu", 1.1)
    bottom = 34
    for (w = 1; w <= 2; w++) if (shown[w] != "") body = body panel(shown[w], bottom + (w > 1 ? 38 : 0))
    body = body text(20, bottom + 26, "note", "start", "bar: median of " rounds " interleaved rounds; whisker: lowest to highest; dashed line: plain PostgreSQL. benches/overhead/run")
    height = bottom + 42
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 %d\" width=\"960\" height=\"%d\" role=\"img\">\n", height, height
    print "<title>What pg_steward costs beside plain PostgreSQL, pgaudit and audit triggers</title>"
    print "<style>"
    print "text { font: 12px sans-serif; fill: #1f2328 } .heading { font-weight: bold; font-size: 13px } .note { fill: #59636e; font-size: 11px }"
    print ".back { fill: #ffffff } .ours { fill: #2f81d0 } .theirs { fill: #a8b1bb } .spread { stroke: #1f2328; stroke-width: 1.2 }"
    print ".plain { stroke: #59636e; stroke-dasharray: 4 3 }"
    print "@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 } .back { fill: #0d1117 }"
    print ".ours { fill: #388bfd } .theirs { fill: #57606a } .spread { stroke: #e6edf3 } .plain { stroke: #9198a1 } }"
    print "</style>"
    printf "<rect width=\"960\" height=\"%d\" rx=\"6\" class=\"back\"/>\n%s</svg>\n", height, body
}
