//! What docs/masking.md says of PostgreSQL's own semantics, of servers without the library, and of plans (cases 24, 30, 34,
//! 35, 41, 42), and what others' techniques do with the same table.

use postgres::Client;
use postgres::error::SqlState;

use super::{desk, desk_with, shown, tells};
use crate::expect::db_error;

tests! {
    an_explained_query_shows_no_value,
    a_cursor_keeps_what_it_was_opened_with,
    without_the_library_a_masked_column_is_closed,
    no_catalog_holds_a_value_or_a_key,
    a_catalog_still_lists_masked_columns,
    the_plan_of_an_unmasked_role_is_the_same_without_the_extension,
    a_security_barrier_view_is_no_table_and_leaves_the_table_as_it_was,
    grants_of_columns_alone_stop_every_query_that_names_the_others,
}

/// As `steward.apply()` lays it.
const FLOOR: &str = "SELECT count(*) FROM steward.apply()";

/// Case 24. How many rows a condition removed is told, of masks.
fn an_explained_query_shows_no_value() {
    let school = desk_with("ANALYZE desk.student");
    let mut clerk = school.session("cs");
    for query in [
        "SELECT phone FROM desk.student WHERE phone LIKE '138%' ORDER BY phone",
        "SELECT s FROM desk.student s WHERE id_card > '11'",
        "SELECT max(phone), name FROM desk.student GROUP BY name",
    ] {
        for options in ["VERBOSE", "VERBOSE, FORMAT json"] {
            let plan = shown(&mut clerk, &format!("EXPLAIN ({options}) {query}"));
            assert!(plan.contains("_mask") && !tells(&plan), "{plan}");
        }
        let error = db_error(clerk.simple_query(&format!("EXPLAIN (ANALYZE, VERBOSE) {query}")));
        assert_eq!(error.message(), "statement refused: EXPLAIN ANALYZE counts rows behind masks");
    }
}

/// Case 30: PostgreSQL decides a portal when it is opened, by whoever opens it.
fn a_cursor_keeps_what_it_was_opened_with() {
    let school = desk();
    let mut session = school.superuser();
    let open = |role: &str| {
        format!("BEGIN; SET LOCAL ROLE {role}; DECLARE c CURSOR FOR SELECT phone FROM desk.student WHERE id = 7")
    };
    session.batch_execute(&open("app_owner")).expect("open");
    assert_eq!(shown(&mut session, "SET LOCAL ROLE cs; FETCH c"), "13800000007");
    session.batch_execute("ROLLBACK").expect("end");
    session.batch_execute(&open("cs")).expect("open");
    assert_eq!(shown(&mut session, "SET LOCAL ROLE app_owner; FETCH c"), "138****0007");
}

/// Case 34: a server that was started without the library, or a table that was restored into another.
fn without_the_library_a_masked_column_is_closed() {
    let mut school = desk_with(FLOOR);
    school.configure(&["shared_preload_libraries = ''"]);
    school.restart();
    let mut clerk = school.session("cs");
    for query in [
        "SELECT phone FROM desk.student WHERE id = 7",
        "SELECT s FROM desk.student s WHERE id = 7",
        "SELECT count(*) FROM desk.student WHERE phone LIKE '138%'",
        "UPDATE desk.student SET note = phone WHERE id = 7",
        "COPY desk.student TO STDOUT",
    ] {
        let error = db_error(clerk.simple_query(query));
        assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{query}: {error:?}");
    }
    assert_eq!(shown(&mut clerk, "SELECT id, score FROM desk.student WHERE id = 7"), "7|7");
    assert_eq!(shown(&mut school.session("teacher"), "SELECT phone FROM desk.student WHERE id = 7"), "13800000007");
}

/// Case 35: labels, settings and function bodies are read by everybody, and tell classes alone.
fn no_catalog_holds_a_value_or_a_key() {
    let school = desk();
    let mut clerk = school.session("cs");
    let settings = shown(&mut clerk, "SELECT name, setting FROM pg_settings WHERE name LIKE 'steward.%' ORDER BY 1");
    assert!(!settings.contains("key_file|/"), "{settings}");
    for query in [
        "SELECT setconfig FROM pg_db_role_setting",
        "SELECT rolconfig FROM pg_roles",
        "SELECT label FROM pg_seclabels WHERE provider = 'pg_steward'",
        "SELECT prosrc, probin FROM pg_proc WHERE pronamespace = 'steward'::regnamespace",
    ] {
        let text = shown(&mut clerk, query);
        let long = text.split(|other: char| !other.is_ascii_hexdigit()).any(|word| word.len() >= 32);
        assert!(!long && !tells(&text), "{query}: {text}");
    }
}

/// Case 41: what tools and ORMs read columns from; the standard's own view shows those with a privilege of the role.
fn a_catalog_still_lists_masked_columns() {
    let school = desk_with(FLOOR);
    let mut clerk = school.session("cs");
    let all = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'desk.student'::regclass AND attnum > 0";
    assert_eq!(shown(&mut clerk, all), "id,school_id,name,id_card,phone,score,note");
    let standard = "SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'student'";
    let listed = shown(&mut clerk, standard);
    assert!(listed.starts_with("id,school_id") && listed.ends_with("score,note"), "{listed}");
}

/// Plans of queries that touch masked columns in every way, as a role without a mask sees them.
fn plans(session: &mut Client) -> String {
    session.batch_execute("SET enable_seqscan = off").expect("setting");
    [
        "SELECT * FROM desk.student WHERE phone = '13800000007'",
        "SELECT s, phone FROM desk.student s ORDER BY phone",
        "SELECT a.phone, count(*) FROM desk.student a JOIN desk.student b USING (id_card) GROUP BY a.phone",
        "UPDATE desk.student SET note = phone WHERE id_card LIKE '11%' RETURNING *",
        "DELETE FROM desk.student WHERE id = 7 RETURNING phone",
        "SELECT phone FROM desk.student WHERE id = 7 FOR UPDATE",
    ]
    .iter()
    .map(|query| shown(session, &format!("EXPLAIN (VERBOSE) {query}")) + "\n")
    .collect()
}

/// Case 42.
fn the_plan_of_an_unmasked_role_is_the_same_without_the_extension() {
    let mut school = desk_with("ANALYZE desk.student");
    let with = plans(&mut school.session("teacher"));
    school.configure(&["shared_preload_libraries = ''"]);
    school.restart();
    assert_eq!(plans(&mut school.session("teacher")), with);
}

/// What a view with masks costs those who see clear, and what it does not close.
fn a_security_barrier_view_is_no_table_and_leaves_the_table_as_it_was() {
    let school = desk_with(
        "CREATE VIEW desk.barrier WITH (security_barrier) AS SELECT id, score, overlay(phone PLACING '****' FROM 4 FOR 4) AS phone, note FROM desk.student;
         GRANT ALL ON desk.barrier TO teacher",
    );
    // For whom the view is the only mask.
    let mut reader = school.session("teacher");
    for (statement, theirs) in [
        ("COPY desk.barrier TO STDOUT", "cannot copy from view"),
        ("UPDATE desk.barrier SET phone = '13900000007' WHERE id = 7", "cannot update column"),
        ("SELECT ctid FROM desk.barrier", "does not exist"),
        ("INSERT INTO desk.barrier (id, phone) VALUES (300, '13800000300')", "cannot insert into column"),
    ] {
        let error = db_error(reader.simple_query(statement));
        assert!(error.message().contains(theirs), "{statement}: {error:?}");
    }
    // A mask is stored as a value: the view says nothing against it.
    shown(&mut reader, "UPDATE desk.barrier SET note = phone WHERE id = 7");
    assert_eq!(shown(&mut school.superuser(), "SELECT note FROM desk.student WHERE id = 7"), "138****0007");
    // The same on the table, for whom a rule masks.
    let mut clerk = school.session("cs");
    shown(&mut clerk, "UPDATE desk.student SET phone = '13900000007' WHERE id = 7");
    assert_eq!(shown(&mut clerk, "SELECT ctid IS NOT NULL, phone FROM desk.student WHERE id = 7"), "t|139****0007");
    super::refused(&mut clerk, "UPDATE desk.student SET note = phone WHERE id = 7", "would store a mask");
}

/// The floor by itself is tight, and no product: with masks on top of it the same queries go on.
fn grants_of_columns_alone_stop_every_query_that_names_the_others() {
    let columns = |role: &str| {
        format!(
            "REVOKE SELECT ON desk.student FROM {role}; GRANT SELECT (id, school_id, score, note) ON desk.student TO {role};"
        )
    };
    let school = desk_with(&(columns("teacher") + &columns("cs")));
    for query in [
        "SELECT * FROM desk.student WHERE id = 7",
        "SELECT phone FROM desk.student WHERE id = 7",
        "UPDATE desk.student SET note = 'x' WHERE id = 7 RETURNING *",
        "SELECT s FROM desk.student s WHERE id = 7",
    ] {
        let error = db_error(school.session("teacher").simple_query(query));
        assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{query}");
        assert!(shown(&mut school.session("cs"), query).contains("138****0007"), "{query}");
    }
}
