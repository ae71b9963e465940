//! Limits of export: rows read are counted, however they leave.

use postgres::Client;
use postgres::error::{DbError, SqlState};

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask, request};

tests! {
    one_row_that_carries_every_phone_has_read_them_all,
    as_many_rows_as_the_limit_says_may_be_read,
    rows_that_are_not_shown_but_aggregated_count,
    a_count_is_one_row,
    probing_with_counts_is_stopped,
    before_the_activation_nothing_is_refused_and_a_warning_refuses_nothing,
    a_function_that_reads_for_somebody_counts,
    a_definer_function_that_reads_for_a_role_that_was_put_on_counts,
    a_function_that_tells_every_row_and_lets_none_pass_is_stopped,
    a_builtin_that_tells_every_row_is_stopped,
    errors_that_carry_a_value_each_count,
    keyset_paging_is_stopped_within_the_hour,
    a_fetch_loop_is_one_statement,
    a_cursor_with_hold_is_counted_when_it_is_filled,
    a_portal_that_is_read_in_portions_is_one_statement,
    prepared_statements_count,
    parallel_plans_are_counted_once_and_whole,
    a_rollback_takes_nothing_off_the_hour,
    other_sessions_of_the_person_share_the_hour,
    another_persons_hour_is_their_own,
    putting_on_a_role_does_not_take_the_limit_off,
    copy_of_a_table_is_refused,
    copy_of_a_query_is_refused_or_counted,
    copy_to_a_program_is_refused,
    copies_inside_the_database_count,
    upserts_that_return_what_was_there_count,
    partitions_and_samples_count,
    whoever_has_no_limit_reads_everything,
    unprotected_tables_are_not_counted,
    what_a_policy_of_the_table_asks_is_not_counted,
    an_export_above_the_limit_is_an_operation,
    a_form_that_says_less_than_the_script_is_not_filed,
    an_export_reads_no_columns_and_rows_but_those_of_its_form,
    an_operation_without_the_form_lifts_no_limit,
    a_refusal_is_on_record_and_tells_the_next_command,
    limits_are_set_in_an_operation_only,
}

/// Teachers read 50 rows a statement and 120 an hour.
fn limited() -> School {
    with("50, 120")
}

fn with(limits: &str) -> School {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(&format!("SELECT steward.set_export_limit('teacher_wang', {limits}); SELECT steward.activate()"))
        .expect("limits");
    school
}

#[track_caller]
fn too_many(session: &mut Client, query: &str) -> DbError {
    let error = expect_error(
        session.batch_execute(query),
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "50 rows",
        "\"form\": \"export\"",
    );
    drop(session.batch_execute("ROLLBACK"));
    error
}

#[track_caller]
fn hour_is_over(session: &mut Client, query: &str) {
    expect_error(session.batch_execute(query), &SqlState::INSUFFICIENT_PRIVILEGE, "Within an hour", "");
    drop(session.batch_execute("ROLLBACK"));
}

#[track_caller]
fn passes(session: &mut Client, query: &str) {
    session.batch_execute(query).unwrap_or_else(|error| panic!("{query}: {error:?}"));
}

fn one_row_that_carries_every_phone_has_read_them_all() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    for query in [
        "SELECT string_agg(phone, ',') FROM app.student",
        "SELECT json_agg(s) FROM app.student s",
        "SELECT array_agg(phone) FROM app.student",
        "SELECT (SELECT string_agg(phone, ',') FROM app.student)",
        "WITH a AS MATERIALIZED (SELECT phone FROM app.student) SELECT string_agg(phone, '') FROM a",
        "SELECT max(phone || pg_backend_pid()) FROM app.student",
    ] {
        too_many(&mut teacher, query);
    }
}

fn as_many_rows_as_the_limit_says_may_be_read() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    assert_eq!(teacher.query("SELECT * FROM app.student WHERE id <= 50", &[]).expect("fifty").len(), 50);
    assert_eq!(teacher.query("SELECT * FROM app.student ORDER BY id LIMIT 50", &[]).expect("fifty").len(), 50);
    too_many(&mut teacher, "SELECT * FROM app.student WHERE id <= 51");
    // The next statement begins anew.
    passes(&mut teacher, "SELECT * FROM app.student WHERE id <= 50");
}

fn rows_that_are_not_shown_but_aggregated_count() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    too_many(&mut teacher, "SELECT substr(phone, 8, 1), count(*) FROM app.student GROUP BY 1");
    too_many(&mut teacher, "SELECT * FROM app.student ORDER BY phone LIMIT 1 OFFSET 150");
    too_many(&mut teacher, "SELECT count(*) FILTER (WHERE phone LIKE '138%') FROM app.student");
    too_many(&mut teacher, "SELECT rank() OVER (ORDER BY name) FROM app.student LIMIT 1");
}

fn a_count_is_one_row() {
    let school = with("50, 60");
    let mut teacher = school.session("teacher_wang");
    for _ in 0..3 {
        assert_eq!(ask::<i64>(&mut teacher, "SELECT count(*) FROM app.student"), 200);
        assert_eq!(ask::<i64>(&mut teacher, "SELECT count(*) FROM app.card_transaction"), 200);
    }
}

fn probing_with_counts_is_stopped() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    too_many(
        &mut teacher,
        "DO $$ DECLARE found bigint := 0; BEGIN FOR n IN 1..60 LOOP
            found := found + (SELECT count(*) FROM app.student WHERE id = n AND phone LIKE '139%'); END LOOP; END $$",
    );
    too_many(
        &mut teacher,
        "SELECT (SELECT count(*) FROM app.student WHERE id = n AND phone LIKE '139%') FROM generate_series(1, 60) n",
    );
}

fn before_the_activation_nothing_is_refused_and_a_warning_refuses_nothing() {
    let school = School::inactive();
    passes(&mut school.superuser(), "SELECT steward.set_export_limit('teacher_wang', 50, 60)");
    let mut teacher = school.session("teacher_wang");
    assert_eq!(teacher.query("SELECT phone FROM app.student", &[]).expect("not active").len(), 200);
    let mut lines = Vec::new();
    std::io::Read::read_to_end(&mut teacher.copy_out("COPY app.student TO STDOUT").expect("not active"), &mut lines)
        .expect("rows");
    assert!(!lines.is_empty());
    let school = School::with("warn", &[]);
    passes(
        &mut school.superuser(),
        "SELECT steward.set_export_limit('teacher_wang', 50, 60); SELECT steward.activate()",
    );
    let mut teacher = school.session("teacher_wang");
    assert_eq!(teacher.query("SELECT phone FROM app.student", &[]).expect("a warning").len(), 200);
    assert_eq!(teacher.query("SELECT phone FROM app.student", &[]).expect("a warning").len(), 200);
}

fn a_function_that_reads_for_somebody_counts() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    let one_by_one = "DO $$ DECLARE found text := ''; BEGIN
        FOR n IN 1..200 LOOP found := found || (SELECT phone FROM app.student WHERE id = n); END LOOP; RAISE NOTICE '%', found; END $$";
    too_many(&mut teacher, one_by_one);
    too_many(&mut teacher, "SELECT query_to_xml('SELECT phone FROM app.student', true, true, '')");
    too_many(&mut teacher, "SELECT (SELECT phone FROM app.student WHERE id = n) FROM generate_series(1, 200) n");
}

fn a_definer_function_that_reads_for_a_role_that_was_put_on_counts() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE desk; GRANT desk TO region_chen; GRANT USAGE ON SCHEMA app TO desk; ALTER ROLE region_chen NOINHERIT;
             CREATE FUNCTION app.everything() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT string_agg(phone, '','') FROM app.student';
             SELECT steward.set_export_limit('desk', 50, NULL); SELECT steward.activate()",
        )
        .expect("set-up");
    let mut chen = school.session("region_chen");
    passes(&mut chen, "SET ROLE desk");
    too_many(&mut chen, "SELECT app.everything()");
}

fn a_function_that_tells_every_row_and_lets_none_pass_is_stopped() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    passes(&mut teacher, "CREATE TEMP TABLE told (phone text)");
    passes(
        &mut teacher,
        "CREATE FUNCTION pg_temp.tell(phone text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
            $$ BEGIN RAISE NOTICE '%', phone; RETURN false; END $$",
    );
    passes(&mut teacher, "CREATE DOMAIN pg_temp.checked AS text CHECK (pg_temp.tell(VALUE) OR true)");
    for query in [
        "SELECT id FROM app.student WHERE pg_temp.tell(phone)",
        "SELECT count(*) FROM app.student WHERE pg_temp.tell(phone)",
        "SELECT id FROM app.student WHERE id > 0 AND pg_temp.tell(phone)",
        "SET enable_seqscan = off; SELECT id FROM app.student WHERE id > 0 AND pg_temp.tell(phone)",
        "UPDATE app.student SET note = '' WHERE pg_temp.tell(phone)",
        "DELETE FROM app.student WHERE pg_temp.tell(phone)",
        "SELECT id FROM app.student s WHERE (SELECT pg_temp.tell(s.phone))",
        "SELECT count(*) FROM app.student s WHERE (SELECT pg_temp.tell(s.phone) OFFSET 0)",
        "SELECT id FROM app.student s WHERE id IN (SELECT 1 WHERE pg_temp.tell(s.phone) OFFSET 0)",
        "SELECT id FROM app.student WHERE phone::pg_temp.checked = ''",
    ] {
        too_many(&mut teacher, query);
    }
}

fn a_builtin_that_tells_every_row_is_stopped() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    too_many(
        &mut teacher,
        "SELECT id FROM app.student WHERE set_config('a.b', current_setting('a.b', true) || phone, false) IS NULL",
    );
    too_many(&mut teacher, "SELECT id FROM app.student WHERE NOT pg_try_advisory_lock(phone::bigint)");
}

fn errors_that_carry_a_value_each_count() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    passes(
        &mut teacher,
        "CREATE TEMP TABLE told (phone text);
         DO $$ BEGIN FOR n IN 1..200 LOOP
            BEGIN PERFORM (phone || 'x')::int FROM app.student WHERE id = n;
            EXCEPTION WHEN others THEN INSERT INTO told SELECT substring(sqlerrm, '138\\d+'); END;
         END LOOP; END $$",
    );
    assert_eq!(ask::<i64>(&mut teacher, "SELECT count(phone) FROM told"), 50);
}

fn keyset_paging_is_stopped_within_the_hour() {
    let school = limited();
    let mut teacher = school.session("teacher_wang");
    let page =
        teacher.prepare("SELECT id, phone FROM app.student WHERE id > $1 ORDER BY id LIMIT 10").expect("prepare");
    let mut last = 0;
    for _ in 0..12 {
        last = teacher.query(&page, &[&last]).expect("page").last().expect("row").get(0);
    }
    assert_eq!(last, 120);
    let error = teacher.query(&page, &[&last]);
    expect_error(error, &SqlState::INSUFFICIENT_PRIVILEGE, "120 rows of protected tables, of which 120 were read", "");
    hour_is_over(&mut teacher, "SELECT phone FROM app.student WHERE id = 200");
    hour_is_over(&mut teacher, "SELECT phone FROM app.student ORDER BY id OFFSET 120 LIMIT 10");
    hour_is_over(&mut teacher, "SELECT count(*) FROM app.student");
    passes(&mut teacher, "SELECT * FROM app.scratch; SELECT count(*) FROM app.school");
}

fn a_fetch_loop_is_one_statement() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    passes(&mut teacher, "BEGIN; DECLARE c CURSOR FOR SELECT phone FROM app.student");
    for _ in 0..5 {
        passes(&mut teacher, "FETCH 10 FROM c");
    }
    too_many(&mut teacher, "FETCH 1 FROM c");
    let swallowing = "DO $$ DECLARE c CURSOR FOR SELECT phone FROM app.student; p text; BEGIN
        OPEN c; FOR n IN 1..200 LOOP FETCH c INTO p; END LOOP; END $$";
    too_many(&mut teacher, swallowing);
    passes(&mut teacher, "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT phone FROM app.student");
    too_many(&mut teacher, "MOVE FORWARD 60 FROM c");
}

fn a_cursor_with_hold_is_counted_when_it_is_filled() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    passes(&mut teacher, "BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT phone FROM app.student");
    too_many(&mut teacher, "COMMIT");
    let gone = teacher.batch_execute("FETCH ALL FROM held");
    expect_error(gone, &SqlState::INVALID_CURSOR_NAME, "", "");
}

fn a_portal_that_is_read_in_portions_is_one_statement() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    let mut transaction = teacher.transaction().expect("begin");
    let portal = transaction.bind("SELECT phone FROM app.student", &[]).expect("bind");
    for _ in 0..5 {
        assert_eq!(transaction.query_portal(&portal, 10).expect("portion").len(), 10);
    }
    let next = transaction.query_portal(&portal, 10);
    expect_error(next, &SqlState::INSUFFICIENT_PRIVILEGE, "50 rows", "");
}

fn prepared_statements_count() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    passes(&mut teacher, "PREPARE p(int) AS SELECT phone FROM app.student WHERE id <= $1");
    for _ in 0..8 {
        passes(&mut teacher, "EXECUTE p(40)");
    }
    too_many(&mut teacher, "EXECUTE p(60)");
    too_many(&mut teacher, "CREATE TEMP TABLE mine AS EXECUTE p(60)");
    too_many(&mut teacher, "EXPLAIN (ANALYZE) EXECUTE p(60)");
    passes(&mut teacher, "EXPLAIN EXECUTE p(60)");
}

fn parallel_plans_are_counted_once_and_whole() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    passes(
        &mut teacher,
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 4;
         SET force_parallel_mode = on",
    );
    // Plans differ with what is known of the table, which autovacuum finds out when it likes.
    for upkeep in ["", "ANALYZE app.student", "VACUUM ANALYZE app.student"] {
        passes(&mut school.superuser(), upkeep);
        for scans in ["RESET enable_seqscan", "SET enable_seqscan = off"] {
            passes(&mut teacher, scans);
            let plan: Vec<String> = teacher
                .query("EXPLAIN SELECT max(phone) FROM app.student WHERE note = ''", &[])
                .expect("plan")
                .iter()
                .map(|row| row.get(0))
                .collect();
            assert!(plan.concat().contains("Gather"), "{upkeep}, {scans}: {plan:?}");
            too_many(&mut teacher, "SELECT max(phone) FROM app.student WHERE note = ''");
            too_many(&mut teacher, "SELECT phone FROM app.student WHERE note = ''");
            let fifty = teacher.query("SELECT phone FROM app.student WHERE id <= 50", &[]).expect("fifty");
            assert_eq!(fifty.len(), 50, "{upkeep}, {scans}");
            assert_eq!(ask::<i64>(&mut teacher, "SELECT count(*) FROM app.student"), 200, "{upkeep}, {scans}");
        }
    }
}

fn a_rollback_takes_nothing_off_the_hour() {
    let school = limited();
    let mut teacher = school.session("teacher_wang");
    for n in 0..3 {
        passes(
            &mut teacher,
            &format!(
                "BEGIN; SAVEPOINT s; SELECT phone FROM app.student WHERE id > {n} LIMIT 40; ROLLBACK TO s; ROLLBACK"
            ),
        );
    }
    hour_is_over(&mut teacher, "SELECT phone FROM app.student WHERE id = 1");
    drop(teacher);
    hour_is_over(&mut school.session("teacher_wang"), "SELECT phone FROM app.student WHERE id = 1");
}

fn other_sessions_of_the_person_share_the_hour() {
    let school = with("NULL, 120");
    let mut sessions: Vec<Client> = (0..6).map(|_| school.session("teacher_wang")).collect();
    let mut read = 0;
    for turn in 0..40 {
        let session = &mut sessions[turn % 6];
        read += session.query("SELECT phone FROM app.student LIMIT 7", &[]).map_or(0, |rows| rows.len());
    }
    assert!((114..=120).contains(&read), "{read} rows");
}

fn another_persons_hour_is_their_own() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE staff; GRANT staff TO teacher_wang, clerk_zhao; SELECT steward.set_export_limit('staff', NULL, 100); SELECT steward.activate()",
        )
        .expect("set-up");
    let mut teacher = school.session("teacher_wang");
    passes(&mut teacher, "SELECT phone FROM app.student LIMIT 100");
    hour_is_over(&mut teacher, "SELECT phone FROM app.student LIMIT 1");
    passes(&mut school.session("clerk_zhao"), "SELECT phone FROM app.student LIMIT 100");
}

fn putting_on_a_role_does_not_take_the_limit_off() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("GRANT region_liu TO teacher_wang; GRANT teacher_wang TO region_chen; SELECT steward.set_export_limit('teacher_wang', 50, NULL); SELECT steward.activate()")
        .expect("set-up");
    let mut teacher = school.session("teacher_wang");
    passes(&mut teacher, "SET ROLE region_liu");
    too_many(&mut teacher, "SELECT phone FROM app.student");
    let mut superuser = school.superuser();
    passes(&mut superuser, "SELECT phone FROM app.student; SET SESSION AUTHORIZATION teacher_wang");
    too_many(&mut superuser, "SELECT phone FROM app.student");
}

fn copy_of_a_table_is_refused() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    for copy in [
        "COPY app.student TO STDOUT",
        "COPY app.student (phone) TO STDOUT (FORMAT binary)",
        "COPY app.card_transaction_2026_10 TO STDOUT",
    ] {
        let refused = teacher.batch_execute(copy);
        expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "limit of role teacher_wang", "");
    }
    assert_eq!(school.records("operation_type = 'COPY' AND result = 'DENIED' AND rule = 'export_limit'"), 3);
}

fn copy_of_a_query_is_refused_or_counted() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    passes(&mut superuser, "SELECT steward.set_export_limit('teacher_wang', 50, NULL); SELECT steward.activate()");
    let mut teacher = school.session("teacher_wang");
    let copied = |session: &mut Client, copy: &str| {
        session.copy_out(copy).map(|mut reader| std::io::Read::read_to_end(&mut reader, &mut Vec::new()).map(drop))
    };
    let refused = copied(&mut teacher, "COPY (SELECT 1 FROM app.student WHERE id = 1) TO STDOUT");
    expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "limit of role teacher_wang", "");
    school.operate("postgres", "SELECT steward.set_export_limit('teacher_wang', 50, NULL, allow_copy => true)");
    copied(&mut teacher, "COPY (SELECT * FROM app.student WHERE id <= 50) TO STDOUT").expect("fifty").expect("fifty");
    let mut lines = Vec::new();
    let ended = std::io::Read::read_to_end(
        &mut teacher.copy_out("COPY (SELECT phone FROM app.student) TO STDOUT").expect("begins"),
        &mut lines,
    );
    assert!(ended.is_err() && lines.len() <= 50 * 12, "{} bytes", lines.len());
    let table = copied(&mut teacher, "COPY app.student TO STDOUT");
    expect_error(table, &SqlState::INSUFFICIENT_PRIVILEGE, "", "COPY (SELECT * FROM app.student) TO STDOUT");
}

fn copy_to_a_program_is_refused() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    passes(
        &mut superuser,
        "GRANT pg_execute_server_program, pg_write_server_files TO teacher_wang; SELECT steward.set_export_limit('teacher_wang', 50, NULL); SELECT steward.activate()",
    );
    let mut teacher = school.session("teacher_wang");
    for target in ["PROGRAM 'cat > /dev/null'", "'/tmp/pg_steward_export'"] {
        for what in ["app.student", "(SELECT phone FROM app.student)"] {
            expect_refused(teacher.batch_execute(&format!("COPY {what} TO {target}")));
        }
    }
}

fn copies_inside_the_database_count() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    for copy in [
        "CREATE TEMP TABLE mine AS SELECT * FROM app.student",
        "SELECT * INTO TEMP mine FROM app.student",
        "INSERT INTO app.scratch SELECT id, phone FROM app.student",
        "WITH gone AS (SELECT phone FROM app.student) INSERT INTO app.scratch SELECT 1, string_agg(phone, '') FROM gone",
    ] {
        too_many(&mut teacher, copy);
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.scratch"), 0);
}

fn upserts_that_return_what_was_there_count() {
    let school = with("40, NULL");
    let mut teacher = school.session("teacher_wang");
    let upsert = "INSERT INTO app.student (id, school_id, name, id_card, phone) SELECT n, 1, 'x', 'x' || n, '13900000000' FROM generate_series(1, 45) n
        ON CONFLICT (id) DO UPDATE SET note = '' RETURNING *";
    expect_error(teacher.batch_execute(upsert), &SqlState::INSUFFICIENT_PRIVILEGE, "40 rows", "");
    let update = "UPDATE app.student SET note = '' WHERE id <= 45 RETURNING phone";
    expect_error(teacher.batch_execute(update), &SqlState::INSUFFICIENT_PRIVILEGE, "40 rows", "");
    passes(&mut teacher, "UPDATE app.student SET note = '' WHERE id <= 40 RETURNING phone");
}

fn partitions_and_samples_count() {
    let school = with("50, NULL");
    let mut teacher = school.session("teacher_wang");
    for query in [
        "SELECT amount FROM app.card_transaction",
        "SELECT amount FROM app.card_transaction_2026_10",
        "SELECT phone FROM app.student TABLESAMPLE BERNOULLI (100)",
        "SELECT phone FROM app.student WHERE ctid >= '(0,0)'",
        "SELECT phone FROM app.student WHERE ctid = ANY (ARRAY(SELECT ctid FROM app.student LIMIT 30))",
        "SELECT id FROM app.student WHERE id > 0 UNION ALL SELECT id FROM app.guardian",
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT id FROM app.student WHERE id > 0",
        "SET enable_bitmapscan = on; SET enable_indexscan = off; SET enable_indexonlyscan = off; SELECT id FROM app.student WHERE id > 0",
        "WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL SELECT s.id FROM r JOIN app.student s ON s.id = r.id + 1) SELECT * FROM r",
    ] {
        too_many(&mut teacher, query);
    }
}

fn whoever_has_no_limit_reads_everything() {
    let school = limited();
    for login in ["region_liu", "clerk_zhao", "postgres"] {
        let rows = school.session(login).query("SELECT phone FROM app.student", &[]).expect("no limit");
        assert_eq!(rows.len(), 200, "{login}");
    }
}

fn unprotected_tables_are_not_counted() {
    let school = limited();
    let mut teacher = school.session("teacher_wang");
    assert_eq!(teacher.query("SELECT * FROM generate_series(1, 500)", &[]).expect("rows").len(), 500);
    passes(&mut teacher, "SELECT * FROM pg_class");
}

fn what_a_policy_of_the_table_asks_is_not_counted() {
    let school = School::inactive();
    passes(
        &mut school.superuser(),
        "CREATE FUNCTION app.may_see(school int) RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN school = 1; END';
         ALTER TABLE app.student ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON app.student USING (app.may_see(school_id));
         SELECT steward.set_export_limit('teacher_wang', 50, 1000); SELECT steward.activate()",
    );
    let mut teacher = school.session("teacher_wang");
    assert_eq!(teacher.query("SELECT phone FROM app.student", &[]).expect("fifty of two hundred").len(), 50);
}

const EXPORT: &str = "COPY (SELECT id, phone FROM app.student ORDER BY id) TO STDOUT";

/// Files an export for this many rows, has it approved, and arms this session.
fn armed(school: &School, teacher: &mut Client, script: &str, form: &str) {
    let op_no = request(teacher, script, &format!(", expected_rows => 1000, form => {form}"));
    school.release(&op_no);
    teacher.batch_execute(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
}

fn form(rows: u32) -> String {
    format!(
        r#"'{{"form": "export", "columns": "id, phone", "filter": "all students", "rows": {rows}, "recipient": "education bureau", "reason": "yearly report"}}'"#
    )
}

fn an_export_above_the_limit_is_an_operation() {
    let school = limited();
    let mut teacher = school.session("teacher_wang");
    armed(&school, &mut teacher, EXPORT, &form(200));
    let mut lines = Vec::new();
    std::io::Read::read_to_end(&mut teacher.copy_out(EXPORT).expect("armed"), &mut lines).expect("rows");
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 200);
    expect_refused(teacher.batch_execute(EXPORT));
    // Fewer rows were approved than there are.
    let mut teacher = school.session("teacher_wang");
    armed(&school, &mut teacher, EXPORT, &form(150));
    let ended = std::io::Read::read_to_end(&mut teacher.copy_out(EXPORT).expect("armed"), &mut Vec::new());
    assert!(ended.is_err());
    let error = school.session("teacher_wang").query(
        "SELECT steward.request($1, purpose => 'x', form => '{\"form\": \"export\", \"columns\": \"id\"}')",
        &[&EXPORT],
    );
    expect_error(error, &SqlState::INVALID_PARAMETER_VALUE, "", "");
}

/// The form with other fields in the place of its own, in quotes.
fn form_with(fields: serde_json::Value) -> String {
    let mut form: serde_json::Value = serde_json::from_str(form(200).trim_matches('\'')).expect("a form");
    for (name, value) in fields.as_object().expect("fields") {
        form[name] = value.clone();
    }
    format!("'{form}'")
}

fn a_form_that_says_less_than_the_script_is_not_filed() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let mut file = |script: &str, more: &str, fields: serde_json::Value| {
        let form = form_with(fields);
        let call = format!("SELECT steward.request($s${script}$s$, purpose => 'x', form => {form}{more})");
        teacher.query_one(&call, &[]).map(|row| row.get::<_, String>(0))
    };
    let bad = |result, detail: &str, hint: &str| {
        expect_error(result, &SqlState::INVALID_PARAMETER_VALUE, detail, hint);
    };
    let fields = |columns: &str| serde_json::json!({ "columns": columns });
    bad(file(EXPORT, "", fields("id")), "Not listed: app.student.phone", "\"columns\": \"id, app.student.phone\"");
    bad(file(EXPORT, "", fields("*")), "Not listed: app.student.id, app.student.phone", "");
    bad(file(EXPORT, "", fields("id, guardian.phone")), "Not listed: app.student.phone", "");
    bad(file(EXPORT, "", fields(" , ")), "", "");
    bad(file("SELECT id FROM app.student WHERE phone LIKE '139%'", "", fields("id")), "app.student.phone", "");
    bad(file("SELECT to_jsonb(s) FROM app.student s", "", fields("id, phone")), "app.student.id_card", "");
    bad(
        file("CREATE TABLE app.kept AS SELECT id, name FROM app.student", "", fields("id, phone")),
        "app.student.name",
        "",
    );
    // Once, and in one run.
    bad(file(EXPORT, ", runs => 2", fields("id, phone")), "", "\"single_use\": false");
    bad(
        file("SELECT id FROM app.student; SELECT id FROM app.student", ", stepwise => true", fields("id")),
        "whole run",
        "",
    );
    let repeated = serde_json::json!({ "single_use": false });
    file("CREATE TABLE app.kept AS SELECT id FROM app.student", ", runs => 2", repeated).expect("twice");
    // The filter is what it was, however the rest is written.
    let digest = |op_no: String| -> String {
        school.ask(&format!("SELECT form::jsonb ->> 'filter_digest' FROM steward._operation WHERE op_no = '{op_no}'"))
    };
    let own =
        digest(file("SELECT id FROM app.student WHERE school_id = 3", "", fields("id, school_id")).expect("filed"));
    let same = "COPY (SELECT phone,  id FROM app.student\n WHERE school_id=3) TO STDOUT";
    let given = serde_json::json!({ "columns": "id, phone, school_id", "filter_digest": own });
    assert_eq!(digest(file(same, "", given.clone()).expect("the same rows")), own);
    for other in [same.replace("=3", "=4"), same.replace("=3", ">3"), same.replace("=3", "=3 LIMIT 1")] {
        bad(file(&other, "", given.clone()), "other rows", "filter_digest");
    }
}

fn an_export_reads_no_columns_and_rows_but_those_of_its_form() {
    let school = School::inactive();
    passes(
        &mut school.superuser(),
        "GRANT CREATE ON SCHEMA app TO teacher_wang;
         CREATE FUNCTION app.more() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT name FROM app.student WHERE id = 1); END';
         SELECT steward.activate()",
    );
    // The teacher has no limits: the form holds all the same.
    let twice = "COPY (SELECT id, phone FROM app.student WHERE id <= 100) TO STDOUT;COPY (SELECT id, phone FROM app.student WHERE id > 100) TO STDOUT";
    let mut teacher = school.session("teacher_wang");
    armed(&school, &mut teacher, twice, &form(150));
    let mut copies = twice
        .split(';')
        .map(|copy| std::io::Read::read_to_end(&mut teacher.copy_out(copy).expect("armed"), &mut Vec::new()));
    copies.next().expect("first").expect("a hundred rows");
    copies.next().expect("second").expect_err("fifty are left");
    let mut teacher = school.session("teacher_wang");
    armed(&school, &mut teacher, twice, &form(200));
    for copy in twice.split(';') {
        std::io::Read::read_to_end(&mut teacher.copy_out(copy).expect("armed"), &mut Vec::new()).expect("rows");
    }
    let told = "operation_type = 'EXECUTE' AND details::jsonb -> 'export' = '{\"recipient\": \"education bureau\", \"rows_read\": 200}'";
    assert_eq!(school.records(told), 1);
    assert_eq!(
        school.records("operation_type = 'ARM' AND details::jsonb -> 'export' ->> 'recipient' = 'education bureau'"),
        2
    );
    // What a function reads is seen when it runs.
    let mut teacher = school.session("teacher_wang");
    for (columns, passes) in [("id, phone", false), ("id, name", true)] {
        let form = form_with(serde_json::json!({ "columns": columns }));
        let op_no = request(
            &mut teacher,
            "CREATE TABLE app.kept AS SELECT app.more()",
            &format!(", expected_rows => 10, form => {form}"),
        );
        school.release(&op_no);
        match crate::school::execute(&mut teacher, &op_no) {
            Ok(_) => assert!(passes, "{columns}"),
            Err(error) => {
                let error = expect_refused::<()>(Err(error));
                assert!(
                    !passes && error.detail().is_some_and(|detail| detail.contains("app.student.name")),
                    "{error:?}"
                );
            }
        }
    }
}

fn an_operation_without_the_form_lifts_no_limit() {
    let school = limited();
    let mut teacher = school.session("teacher_wang");
    armed(&school, &mut teacher, EXPORT, "NULL");
    let refused = teacher.batch_execute(EXPORT);
    expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "limit of role teacher_wang", "");
}

fn a_refusal_is_on_record_and_tells_the_next_command() {
    let school = limited();
    let mut teacher = school.session("teacher_wang");
    let error = too_many(&mut teacher, "SELECT phone FROM app.student");
    assert_eq!(error.message(), "statement refused: it reads too many rows");
    assert!(
        error
            .hint()
            .unwrap_or("")
            .starts_with("SELECT steward.request($s$SELECT phone FROM app.student$s$, purpose => '…', form => "),
        "{error:?}"
    );
    let record =
        "operation_type = 'SELECT' AND result = 'DENIED' AND rule = 'export_limit' AND user_id = 'teacher_wang'
        AND table_name = 'app.student' AND sqlstate = '42501'";
    assert_eq!(school.records(record), 1);
    assert_eq!(school.records("operation_type = 'SELECT' AND result <> 'DENIED' AND user_id = 'teacher_wang' AND table_name = 'app.student'"), 0, "once");
}

fn limits_are_set_in_an_operation_only() {
    let school = limited();
    for call in [
        "SELECT steward.set_export_limit('teacher_wang', NULL, NULL, true)",
        "SELECT steward.drop_export_limit('teacher_wang')",
    ] {
        expect_refused(school.superuser().batch_execute(call));
        expect_error(school.session("teacher_wang").batch_execute(call), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    expect_refused(school.superuser().batch_execute("DELETE FROM steward.export_limit"));
    school.operate("postgres", "SELECT steward.drop_export_limit('teacher_wang')");
    passes(&mut school.session("teacher_wang"), "SELECT phone FROM app.student");
    for bad in ["'teacher_wang', 0, NULL", "NULL, 1, 1", "'-', 1, 1"] {
        let call = format!("SELECT steward.set_export_limit({bad})");
        let inactive = School::inactive();
        expect_error(inactive.superuser().batch_execute(&call), &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
}
