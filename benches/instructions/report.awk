# The tables of benches/instructions/run from lines "policy kind instructions" and "policy first ms ms".

$2 == "first" { first[$1] = $3; second[$1] = $4 }
$2 != "first" { count[$1, $2] = $3 }
$2 != "first" && !($2 in known) { known[$2] = 1; kinds[++kind_count] = $2 }
!($1 in seen) { seen[$1] = 1; policies[++policy_count] = $1 }

function head(kind) {
    gsub(/-/, " ", kind)
    return kind
}

END {
    print "\nInstructions of a statement by primary key, in a warm session; policy: rules and protected tables"
    printf "%-28s %10s", "", "plain"
    for (p = 2; p <= policy_count; p++) printf " %16s", "policy of " policies[p]
    print ""
    for (k = 1; k <= kind_count; k++) {
        plain = count["plain", kinds[k]]
        printf "%-28s %10d", head(kinds[k]), plain
        for (p = 2; p <= policy_count; p++) {
            added = count[policies[p], kinds[k]] - plain
            printf " %16s", sprintf("%+d", added) (kinds[k] ~ /^unprot/ ? (added <= budget ? " ok" : " over") : "   ")
        }
        print ""
    }
    printf "budget of unprotected tables: %d added instructions\n", budget
    print "\nFirst statement of a session, which reads the policy, and the second; psql, medians of 5 sessions, milliseconds"
    for (p = 1; p <= policy_count; p++)
        printf "%-20s %10.1f %10.2f\n", policies[p] == "plain" ? "plain" : "policy of " policies[p], first[policies[p]], second[policies[p]]
}
