//! Ways by which a value is read: functions, views, cursors, whole rows, joins, system columns, parallel workers (cases 3,
//! 4, 6, 11, 14, 20, 21, 22, 25, 26, 36, 39, 43).

use super::{desk, desk_with, hidden_or_refused, masked, refused, shown, tells};

tests! {
    a_trigger_under_a_foreign_key_of_one_s_own,
    a_body_in_sql_that_is_parsed_or_text,
    a_function_that_is_put_in_place_of_its_call,
    views_of_every_kind,
    cursors,
    whole_rows,
    joins_that_name_columns,
    a_function_that_runs_for_next_to_nothing,
    an_error_says_no_more_than_the_mask,
    queries_inside_functions_of_the_server,
    an_outer_join_that_finds_nothing,
    every_shape_of_a_query,
    a_parallel_plan,
    partitions_and_children,
    a_column_that_moves_or_is_renamed,
    odd_names,
    types_of_every_kind,
    a_user_without_a_privilege_on_the_column,
    a_user_without_any_privilege,
    an_owner_and_a_superuser_with_a_rule,
    statistics,
    row_security_on_a_masked_column,
    a_function_in_a_parallel_worker,
    a_generated_column,
    where_long_values_are_kept,
    settings_and_commands_of_the_session,
    a_policy_that_does_not_read_back,
    an_unmasked_role_has_the_plan_it_always_had,
}

const PHONE: &str = "SELECT phone FROM desk.student WHERE id = 7";

/// Case 3.
fn a_body_in_sql_that_is_parsed_or_text() {
    let school = desk_with(
        "CREATE FUNCTION desk.one(int) RETURNS text BEGIN ATOMIC SELECT phone FROM desk.student WHERE id = $1; END;
         CREATE FUNCTION desk.two(int) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT phone FROM desk.student WHERE id = $1';
         CREATE FUNCTION desk.three(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT phone FROM desk.student WHERE id = $1'",
    );
    for function in ["one", "two", "three"] {
        masked(&school, &format!("SELECT desk.{function}(7)"));
        masked(&school, &format!("SELECT p FROM desk.{function}(7) p"));
    }
}

/// Case 3: the planner puts these bodies into FROM after it was told what to mask.
fn a_function_that_is_put_in_place_of_its_call() {
    let school = desk_with(
        "CREATE FUNCTION desk.parsed(int) RETURNS SETOF desk.student STABLE
            BEGIN ATOMIC SELECT * FROM desk.student WHERE id = $1; END;
         CREATE FUNCTION desk.text(int) RETURNS SETOF desk.student LANGUAGE sql STABLE
            AS 'SELECT * FROM desk.student WHERE id = $1';
         CREATE FUNCTION desk.outer(int) RETURNS SETOF desk.student LANGUAGE sql STABLE AS 'SELECT * FROM desk.text($1)';
         CREATE FUNCTION desk.named(wanted int DEFAULT 7) RETURNS TABLE (number text) LANGUAGE sql STABLE
            AS 'SELECT phone FROM desk.student WHERE id = wanted'",
    );
    for function in ["parsed", "text", "outer"] {
        masked(&school, &format!("SELECT phone FROM desk.{function}(7)"));
        masked(&school, &format!("SELECT s.phone FROM (VALUES (7)) v(id), LATERAL desk.{function}(v.id) s"));
        masked(&school, &format!("SELECT (desk.{function}(7)).phone"));
        masked(&school, &format!("SELECT to_jsonb(s) ->> 'phone' FROM desk.{function}(7) s"));
    }
    masked(&school, "SELECT number FROM desk.named()");
    masked(&school, "SELECT number FROM desk.named(wanted => 7)");
    let mut teacher = school.session("teacher");
    assert_eq!(shown(&mut teacher, "SELECT phone FROM desk.outer(7)"), "13800000007");
    // The plan is thrown away with the function that it was made of.
    let mut owner = school.superuser();
    let mut clerk = school.session("cs");
    clerk
        .batch_execute("SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT number FROM desk.named(7)")
        .expect("prepare");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "138****0007");
    owner
        .batch_execute(
            "CREATE OR REPLACE FUNCTION desk.named(wanted int DEFAULT 7) RETURNS TABLE (number text) LANGUAGE sql STABLE
                AS 'SELECT ''none''::text'",
        )
        .expect("replace");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "none");
}

/// Case 4.
fn views_of_every_kind() {
    let school = desk_with(
        "SET ROLE app_owner;
         CREATE VIEW desk.plain AS SELECT id, phone FROM desk.student;
         CREATE VIEW desk.invoker WITH (security_invoker) AS SELECT id, phone FROM desk.student;
         CREATE VIEW desk.barrier WITH (security_barrier) AS SELECT id, phone FROM desk.student WHERE score >= 0;
         CREATE VIEW desk.nested AS SELECT id, upper(phone) AS phone FROM desk.plain;
         CREATE VIEW desk.ruled AS SELECT 1 AS id, ''::text AS phone;
         CREATE OR REPLACE RULE \"_RETURN\" AS ON SELECT TO desk.ruled DO INSTEAD SELECT id, phone FROM desk.student;
         CREATE MATERIALIZED VIEW desk.picture AS SELECT id, phone FROM desk.student;
         GRANT SELECT ON ALL TABLES IN SCHEMA desk TO cs, teacher; RESET ROLE;
         SECURITY LABEL FOR pg_steward ON COLUMN desk.picture.phone IS 'phone'",
    );
    for view in ["plain", "invoker", "barrier", "nested", "ruled", "picture"] {
        masked(&school, &format!("SELECT phone FROM desk.{view} WHERE id = 7"));
        let clear = shown(&mut school.session("teacher"), &format!("SELECT phone FROM desk.{view} WHERE id = 7"));
        assert_eq!(clear, "13800000007", "{view}");
    }
}

/// Case 6.
fn cursors() {
    let school = desk();
    let mut clerk = school.session("cs");
    for more in ["", "BINARY", "SCROLL"] {
        let open = format!("BEGIN; DECLARE c {more} CURSOR FOR {PHONE}; FETCH c");
        assert!(!tells(&shown(&mut clerk, &open)), "{more}");
        clerk.batch_execute("ROLLBACK").expect("rollback");
    }
    let held = format!("BEGIN; DECLARE c CURSOR WITH HOLD FOR {PHONE}; COMMIT; FETCH c");
    assert_eq!(shown(&mut clerk, &held), "138****0007");
}

/// Case 20.
fn whole_rows() {
    let school = desk();
    for row in ["s", "s::text", "to_jsonb(s)", "row_to_json(s)", "(s).phone", "ROW(s.*)", "array_agg(s)", "(SELECT s)"]
    {
        masked(&school, &format!("SELECT {row} FROM desk.student s WHERE id = 7"));
    }
    masked(&school, "SELECT json_agg(s) FROM desk.student s WHERE id < 10");
    masked(&school, "TABLE desk.student");
    masked(&school, "SELECT x.s FROM (SELECT s FROM desk.student s WHERE id = 7) x");
    let system = shown(
        &mut school.session("cs"),
        "SELECT ctid IS NULL, xmin IS NULL, tableoid::regclass FROM desk.student WHERE id = 7",
    );
    assert_eq!(system, "f|f|desk.student");
}

/// Case 20.
fn joins_that_name_columns() {
    let school = desk();
    masked(&school, "SELECT * FROM desk.student a NATURAL JOIN desk.student b WHERE a.id = 7");
    masked(&school, "SELECT phone FROM desk.student a JOIN desk.student b USING (phone) WHERE a.id = 7");
    masked(&school, "SELECT phone FROM desk.student a FULL JOIN desk.student b USING (phone) WHERE a.id = 7");
    masked(&school, "SELECT j FROM (desk.student a JOIN desk.student b USING (id, phone)) j WHERE j.id = 7");
}

/// Case 14: the planner runs the cheapest condition first, and it tells what it is given.
fn a_function_that_runs_for_next_to_nothing() {
    let school = desk_with("CREATE TABLE desk.told (what text); GRANT ALL ON desk.told TO cs");
    let mut clerk = school.session("cs");
    clerk
        .batch_execute(
            "CREATE FUNCTION desk.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
                'BEGIN PERFORM set_config(''my.told'', current_setting(''my.told'') || $1, false); RETURN true; END';
             CREATE FUNCTION desk.leak_two(text, text) RETURNS boolean LANGUAGE sql COST 0.0000001 AS 'SELECT desk.leak($1)';
             CREATE OPERATOR desk.<<< (FUNCTION = desk.leak_two, LEFTARG = text, RIGHTARG = text);
             CREATE FUNCTION desk.leak_state(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1 || desk.leak($2)';
             CREATE AGGREGATE desk.leak_all(text) (SFUNC = desk.leak_state, STYPE = text, INITCOND = '')",
        )
        .expect("functions of the masked role");
    for condition in [
        "SELECT 1 FROM desk.student WHERE desk.leak(phone)",
        "SELECT 1 FROM desk.student a JOIN desk.student b ON desk.leak(a.phone) AND a.id = b.id",
        "SELECT desk.leak(phone) FROM desk.student",
        "SELECT 1 FROM desk.student WHERE phone OPERATOR(desk.<<<) ''",
        "SELECT desk.leak_all(phone) FROM desk.student",
        "SELECT 1 FROM desk.student GROUP BY desk.leak(phone) HAVING desk.leak(max(phone))",
    ] {
        clerk.batch_execute("SET my.told = 'told '").expect("setting");
        shown(&mut clerk, condition);
        let told = shown(&mut clerk, "SHOW my.told");
        assert!(!tells(&told), "{condition}: {told}");
        assert!(told.contains("138****"), "{condition}: {told}");
    }
}

/// Case 11.
fn an_error_says_no_more_than_the_mask() {
    let school = desk();
    let mut clerk = school.session("cs");
    for expression in
        ["phone::int8", "phone::date", "id_card::json", "name::int", "('x' || phone)::uuid", "s::text::int"]
    {
        let query = format!("SELECT {expression} FROM desk.student s WHERE id = 7");
        let error = format!("{:?}", crate::expect::db_error(clerk.simple_query(&query)));
        assert!(!tells(&error), "{query}: {error}");
    }
}

/// Case 21.
fn queries_inside_functions_of_the_server() {
    let school = desk();
    masked(&school, "SELECT query_to_xml('SELECT phone FROM desk.student WHERE id = 7', true, false, '')");
    masked(&school, "SELECT table_to_xml('desk.student', true, false, '')");
    hidden_or_refused(&school, "SELECT * FROM ts_stat('SELECT to_tsvector(''simple'', phone) FROM desk.student')");
    hidden_or_refused(
        &school,
        "BEGIN; DECLARE c CURSOR FOR SELECT phone FROM desk.student; SELECT cursor_to_xml('c', 9, true, false, '')",
    );
}

/// Case 22: a mask that is a constant must not make a row of nothing.
fn an_outer_join_that_finds_nothing() {
    let school = desk();
    for query in [
        "SELECT count(*) FROM generate_series(1, 200) g LEFT JOIN desk.student s ON s.id = g WHERE s.name IS NULL",
        "SELECT count(*) FROM generate_series(1, 200) g LEFT JOIN desk.student s ON s.id = g WHERE s IS NULL",
        "SELECT count(*) FROM generate_series(1, 200) g LEFT JOIN desk.student s ON s.id = g WHERE to_jsonb(s) IS NULL",
        "SELECT count(*) FROM generate_series(1, 200) g FULL JOIN desk.student s ON s.id = g WHERE coalesce(s.name, '') = ''",
    ] {
        assert_eq!(shown(&mut school.session("teacher"), query), "100", "{query}");
        assert_eq!(shown(&mut school.session("cs"), query), "100", "{query}");
    }
}

/// Case 39.
fn every_shape_of_a_query() {
    let school = desk();
    for query in [
        "WITH x AS MATERIALIZED (SELECT * FROM desk.student) SELECT phone FROM x WHERE id = 7",
        "WITH x AS NOT MATERIALIZED (SELECT * FROM desk.student) SELECT phone FROM x WHERE id = 7",
        "WITH RECURSIVE x AS (SELECT 1 AS n, phone FROM desk.student WHERE id = 7 UNION ALL SELECT n + 1, phone FROM x WHERE n < 3) SELECT phone FROM x",
        "SELECT (SELECT s.phone FROM desk.student s WHERE s.id = g) FROM generate_series(7, 7) g",
        "SELECT (SELECT s.phone || g FROM generate_series(1, 1) g) FROM desk.student s WHERE id = 7",
        "SELECT ARRAY(SELECT phone FROM desk.student WHERE id = 7)",
        "SELECT phone, count(*) FROM desk.student GROUP BY phone",
        "SELECT phone, name, count(*) FROM desk.student GROUP BY GROUPING SETS ((phone), (name), ())",
        "SELECT phone || '!', count(*) FROM desk.student GROUP BY ROLLUP (phone) HAVING phone IS NOT NULL",
        "SELECT id, phone, count(*) FROM desk.student GROUP BY id",
        "SELECT DISTINCT ON (phone) phone, score FROM desk.student ORDER BY phone, score",
        "SELECT v.p FROM desk.student s, LATERAL (VALUES (s.phone), (s.phone)) v(p) WHERE s.id = 7",
        "SELECT p FROM desk.student s, unnest(ARRAY[s.phone]) p WHERE s.id = 7",
        "SELECT phone FROM desk.student TABLESAMPLE SYSTEM (100) WHERE id = 7",
        "SELECT phone FROM desk.student WHERE id = 7 UNION SELECT phone FROM desk.student WHERE id = 8",
        "(SELECT phone FROM desk.student ORDER BY phone LIMIT 1) INTERSECT SELECT phone FROM desk.student",
        "SELECT max(phone), min(phone), string_agg(phone, ',') FROM desk.student",
        "SELECT first_value(phone) OVER (PARTITION BY phone ORDER BY phone) FROM desk.student",
        "SELECT count(phone) FILTER (WHERE phone LIKE '138****%'), max(phone) FROM desk.student",
        "SELECT xmlserialize(CONTENT xmlelement(name p, phone) AS text) FROM desk.student WHERE id = 7",
        "SELECT CASE phone WHEN '13800000007' THEN 'found' ELSE phone END FROM desk.student WHERE id = 7",
        "SELECT x.phone FROM desk.student s JOIN LATERAL (SELECT s.phone) x ON true WHERE s.id = 7",
        "SELECT phone FROM desk.student WHERE id = 7 FOR UPDATE",
        "SELECT phone FROM ONLY desk.student WHERE id = 7",
        "SELECT phone FROM desk.student WHERE id = 7 AND EXISTS (SELECT FROM desk.student x WHERE x.phone = student.phone)",
    ] {
        masked(&school, query);
    }
}

/// Case 39.
fn a_parallel_plan() {
    let school = desk();
    let settings = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
        SET max_parallel_workers_per_gather = 2; SET force_parallel_mode = on; ";
    let mut clerk = school.session("cs");
    clerk.batch_execute(settings).expect("settings");
    let query = "SELECT phone FROM desk.student WHERE phone LIKE '%*%'";
    let plan = shown(&mut clerk, &format!("EXPLAIN {query}"));
    assert!(plan.contains("Gather"), "{plan}");
    assert_eq!(shown(&mut clerk, query).lines().filter(|line| line.starts_with("138****")).count(), 100);
}

/// Case 25.
fn partitions_and_children() {
    let school = desk_with(
        "CREATE TABLE desk.call (id int, phone text, day date) PARTITION BY RANGE (day);
         CREATE TABLE desk.call_1 PARTITION OF desk.call FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
         CREATE TABLE desk.call_2 (day date, phone text, id int);
         CREATE TABLE desk.child (more text) INHERITS (desk.student);
         SECURITY LABEL FOR pg_steward ON COLUMN desk.call.phone IS 'phone';
         ALTER TABLE desk.call ATTACH PARTITION desk.call_2 FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
         INSERT INTO desk.call VALUES (1, '13800000001', '2026-03-01'), (2, '13800000002', '2026-09-01');
         INSERT INTO desk.child (id, school_id, name, phone) VALUES (7, 1, 'x', '13800000007');
         GRANT ALL ON ALL TABLES IN SCHEMA desk TO cs",
    );
    for table in ["desk.call", "desk.call_1", "desk.call_2", "desk.child", "desk.student"] {
        masked(&school, &format!("SELECT phone FROM {table}"));
        masked(&school, &format!("SELECT t FROM {table} t"));
    }
    let mut clerk = school.session("cs");
    clerk.batch_execute("PREPARE p AS SELECT phone FROM desk.call_3").expect_err("no such table");
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE TABLE desk.call_3 (id int, phone text, day date); GRANT SELECT ON desk.call_3 TO cs;
             INSERT INTO desk.call_3 VALUES (3, '13800000003', '2027-02-01')",
        )
        .expect("a table");
    let prepare = "SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT phone FROM desk.call_3";
    clerk.batch_execute(prepare).expect("prepare");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "13800000003", "it is no part of anything yet");
    superuser
        .batch_execute(
            "ALTER TABLE desk.call ATTACH PARTITION desk.call_3 FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
        )
        .expect("attach");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "138****0003");
}

/// Case 26.
fn a_column_that_moves_or_is_renamed() {
    let school = desk();
    let mut clerk = school.session("cs");
    clerk.batch_execute("PREPARE p AS SELECT * FROM desk.student WHERE id = 7").expect("prepare");
    shown(&mut clerk, "EXECUTE p");
    let mut owner = school.superuser();
    owner.batch_execute("ALTER TABLE desk.student DROP COLUMN school_id CASCADE").expect("drop");
    owner.batch_execute("ALTER TABLE desk.student RENAME COLUMN phone TO tel").expect("rename");
    masked(&school, "SELECT tel FROM desk.student WHERE id = 7");
    masked(&school, "SELECT s FROM desk.student s WHERE id = 7");
    owner.batch_execute("ALTER TABLE desk.student ALTER tel TYPE varchar(20)").expect("type");
    masked(&school, "SELECT tel FROM desk.student WHERE id = 7");
    owner.batch_execute("ALTER TABLE desk.student RENAME TO pupil").expect("name");
    masked(&school, "SELECT tel FROM desk.pupil WHERE id = 7");
}

/// Case 36.
fn odd_names() {
    let school = desk_with(
        "CREATE TABLE desk.\"odd \"\"one\" (\"col\"\"x\" text, gone int, \"Имя\" text, \"身份证号\" text, \" 1st\" text);
         ALTER TABLE desk.\"odd \"\"one\" DROP COLUMN gone;
         INSERT INTO desk.\"odd \"\"one\" VALUES ('13800000001', '13800000001', '13800000001', '13800000001');
         GRANT ALL ON desk.\"odd \"\"one\" TO cs;
         SECURITY LABEL FOR pg_steward ON COLUMN desk.\"odd \"\"one\".\"col\"\"x\" IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.\"odd \"\"one\".\"Имя\" IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.\"odd \"\"one\".\"身份证号\" IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.\"odd \"\"one\".\" 1st\" IS 'phone'",
    );
    let answer = masked(&school, "SELECT * FROM desk.\"odd \"\"one\"");
    assert_eq!(answer, ["138****0001"; 4].join("|"));
    masked(&school, "SELECT o FROM desk.\"odd \"\"one\" o");
}

/// A type without a mask of its own is NULL; text in whatever form fits its column.
fn types_of_every_kind() {
    let school = desk_with(
        "CREATE DOMAIN desk.number AS varchar(11) CHECK (VALUE ~ '^1[0-9]+$');
         CREATE TYPE desk.shade AS ENUM ('dark', 'light');
         CREATE TABLE desk.kinds (a varchar(5), b char(12), c name, d desk.number, e bytea, f desk.shade, g int[], h point,
            i text COLLATE \"C\");
         INSERT INTO desk.kinds VALUES ('13800', '13800000007', '13800000007', '13800000007', '13800000007', 'dark',
            '{13800000}', '(138,0)', '13800000007');
         GRANT ALL ON desk.kinds TO cs;
         DO $$ BEGIN FOR n IN 1..9 LOOP
            EXECUTE format('SECURITY LABEL FOR pg_steward ON COLUMN desk.kinds.%I IS ''phone''', chr(96 + n)); END LOOP; END $$",
    );
    let mut clerk = school.session("cs");
    let answer = shown(&mut clerk, "SELECT * FROM desk.kinds");
    assert!(!tells(&answer) && answer.contains("NULL|NULL|NULL|NULL"), "{answer}");
    let types = "pg_typeof(a), pg_typeof(b), pg_typeof(c), pg_typeof(d), pg_typeof(e), pg_typeof(f), pg_typeof(h)";
    let names = "character varying|character|name|desk.number|bytea|desk.shade|point";
    assert_eq!(shown(&mut clerk, &format!("SELECT {types} FROM desk.kinds")), names);
    assert_eq!(shown(&mut clerk, "SELECT length(a) <= 5, octet_length(b) FROM desk.kinds"), "t|12");
    shown(
        &mut clerk,
        "SELECT k, i < 'x', max(i) OVER (), max(a) OVER () FROM desk.kinds k ORDER BY i, a, b, c, d, f, g",
    );
    shown(&mut clerk, "CREATE TEMP TABLE copy AS SELECT * FROM desk.kinds; TABLE copy");
}

/// The floor: the column privilege was revoked, and the mask is still shown; nothing else is.
fn a_user_without_a_privilege_on_the_column() {
    let school = desk_with(
        "REVOKE SELECT ON desk.student FROM cs; GRANT SELECT (id, school_id, score) ON desk.student TO cs;
         SELECT steward.set_mask('cs', 'id_card', predicate => 'equal')",
    );
    masked(&school, PHONE);
    masked(&school, "SELECT phone, name, id_card FROM desk.student WHERE phone LIKE '138%'");
    let mut clerk = school.session("cs");
    refused(&mut clerk, "SELECT * FROM desk.student", "permission denied");
    refused(&mut clerk, "SELECT s FROM desk.student s", "permission denied");
    refused(&mut clerk, "SELECT note FROM desk.student", "permission denied");
    assert_eq!(shown(&mut clerk, "SELECT id FROM desk.student WHERE id_card = '110101201001010007'"), "7");
    school.superuser().batch_execute("GRANT SELECT (note) ON desk.student TO cs").expect("grant");
    masked(&school, "SELECT * FROM desk.student WHERE id = 7");
    masked(&school, "SELECT s FROM desk.student s WHERE id = 7");
}

/// A mask rule is no privilege on the table.
fn a_user_without_any_privilege() {
    let school = desk_with("REVOKE ALL ON desk.student FROM cs");
    let mut clerk = school.session("cs");
    for query in [
        PHONE,
        "SELECT s FROM desk.student s",
        "SELECT count(*) FROM desk.student",
        "UPDATE desk.student SET phone = ''",
    ] {
        refused(&mut clerk, query, "permission denied");
    }
}

/// They have no floor: the hook alone.
fn an_owner_and_a_superuser_with_a_rule() {
    let school = desk_with("SELECT steward.set_mask('app_owner', '*'), steward.set_mask('postgres', 'phone')");
    assert_eq!(shown(&mut school.session("app_owner"), PHONE), "138****0007");
    assert_eq!(shown(&mut school.session("postgres"), PHONE), "138****0007");
    assert_eq!(shown(&mut school.session("teacher"), PHONE), "13800000007");
    let mut superuser = school.superuser();
    // What the server asks itself for a foreign key is not masked.
    superuser
        .batch_execute(
            "CREATE TABLE desk.caller (phone text REFERENCES desk.student (phone) ON UPDATE CASCADE ON DELETE CASCADE);
             INSERT INTO desk.caller VALUES ('13800000007');
             UPDATE desk.student SET phone = '13900000007' WHERE id = 7",
        )
        .expect("foreign keys compare real values");
    let kept = "SELECT count(*) FROM desk.caller WHERE phone = '13900000007'";
    assert_eq!(shown(&mut school.session("teacher"), "SELECT phone FROM desk.student WHERE id = 7"), "13900000007");
    assert_eq!(shown(&mut superuser, kept), "1");
    crate::expect::db_error(superuser.simple_query("INSERT INTO desk.caller VALUES ('13800000007')"));
}

/// Case 9, without the floor: statistics hold values.
fn statistics() {
    let school = desk_with(
        "SELECT steward.set_mask('app_owner', 'phone'), steward.set_mask('postgres', 'phone');
         CREATE STATISTICS desk.both (mcv) ON phone, score FROM desk.student; ANALYZE desk.student",
    );
    for login in ["app_owner", "postgres", "cs"] {
        let mut session = school.session(login);
        for query in [
            "SELECT * FROM pg_stats WHERE tablename = 'student'",
            "SELECT * FROM pg_stats_ext WHERE tablename = 'student'",
            "SELECT * FROM pg_stats_ext_exprs",
        ] {
            assert!(!shown(&mut session, query).contains("13800000"), "{login}: {query}");
        }
    }
    let mut superuser = school.superuser();
    assert!(!shown(&mut superuser, "SELECT stavalues1, stavalues2 FROM pg_statistic").contains("13800000"));
    assert!(shown(&mut school.session("teacher"), "SELECT 1").contains('1'));
}

/// Case 43: a rule that cannot be understood hides everything by failing, and the session survives.
fn a_policy_that_does_not_read_back() {
    let school = desk();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "ALTER TABLE steward.mask_rule DROP CONSTRAINT mask_rule_mask_check;
             UPDATE steward.mask_rule SET mask = 'unheard of' WHERE class = 'phone'",
        )
        .expect("an administrator damages the policy before it is active");
    let mut clerk = school.session("cs");
    for _ in 0..2 {
        let error = crate::expect::db_error(clerk.simple_query(PHONE));
        assert!(error.message().contains("does not read back"), "{error:?}");
    }
    superuser.batch_execute("SELECT 1").expect_err("it fails for everybody");
}

/// Case 42.
fn an_unmasked_role_has_the_plan_it_always_had() {
    let school = desk_with("ANALYZE desk.student");
    let mut teacher = school.session("teacher");
    teacher.batch_execute("SET enable_seqscan = off").expect("setting");
    for query in
        ["SELECT * FROM desk.student WHERE phone = '13800000007'", "SELECT s, phone FROM desk.student s ORDER BY phone"]
    {
        let plan = shown(&mut teacher, &format!("EXPLAIN (VERBOSE) {query}"));
        assert!(!plan.contains("_mask"), "{plan}");
        assert!(query.contains("ORDER") || plan.contains("Index"), "{plan}");
    }
}

/// The conditions of row security compare values, not masks.
fn row_security_on_a_masked_column() {
    let school = desk_with(
        "DROP POLICY everybody ON desk.student; CREATE POLICY one ON desk.student USING (phone = '13800000007')",
    );
    assert_eq!(masked(&school, "SELECT id, phone FROM desk.student"), "7|138****0007");
    let mut clerk = school.session("cs");
    assert_eq!(shown(&mut clerk, "UPDATE desk.student SET note = 'x' RETURNING id"), "7");
    let moved = crate::expect::db_error(clerk.simple_query("UPDATE desk.student SET phone = '13900000007'"));
    assert!(moved.message().contains("row-level security"), "{moved:?}");
}

/// Case 39: what a worker runs by itself is planned there.
fn a_function_in_a_parallel_worker() {
    let school = desk_with(
        "CREATE FUNCTION desk.look(int) RETURNS text LANGUAGE plpgsql PARALLEL SAFE STABLE AS
            'BEGIN RETURN (SELECT phone FROM desk.student WHERE id = $1); END'",
    );
    let mut clerk = school.session("cs");
    clerk.batch_execute("SET force_parallel_mode = on").expect("setting");
    let query = "SELECT desk.look(id) FROM desk.student WHERE id < 4";
    assert!(shown(&mut clerk, &format!("EXPLAIN {query}")).contains("Gather"));
    assert_eq!(shown(&mut clerk, query), "138****0001\n138****0002\n138****0003");
}

/// It shows what it is made of.
fn a_generated_column() {
    let school = desk_with(
        "ALTER TABLE desk.student ADD shouted text GENERATED ALWAYS AS (upper('tel ' || phone)) STORED,
            ADD twice int GENERATED ALWAYS AS (score * 2) STORED",
    );
    let row = shown(&mut school.session("cs"), "SELECT shouted, twice FROM desk.student WHERE id = 7");
    assert!(!tells(&row) && row.ends_with("|14"), "{row}");
    assert_eq!(
        shown(&mut school.session("teacher"), "SELECT shouted FROM desk.student WHERE id = 7"),
        "TEL 13800000007"
    );
}

/// A superuser reads the table of long values like any other.
fn where_long_values_are_kept() {
    let school = desk_with(
        "ALTER TABLE desk.student ALTER note SET STORAGE EXTERNAL;
         SECURITY LABEL FOR pg_steward ON COLUMN desk.student.note IS 'phone';
         UPDATE desk.student SET note = repeat('13800000007', 500) WHERE id = 7;
         SELECT steward.set_mask('postgres', 'phone')",
    );
    let mut superuser = school.superuser();
    let toast: String = superuser
        .query_one("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'desk.student'::regclass", &[])
        .expect("toast")
        .get(0);
    let chunks = format!("SELECT count(*), count(chunk_data) FROM {toast}");
    assert_eq!(shown(&mut superuser, &chunks), "3|0");
    assert_eq!(shown(&mut superuser, "SELECT note FROM desk.student WHERE id = 7"), "***");
}

/// Case 34.
fn settings_and_commands_of_the_session() {
    let school = desk_with("ALTER TABLE desk.student DISABLE ROW LEVEL SECURITY");
    let mut clerk = school.session("cs");
    for command in [
        "SET row_security = off",
        "SET search_path = desk, pg_temp",
        "SET plan_cache_mode = force_generic_plan",
        "SET enable_seqscan = off",
        "SET jit = on; SET jit_above_cost = 0",
        "DISCARD ALL",
        "DISCARD PLANS",
        "SET ROLE cs",
        "SET default_transaction_read_only = on",
    ] {
        clerk.batch_execute(command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
        assert_eq!(shown(&mut clerk, PHONE), "138****0007", "{command}");
    }
    for command in [
        "SET steward.mode = off",
        "SET session_preload_libraries = ''",
        "LOAD '$libdir/pg_steward'",
        "SET session_replication_role = replica",
    ] {
        clerk.batch_execute(command).expect_err(command);
        assert_eq!(shown(&mut clerk, PHONE), "138****0007", "{command}");
    }
}

/// What a foreign key's own query fires runs under the flag that its look-ups have.
fn a_trigger_under_a_foreign_key_of_one_s_own() {
    let school = desk();
    let mut cs = school.session("cs");
    for (parent, child) in [("DELETE FROM", "CASCADE"), ("UPDATE", "CASCADE"), ("DELETE FROM", "SET NULL")] {
        let fire = if parent == "UPDATE" { "UPDATE a SET id = 2" } else { "DELETE FROM a" };
        let script = format!(
            "CREATE TEMP TABLE a (id int PRIMARY KEY); CREATE TEMP TABLE told (phone text);
            CREATE TEMP TABLE b (id int REFERENCES a ON DELETE {child} ON UPDATE CASCADE);
            CREATE FUNCTION pg_temp.leak() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE r record; BEGIN
                FOR r IN SELECT phone FROM desk.student LOOP
                    EXECUTE format('INSERT INTO told VALUES (%L)', r.phone);
                END LOOP;
                IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
                RETURN NEW; END $$;
            CREATE TRIGGER leak BEFORE DELETE OR UPDATE ON b FOR EACH ROW EXECUTE FUNCTION pg_temp.leak();
            INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); {fire}"
        );
        cs.batch_execute(&script).unwrap_or_else(|error| panic!("{fire}: {error:?}"));
        let told = shown(&mut cs, "SELECT * FROM told");
        assert!(told.contains("138****") && !tells(&told), "{fire}: {told}");
        cs.batch_execute("DROP TABLE a, b, told; DROP FUNCTION pg_temp.leak").expect("clean");
    }
}
