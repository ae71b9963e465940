//! Constraints compare values, whoever makes them, and nobody who has masks is told which values did not fit (cases 10, 27).

use super::{desk_with, shown, tells};
use crate::expect::db_error;
use crate::school::School;
use postgres::error::DbError;

tests! {
    a_new_foreign_key_compares_values,
    the_query_of_a_foreign_key_is_nobody_else_s,
    the_look_up_of_a_key_is_nobody_else_s,
    a_constraint_that_is_deferred,
}

/// The owner is masked on everything, the table of calls is labelled as well.
const CALLS: &str = "SELECT steward.set_mask('app_owner', '*'); SET ROLE app_owner;
    CREATE TABLE desk.call (phone text, CONSTRAINT call_phone CHECK (phone <> ''));
    INSERT INTO desk.call VALUES ('13800000007'); RESET ROLE;
    SECURITY LABEL FOR pg_steward ON COLUMN desk.call.phone IS 'phone'";

fn a_new_foreign_key_compares_values() {
    let school = desk_with(CALLS);
    let mut owner = school.session("app_owner");
    let add = "ALTER TABLE desk.call ADD CONSTRAINT known FOREIGN KEY (phone) REFERENCES desk.student (phone)";
    shown(&mut owner, &format!("{add}; ALTER TABLE desk.call DROP CONSTRAINT known"));
    // Its mask is that of a number which is there.
    shown(&mut school.session("postgres"), "INSERT INTO desk.call VALUES ('13899990008')");
    let error = db_error(owner.simple_query(add));
    assert_eq!(error.code(), &postgres::error::SqlState::FOREIGN_KEY_VIOLATION, "{error:?}");
    assert!(!format!("{error:?}").contains("9999"), "{error:?}");
    shown(&mut owner, &format!("{add} NOT VALID"));
    let error = db_error(owner.simple_query("ALTER TABLE desk.call VALIDATE CONSTRAINT known"));
    assert!(!format!("{error:?}").contains("9999"), "{error:?}");
    shown(&mut school.session("postgres"), "DELETE FROM desk.call WHERE phone LIKE '%9999%'");
    shown(&mut owner, "ALTER TABLE desk.call VALIDATE CONSTRAINT known");
    assert_eq!(shown(&mut owner, "SELECT phone FROM desk.call"), "138****0007");
}

/// Its text alone shows masks; and inside ALTER TABLE it asks about no table that is not one's own.
fn the_query_of_a_foreign_key_is_nobody_else_s() {
    let school = desk_with(CALLS);
    let text = |table: &str, other: &str| {
        format!(
            "SELECT fk.\"phone\" FROM ONLY \"desk\".\"{table}\" fk LEFT OUTER JOIN ONLY \"desk\".\"{other}\" pk ON \
             ( pk.\"phone\" OPERATOR(pg_catalog.=) fk.\"phone\") WHERE pk.\"phone\" IS NULL AND (fk.\"phone\" IS NOT NULL)"
        )
    };
    let mut owner = school.session("app_owner");
    let rows = shown(&mut owner, &text("student", "call"));
    assert!(rows.contains("138****0008") && !tells(&rows), "{rows}");
    // A view of one's own is no table that refers.
    owner.batch_execute("CREATE VIEW desk.seen AS SELECT * FROM desk.student").expect("view");
    let mut clerk = school.session("cs");
    clerk
        .batch_execute(
            "CREATE TABLE desk.mine (phone text, kind text); INSERT INTO desk.mine VALUES ('13800000007'), ('13800000700');
             CREATE FUNCTION desk.look(text) RETURNS int LANGUAGE plpgsql AS $f$ DECLARE found text; BEGIN
                EXECUTE 'SELECT string_agg(phone, '','') FROM (' || $1 || ') x' INTO found; RAISE EXCEPTION 'found %', found; END $f$;
             CREATE FUNCTION desk.look_as(text) RETURNS int LANGUAGE plpgsql AS $f$ DECLARE found text; BEGIN
                EXECUTE $1 INTO found; RAISE EXCEPTION 'found %', found; END $f$;
             GRANT EXECUTE ON FUNCTION desk.look(text), desk.look_as(text) TO PUBLIC",
        )
        .expect("functions");
    for (table, other) in [("student", "mine"), ("mine", "student")] {
        for function in ["look", "look_as"] {
            let query = text(table, other);
            let using = format!("ALTER TABLE desk.mine ALTER COLUMN kind TYPE int USING desk.{function}('{query}')");
            let error = format!("{:?}", db_error(clerk.simple_query(&using)));
            // By masks no number is found; by values one of the clerk's would be.
            assert!(
                !error.contains("13800000008") && (table == "student" || error.contains("found 13800000007")),
                "{error}"
            );
        }
    }
    let seen = text("seen", "call");
    owner.batch_execute("CREATE TABLE desk.kind (kind text); INSERT INTO desk.kind VALUES ('')").expect("table");
    let using = format!("ALTER TABLE desk.kind ALTER COLUMN kind TYPE int USING desk.look_as('{seen}')");
    let error = format!("{:?}", db_error(owner.simple_query(&using)));
    assert!(error.contains("found 138****") && !tells(&error), "{error}");
    // Nor are the rows of one's own table handed out, which the server throws away.
    let own = text("student", "call");
    let using = format!("ALTER TABLE desk.kind ALTER COLUMN kind TYPE int USING desk.look_as('{own}')");
    let error = format!("{:?}", db_error(owner.simple_query(&using)));
    assert!(error.contains("found 138****") && !tells(&error), "{error}");
    // Row security that one has put before it asks for its table's owner, here too.
    clerk
        .batch_execute(
            "ALTER TABLE desk.mine ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY p ON desk.mine USING (EXISTS (SELECT FROM desk.student s WHERE s.phone = mine.phone));
             CREATE TABLE desk.two (phone text); CREATE TABLE desk.one (kind text); INSERT INTO desk.one VALUES ('')",
        )
        .expect("policy");
    let query = text("mine", "two");
    let using = format!("ALTER TABLE desk.one ALTER COLUMN kind TYPE int USING desk.look_as('{query}')");
    let error = db_error(clerk.simple_query(&using));
    assert_eq!(error.message(), "found <NULL>");
}

/// The server looks keys up as the table's owner; a trigger under somebody's own foreign key does not, nor the owner's.
fn the_look_up_of_a_key_is_nobody_else_s() {
    let error = guess_in_a_trigger(&desk_with(""), "cs");
    assert_eq!(error.message(), "told 01", "the value is not found, its mask is");
    let error = guess_in_a_trigger(&desk_with("SELECT steward.set_mask('app_owner', '*')"), "app_owner");
    assert_eq!(error.message(), "statement refused: its plan was not made for the masks of this role");
}

/// Asks in the words of the server whether a value is there, and what the answer was.
fn guess_in_a_trigger(school: &School, login: &str) -> DbError {
    let mut session = school.session(login);
    session
        .batch_execute(
            r#"CREATE TABLE desk.p (i int PRIMARY KEY); CREATE TABLE desk.c (i int REFERENCES desk.p ON DELETE CASCADE);
            CREATE FUNCTION desk.guess() RETURNS trigger LANGUAGE plpgsql AS $f$ DECLARE hit int; told text = ''; guess text; BEGIN
                FOREACH guess IN ARRAY ARRAY['13800000007', '138****0007'] LOOP
                    EXECUTE 'SELECT 1 FROM ONLY "desk"."student" x WHERE "phone" OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF x'
                        INTO hit USING guess;
                    told = told || coalesce(hit, 0)::text;
                END LOOP;
                RAISE EXCEPTION 'told %', told; END $f$;
            CREATE TRIGGER guess BEFORE DELETE ON desk.c FOR EACH ROW EXECUTE FUNCTION desk.guess();
            INSERT INTO desk.p VALUES (1); INSERT INTO desk.c VALUES (1)"#,
        )
        .expect("trigger");
    db_error(session.simple_query("DELETE FROM desk.p"))
}

fn a_constraint_that_is_deferred() {
    let school = desk_with(
        "SELECT steward.set_mask('app_owner', '*'); SET ROLE app_owner;
         CREATE TABLE desk.call (phone text REFERENCES desk.student (phone) ON UPDATE NO ACTION DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO desk.call VALUES ('13800000007');
         ALTER TABLE desk.student ADD CONSTRAINT late UNIQUE (school_id, note, name) DEFERRABLE INITIALLY DEFERRED,
            ADD CONSTRAINT lone EXCLUDE USING btree (score WITH =, name WITH =) DEFERRABLE INITIALLY DEFERRED;
         UPDATE desk.student SET name = 'student 7' WHERE id = 8; RESET ROLE;
         CREATE TABLE desk.branch (id int PRIMARY KEY); INSERT INTO desk.branch VALUES (1), (2), (3), (4);
         ALTER TABLE desk.student ADD FOREIGN KEY (school_id) REFERENCES desk.branch ON DELETE CASCADE;
         GRANT ALL ON desk.branch TO app_owner",
    );
    let keys = [
        "DELETE FROM desk.student WHERE id = 7",
        "UPDATE desk.student SET school_id = 4 WHERE id = 8",
        "UPDATE desk.student SET score = 7 WHERE id = 8",
        "DELETE FROM desk.branch WHERE id = 4",
    ];
    for key in keys {
        for commit in ["{}", "BEGIN; {}; COMMIT", "BEGIN; {}; SET CONSTRAINTS ALL IMMEDIATE"] {
            let mut owner = school.session("app_owner");
            let error = db_error(owner.simple_query(&commit.replace("{}", key)));
            assert_eq!(&error.code().code()[..2], "23", "{error:?}");
            assert!(!tells(&format!("{error:?}")), "{key}: {commit}: {error:?}");
            assert_eq!(error.detail(), Some("Values are masked for this role."), "{key}: {commit}");
        }
        let mut owner = school.session("app_owner");
        let error = db_error(owner.execute(key, &[]));
        assert!(!tells(&format!("{error:?}")), "{key}: {error:?}");
        let caught = format!(
            "DO $$ DECLARE d text; BEGIN {key}; SET CONSTRAINTS ALL IMMEDIATE; EXCEPTION WHEN integrity_constraint_violation THEN
                GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL; RAISE division_by_zero USING MESSAGE = 'told ' || d; END $$"
        );
        let error = db_error(owner.simple_query(&caught));
        assert!(error.message().starts_with("told Values are masked"), "{key}: {error:?}");
    }
    let log = std::fs::read_to_string(school.log()).expect("log");
    assert!(!log.contains("(13800000007)"), "the log tells keys");
    // Who sees clear is told, and so is who comes after somebody that does not.
    let error = db_error(school.superuser().simple_query(keys[0]));
    assert!(error.detail().unwrap_or("").contains("13800000007"), "{error:?}");
}
