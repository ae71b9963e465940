//! Cursors and portals: what is opened, held, left suspended and never finished.

use super::attack::{Allowed, BULK_UPDATE, ROLES, Refused, Swallowed, attack};
use super::wire::{Wire, error};
use crate::fault::wait_for;
use crate::school::{HOME, School};

tests! {
    rows_fetched_from_a_cursor,
    a_cursor_held_beyond_its_transaction,
    sixty_rows_by_where_current_of,
    a_returning_portal_that_stays_suspended,
    a_reading_portal_that_stays_suspended,
    a_cursor_in_a_procedural_language,
    a_cursor_for_a_function_that_writes,
    a_held_cursor_that_writes_at_commit,
}

fn rows_fetched_from_a_cursor() {
    let school = School::active();
    let fetch = "BEGIN; DECLARE c CURSOR FOR SELECT phone FROM app.student; FETCH 5 FROM c; FETCH ALL FROM c; COMMIT";
    attack(&school, fetch, Allowed, ["SELECT", "app.student", "normal", "read"]);
}

fn a_cursor_held_beyond_its_transaction() {
    let school = School::active();
    let hold = "DECLARE h CURSOR WITH HOLD FOR SELECT phone FROM app.student; FETCH ALL FROM h; CLOSE h";
    attack(&school, hold, Allowed, ["SELECT", "app.student", "normal", "read"]);
    // What a rolled back block had read stays read.
    let back = "BEGIN; DECLARE c CURSOR FOR SELECT phone FROM app.student; FETCH ALL FROM c; ROLLBACK";
    for who in ROLES {
        school.session(who).batch_execute(back).expect("rolled back");
        let read = format!(
            "user_id = '{who}' AND operation_type = 'SELECT' AND table_name = 'app.student'
            AND statement LIKE '%DECLARE c%'"
        );
        assert_eq!(school.records(&read), 1, "{who}");
    }
}

fn sixty_rows_by_where_current_of() {
    let school = School::active();
    let current = "DO $$ DECLARE c CURSOR FOR SELECT id FROM app.student WHERE id <= 60 FOR UPDATE; BEGIN
        FOR r IN c LOOP UPDATE app.student SET note = 'x' WHERE CURRENT OF c; END LOOP; END $$";
    attack(&school, current, Refused, BULK_UPDATE);
}

/// Parse, Bind and Execute of a statement with a limit on its rows, then Sync.
fn suspended(wire: &mut Wire, statement: &str, rows: i32) -> Option<String> {
    wire.query("BEGIN").expect("begin");
    wire.send(b'P', &[&b"\0"[..], statement.as_bytes(), b"\0\0\0"].concat());
    wire.send(b'B', b"portal\0\0\0\0\0\0\0\0");
    wire.send(b'E', &[&b"portal\0"[..], &rows.to_be_bytes()[..]].concat());
    wire.send(b'S', b"");
    error(&wire.until_ready())
}

fn a_returning_portal_that_stays_suspended() {
    let school = School::active();
    let update = "UPDATE app.student SET note = 'x' WHERE id <= 60 RETURNING id";
    for who in ROLES {
        let mut wire = Wire::connect(&school, who, HOME, &[]).expect("connection");
        let refused = suspended(&mut wire, update, 1).expect("refused");
        assert!(refused.contains("refused"), "{refused}");
        wire.query("COMMIT").expect("an aborted block ends");
        assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
        let denied = format!(
            "user_id = '{who}' AND result = 'DENIED' AND rule = 'bulk_write' AND operation_type = 'UPDATE'
            AND table_name = 'app.student'"
        );
        assert_eq!(school.records(&denied), 1, "{who}");
    }
}

fn a_reading_portal_that_stays_suspended() {
    let school = School::active();
    for who in ROLES {
        let mut wire = Wire::connect(&school, who, HOME, &[]).expect("connection");
        assert_eq!(suspended(&mut wire, "SELECT phone AS seen FROM app.student", 3), None);
        // The client leaves without a word.
        drop(wire);
        let gone = format!(
            "SELECT count(*) = 0 FROM pg_stat_activity
             WHERE usename = '{who}' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        );
        wait_for(&school, "the session to end", || school.ask::<bool>(&gone).then_some(()));
        let read = format!("user_id = '{who}' AND statement LIKE '%seen%' AND table_name = 'app.student'");
        assert_eq!(school.records(&read), 1, "{who}");
    }
}

fn a_cursor_in_a_procedural_language() {
    let school = School::active();
    let caught = "DO $$ DECLARE c refcursor; BEGIN
        OPEN c FOR EXECUTE 'WITH x AS (UPDATE app.student SET note = ''x'' WHERE id <= 60 RETURNING id) SELECT * FROM x';
        FETCH c INTO c; EXCEPTION WHEN OTHERS THEN NULL; END $$";
    attack(&school, caught, Swallowed, BULK_UPDATE);
    let loops = "DO $$ DECLARE r record; BEGIN
        FOR r IN UPDATE app.student SET note = 'x' WHERE id <= 60 RETURNING id LOOP NULL; END LOOP;
        EXCEPTION WHEN OTHERS THEN NULL; END $$";
    attack(&school, loops, Swallowed, BULK_UPDATE);
}

/// A school with a function that changes one row, made before the policy was active.
fn school_with_one() -> School {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE FUNCTION app.one(int) RETURNS int LANGUAGE sql VOLATILE AS
                'UPDATE app.student SET note = ''x'' WHERE id = $1 RETURNING id';
             SELECT steward.activate()",
        )
        .expect("set-up");
    school
}

fn a_cursor_for_a_function_that_writes() {
    let school = school_with_one();
    let fetch = "BEGIN; DECLARE c CURSOR FOR SELECT app.one(n) FROM generate_series(1, 60) n; FETCH ALL FROM c; COMMIT";
    attack(&school, fetch, Refused, BULK_UPDATE);
    attack(&school, "SELECT app.one(1)", Allowed, ["UPDATE", "app.student", "normal", "write"]);
}

/// Its rows are made while the transaction commits.
fn a_held_cursor_that_writes_at_commit() {
    let school = school_with_one();
    let hold = "BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT app.one(n) FROM generate_series(1, 60) n; COMMIT";
    attack(&school, hold, Refused, BULK_UPDATE);
}
