//! Images hold values of protected tables: who reads them copies data out, which is decided and on record like any export.

use crate::expect::expect_refused;
use crate::restore::{content, restored};
use crate::school::{School, execute, request};
use crate::way_around::attack::ROLES;

tests! {
    reading_images_is_an_export_on_record,
    an_open_session_knows_a_copy_at_once,
    reading_all_data_is_not_reading_images_alone,
    a_rule_may_close_images_and_a_restore_goes_on,
    no_value_of_an_image_is_in_the_statistics,
    an_export_reads_no_images_that_its_form_does_not_name,
}

/// A school with images of rows and a copy, whose name is returned.
fn with_images() -> (School, String, String) {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE TABLE app.paper (id int PRIMARY KEY, t text); ALTER TABLE app.paper ALTER t SET STORAGE EXTERNAL;
            INSERT INTO app.paper SELECT n, repeat('secret ' || n, 1000) FROM generate_series(1, 60) n;
            CREATE VIEW app.window AS SELECT * FROM steward.row_image;
            CREATE FUNCTION app.peek(query text) RETURNS text LANGUAGE plpgsql AS
                'DECLARE found text; BEGIN EXECUTE query INTO found; RETURN found; END';
            GRANT CREATE ON SCHEMA app TO teacher_wang;
            GRANT pg_read_all_data TO teacher_wang; GRANT SELECT ON app.window TO teacher_wang;
            SELECT steward.protect('app.paper'); SELECT steward.activate()",
        )
        .expect("set up");
    let op_no = school.operate("postgres", "UPDATE app.paper SET t = repeat('other ' || id, 1000); TRUNCATE app.paper");
    let copy = school.ask("SELECT copy FROM steward.table_image WHERE copy IS NOT NULL");
    (school, copy, op_no)
}

fn reading_images_is_an_export_on_record() {
    let (school, copy, _) = with_images();
    let toast = |table: &str| {
        school.ask::<String>(&format!(
            "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = '{table}'::regclass"
        ))
    };
    let (rows, long, copied) = ("steward.row_image", toast("steward.row_image"), toast(&copy));
    for (read, relation) in [
        (format!("SELECT * FROM {rows}"), rows),
        (format!("SELECT t FROM {copy} LIMIT 1"), &*copy),
        ("SELECT definition FROM steward.table_image".to_owned(), "steward.table_image"),
        (format!("SELECT chunk_data FROM {long}"), rows),
        (format!("SELECT chunk_data FROM {copied}"), &*copy),
        ("SELECT * FROM app.window".to_owned(), rows),
        (format!("COPY {rows} TO STDOUT"), rows),
        (format!("COPY (SELECT * FROM {copy}) TO STDOUT"), &*copy),
        (format!("CREATE TEMP TABLE mine AS SELECT * FROM {rows}"), rows),
        (format!("DO $$ BEGIN PERFORM * FROM {copy}; END $$"), &*copy),
        (format!("SELECT query_to_xml('TABLE {rows}', true, true, '')"), rows),
    ] {
        for who in ROLES {
            let matching = format!(
                "user_id = '{who}' AND table_name = '{relation}' AND tier = 'important' AND rule = 'export'
                AND result = 'SUCCESS'"
            );
            let before = school.records(&matching);
            let mut session = school.session(who);
            match read.starts_with("COPY") {
                true => {
                    let mut reader = session.copy_out(&read).unwrap_or_else(|error| panic!("{read}: {error:?}"));
                    std::io::copy(&mut reader, &mut std::io::sink()).expect("rows");
                }
                false => session.batch_execute(&read).unwrap_or_else(|error| panic!("{who}: {read}: {error:?}")),
            }
            assert_eq!(school.records(&matching), before + 1, "{who}: {read}");
        }
    }
}

fn an_open_session_knows_a_copy_at_once() {
    let school = School::inactive();
    let set_up = "CREATE TYPE app.pair AS (x int, y text); CREATE TABLE app.plain (id int, p app.pair);
        INSERT INTO app.plain SELECT n, ROW(n, 'secret')::app.pair FROM generate_series(1, 60) n;
        SELECT steward.protect('app.plain'); SELECT steward.activate()";
    school.superuser().batch_execute(set_up).expect("set up");
    let mut open = school.superuser();
    open.batch_execute("SELECT count(*) FROM app.plain").expect("the policy is read");
    let op_no = school.operate("postgres", "ALTER TYPE app.pair DROP ATTRIBUTE y");
    let copy: String = school.ask(&format!("SELECT copy FROM steward.table_image WHERE op_no = '{op_no}'"));
    open.batch_execute(&format!("SELECT * FROM {copy}")).expect("important work runs");
    assert_eq!(school.records(&format!("table_name = '{copy}' AND rule = 'export' AND result = 'SUCCESS'")), 1);
    let write = open.batch_execute(&format!("DELETE FROM {copy}"));
    assert_eq!(expect_refused(write).message(), "statement refused: audit records cannot be changed");
}

fn reading_all_data_is_not_reading_images_alone() {
    let (school, copy, _) = with_images();
    // A login whom nobody answers for.
    school.operate("postgres", "CREATE ROLE stray LOGIN; GRANT pg_read_all_data TO stray");
    for table in ["steward.row_image", "steward.table_image", &copy] {
        expect_refused(school.session("stray").batch_execute(&format!("SELECT * FROM {table}")));
        let denied = format!("user_id = 'stray' AND result = 'DENIED' AND table_name = '{table}'");
        assert_eq!(school.records(&denied), 1, "{table}");
    }
}

fn a_rule_may_close_images_and_a_restore_goes_on() {
    let (school, copy, op_no) = with_images();
    school.operate(
        "postgres",
        r"SELECT steward.set_rule('images', 'critical', commands => '{EXPORT}', relation_pattern => '^steward\.')",
    );
    for table in ["steward.row_image", &copy] {
        expect_refused(school.superuser().batch_execute(&format!("SELECT * FROM {table}")));
    }
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (120, 0));
    assert!(content(&school, "app.paper").contains("secret 1"));
}

/// What a function reads is seen when it runs; an approver has read the form.
fn an_export_reads_no_images_that_its_form_does_not_name() {
    let (school, copy, _) = with_images();
    let run = |who: &str, query: &str, columns: &str| {
        let form = format!(
            r#"{{"form": "export", "columns": "{columns}", "filter": "one", "rows": 1000, "recipient": "bureau", "reason": "report"}}"#
        );
        let script = format!("CREATE TABLE app.kept AS SELECT app.peek($q${query}$q$)");
        let mut applicant = school.session(who);
        let op_no = request(&mut applicant, &script, &format!(", expected_rows => 10, form => '{form}'"));
        school.release(&op_no);
        execute(&mut applicant, &op_no).map(drop)
    };
    let toast: String =
        school.ask("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'steward.row_image'::regclass");
    for (query, relation) in [
        ("SELECT new_values::text FROM steward.row_image LIMIT 1".to_owned(), "steward.row_image"),
        (format!("SELECT t FROM {copy} LIMIT 1"), &*copy),
        (format!("SELECT chunk_data::text FROM {toast} LIMIT 1"), "steward.row_image"),
        ("SELECT definition FROM steward.table_image LIMIT 1".to_owned(), "steward.table_image"),
    ] {
        for who in ROLES {
            let refused = expect_refused(run(who, &query, "id, t, paper.t, app.paper.id"));
            assert!(refused.detail().is_some_and(|detail| detail.contains("Not listed: steward.")), "{refused:?}");
            let denied = "result = 'DENIED' AND rule = 'export_limit' AND operation_type = 'SELECT'";
            let record = format!("user_id = '{who}' AND table_name = '{relation}' AND {denied}");
            assert!(school.records(&record) >= 1, "{who}: {query}");
            assert!(school.ask::<bool>("SELECT to_regclass('app.kept') IS NULL"), "{who}: {query}");
        }
    }
    let named = format!("id, {copy}.t");
    run("teacher_wang", &format!("SELECT t FROM {copy} LIMIT 1"), &named).expect("the form names it");
    assert!(school.ask::<String>("SELECT peek FROM app.kept").contains("other 1"));
}

fn no_value_of_an_image_is_in_the_statistics() {
    let (school, copy, _) = with_images();
    school.superuser().batch_execute(&format!("ANALYZE steward.row_image; ANALYZE {copy}")).expect("analyze");
    let leaks = format!(
        "SELECT count(*) FROM pg_stats WHERE schemaname = 'steward' AND (format('steward.%s', tablename) = '{copy}'
            OR tablename = 'row_image' AND attname IN ('old_values', 'new_values'))"
    );
    assert_eq!(school.ask::<i64>(&leaks), 0);
}
