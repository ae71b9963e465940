//! What is planned in the ways that a plain plan is not, each in every protocol; and names that stand before others (case 39).

use super::desk_with;
use super::protocol::Must::Show;
use super::protocol::{everywhere, wire};

tests! {
    what_is_planned_otherwise,
}

/// Case 39: no plan shows more than a plain one.
fn what_is_planned_otherwise() {
    let school = desk_with(
        "CREATE TABLE desk.p (id int, phone text) PARTITION BY HASH (id); CREATE TABLE desk.q (id int, phone text) PARTITION BY HASH (id);
         CREATE TABLE desk.p0 PARTITION OF desk.p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE desk.p1 PARTITION OF desk.p FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE desk.q0 PARTITION OF desk.q FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE desk.q1 PARTITION OF desk.q FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE desk.by_phone (id int, phone text) PARTITION BY LIST (phone);
         CREATE TABLE desk.by_phone_7 PARTITION OF desk.by_phone FOR VALUES IN ('13800000007');
         CREATE TABLE desk.by_phone_other PARTITION OF desk.by_phone DEFAULT;
         INSERT INTO desk.p SELECT id, phone FROM desk.student; INSERT INTO desk.q SELECT id, phone FROM desk.student;
         INSERT INTO desk.by_phone SELECT id, phone FROM desk.student;
         SECURITY LABEL FOR pg_steward ON COLUMN desk.p.phone IS 'phone'; SECURITY LABEL FOR pg_steward ON COLUMN desk.q.phone IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.by_phone.phone IS 'phone';
         GRANT SELECT ON ALL TABLES IN SCHEMA desk TO cs; ANALYZE",
    );
    let plain = "RESET ALL";
    let parallel = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET force_parallel_mode = on";
    let pieces = "SET enable_partitionwise_join = on; SET enable_partitionwise_aggregate = on; SET enable_mergejoin = off; SET enable_nestloop = off";
    let loops =
        "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; SET enable_seqscan = off";
    let sorts = "SET enable_seqscan = off; SET enable_hashagg = off; SET enable_bitmapscan = off";
    let spills = "SET work_mem = '64kB'; SET enable_sort = off";
    let many = "SELECT count(*) / 100, min(phone), max(phone) FROM (SELECT phone, id, g FROM desk.student, generate_series(1, $1) g GROUP BY 1, 2, 3) x";
    let mut clerk = wire(&school, "cs");
    for (settings, shape, query, value, must) in [
        (
            parallel,
            "Gather",
            "SELECT max(phone) FROM desk.student WHERE phone LIKE '138**%' AND id <= $1",
            "7",
            Show("138****0007"),
        ),
        (
            pieces,
            "Append -> Hash Join",
            "SELECT p.phone, q.phone FROM desk.p JOIN desk.q USING (id) WHERE id > $1 ORDER BY id LIMIT 1",
            "6",
            Show("138****0007|138****0007"),
        ),
        (
            pieces,
            "Merge Append Sort Key: p.id -> GroupAggregate",
            "SELECT id, max(phone), min(p::text) FROM desk.p WHERE id > $1 GROUP BY id ORDER BY 1 LIMIT 1",
            "6",
            Show("7|138****0007|(7,138****0007)"),
        ),
        (
            pieces,
            "Append -> Hash Join",
            "SELECT count(*) FROM desk.p JOIN desk.q USING (id, phone) WHERE p.phone <> $1",
            "13800000007",
            Show("100"),
        ),
        (plain, "Append", "SELECT count(*) FROM desk.by_phone WHERE phone = $1", "13800000007", Show("0")),
        (plain, "Append", "SELECT count(*) FROM desk.by_phone WHERE phone = $1", "138****0007", Show("1")),
        (
            loops,
            "Memoize",
            "SELECT max(b.phone), count(*) FROM desk.student a JOIN desk.student b ON b.id = a.school_id WHERE a.id > $1",
            "0",
            Show("138****0004|100"),
        ),
        (
            loops,
            "Nested Loop",
            "SELECT a.phone FROM desk.student a WHERE EXISTS (SELECT FROM desk.student b WHERE b.phone = a.phone AND b.id = $1)",
            "7",
            Show("138****0007"),
        ),
        (
            sorts,
            "Incremental Sort",
            "SELECT phone FROM desk.student WHERE school_id > $1 ORDER BY school_id, phone LIMIT 1",
            "3",
            Show("138****0003"),
        ),
        (spills, "HashAggregate", many, "100", Show("100|138****0001|138****0100")),
        (
            "SET jit = on; SET jit_above_cost = 0; SET jit_inline_above_cost = 0",
            "Scan",
            "SELECT phone FROM desk.student WHERE id = $1",
            "7",
            Show("138****0007"),
        ),
        (
            plain,
            "CTE",
            "WITH x AS MATERIALIZED (SELECT * FROM desk.student) SELECT phone FROM x WHERE id = $1",
            "7",
            Show("138****0007"),
        ),
        (
            plain,
            "Recursive Union",
            "WITH RECURSIVE x AS (SELECT 1 AS n, phone FROM desk.student WHERE id = $1 UNION ALL SELECT n + 1, phone FROM x WHERE n < 3) SELECT max(phone), max(n) FROM x",
            "7",
            Show("138****0007|3"),
        ),
        (
            plain,
            "SubPlan",
            "SELECT (SELECT s.phone FROM desk.student s WHERE s.id = g) FROM generate_series(7, $1) g",
            "7",
            Show("138****0007"),
        ),
        (
            plain,
            "Aggregate",
            "SELECT phone, name, count(*) FROM desk.student WHERE id = $1 GROUP BY GROUPING SETS ((phone, name), ()) HAVING phone IS NOT NULL",
            "7",
            Show("138****0007|***|1"),
        ),
        (
            plain,
            "Values",
            "SELECT v.p FROM desk.student s, LATERAL (VALUES (s.phone), ('x')) v(p) WHERE s.id = $1 AND v.p <> 'x'",
            "7",
            Show("138****0007"),
        ),
        (
            plain,
            "Sample",
            "SELECT phone FROM desk.student TABLESAMPLE SYSTEM (100) WHERE id = $1",
            "7",
            Show("138****0007"),
        ),
        (
            plain,
            "Append",
            "SELECT phone FROM desk.student WHERE id = $1 UNION ALL SELECT 'clear' WHERE false UNION ALL SELECT phone FROM desk.p WHERE id = 8",
            "7",
            Show("138****0007\n138****0008"),
        ),
        (
            plain,
            "WindowAgg",
            "SELECT first_value(phone) OVER (ORDER BY phone) FROM desk.student WHERE id = $1",
            "7",
            Show("138****0007"),
        ),
    ] {
        clerk.command(&format!("RESET ALL; {settings}"));
        let plan = clerk.command(&format!("EXPLAIN (COSTS OFF) {}", query.replace("$1", &format!("'{value}'"))));
        let plan = plan.rows.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plan.contains(shape), "{query} is no {shape}: {plan}");
        everywhere(&mut clerk, query, &[value], &mut |_, how, reply| must.judge(how, query, reply));
    }
    // A temporary table of the same name stands before it, as long as it is there.
    clerk.command("RESET ALL; SET search_path = desk; SET plan_cache_mode = force_generic_plan");
    let query = "SELECT phone FROM student WHERE id = $1";
    assert!(clerk.parse("s", query).code.is_none());
    for _ in 0..2 {
        Show("138****0007").judge("kept", query, &clerk.execute("s", &["7"]));
        clerk.command("CREATE TEMP TABLE student (id int, phone text); INSERT INTO student VALUES (7, 'own')");
        Show("own").judge("shadowed", query, &clerk.unnamed(query, &["7"]));
        // What is kept looks for its tables when it has to be planned anew, not before.
        let reply = clerk.execute("s", &["7"]);
        assert!(["own\n", "138****0007\n"].contains(&reply.rows.as_str()), "{reply:?}");
        let named = "SELECT phone FROM desk.student WHERE id = $1";
        Show("138****0007").judge("named in full", named, &clerk.unnamed(named, &["7"]));
        clerk.command("DROP TABLE pg_temp.student");
    }
    // Nor do objects of one's own stand in the place of what masks.
    clerk.command(
        "CREATE FUNCTION pg_temp._mask(text, int8) RETURNS text LANGUAGE sql AS 'SELECT $1'; CREATE TYPE pg_temp.mask_spec AS (x int);
         SET search_path = pg_temp, desk",
    );
    Show("138****0007").judge("shadowed", query, &clerk.execute("s", &["7"]));
}
