//! Pre-images of operations, and `steward.restore`: what comes back, and what a colleague changed since stays.

use postgres::error::SqlState;

use crate::expect::{db_error, expect_message};
use crate::school::{self, School, ask};

tests! {
    ten_thousand_rows_come_back_and_a_later_change_stays,
    only_the_changed_columns_are_written_back,
    inserts_deletes_and_several_changes_of_a_row_are_undone_in_reverse,
    deleted_parents_come_back_before_their_children,
    rows_without_a_key_come_back,
    values_of_odd_types_come_back_exactly,
    an_emptied_table_is_filled_again,
    numbers_given_since_are_not_given_again,
    a_dropped_table_comes_back_as_it_was,
    tables_that_refer_to_each_other_come_back_together,
    a_restore_that_would_break_a_foreign_key_is_undone,
    a_dropped_partition_comes_back_to_its_place,
    a_table_whose_name_is_taken_is_skipped,
    an_altered_table_is_not_restored_by_itself,
    a_restore_is_critical_and_can_be_restored,
    a_restore_happens_once,
    an_operation_without_a_pre_image_cannot_be_restored,
    tampered_images_are_not_restored,
    no_trigger_no_execution,
    no_trigger_no_copy_from_a_file,
    no_copy_no_execution,
    the_record_of_a_run_names_its_images,
    code_of_the_owner_gains_nothing_by_a_restore,
}

pub fn restored(school: &School, op_no: &str) -> (String, i64, i64) {
    // Policies that come back are privileges, which take two approvals.
    let script = format!("SELECT * FROM steward.restore('{op_no}')");
    let by = school::request(&mut school.superuser(), &script, ", approvals => 2");
    school.release(&by);
    school::execute(&mut school.superuser(), &by).unwrap_or_else(|error| panic!("{script}: {error:?}"));
    let row = school
        .superuser()
        .query_one(
            "SELECT restored, skipped FROM steward.pre_image WHERE op_no = $1 ORDER BY run DESC LIMIT 1",
            &[&op_no],
        )
        .expect("pre-image");
    let counts: (i64, i64) = (row.get(0), row.get(1));
    let told = format!(
        "op_no = '{by}' AND operation_type = 'restore' AND (details::json ->> 'restored')::int8 = {} AND (details::json ->> 'skipped')::int8 = {}",
        counts.0, counts.1
    );
    assert_eq!(school.records(&told), 1, "both counts are on record");
    (by, counts.0, counts.1)
}

/// The whole content of a table, as one text.
pub fn content(school: &School, table: &str) -> String {
    school.ask(&format!("SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM {table} t"))
}

fn ten_thousand_rows_come_back_and_a_later_change_stays() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "INSERT INTO app.card_transaction SELECT n, '2026-10-05', n FROM generate_series(1001, 11000) n;
            SELECT steward.activate()",
        )
        .expect("rows");
    let before = content(&school, "app.card_transaction");
    let op_no = school.operate("region_chen", "UPDATE app.card_transaction SET amount = amount + 1 WHERE id > 1000");
    let colleague = "UPDATE app.card_transaction SET amount = 7 WHERE id IN (1500, 1501)";
    school.session("teacher_wang").batch_execute(colleague).expect("colleague");
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (9998, 2));
    let others = "app.card_transaction WHERE id NOT IN (1500, 1501)";
    assert_eq!(school.ask::<i64>(&format!("SELECT count(*) FROM {others} AND amount <> id")), 0);
    assert_eq!(
        school.ask::<i64>("SELECT count(*) FROM app.card_transaction WHERE amount = 7 AND id IN (1500, 1501)"),
        2
    );
    assert_ne!(content(&school, "app.card_transaction"), before);
}

fn only_the_changed_columns_are_written_back() {
    let school = School::active();
    let op_no = school.operate("region_chen", "UPDATE app.student SET note = 'moved', name = 'N' || id WHERE id <= 60");
    // Another column of row 1, one of the two of row 2.
    school
        .session("teacher_wang")
        .batch_execute(
            "UPDATE app.student SET phone = '13911111111' WHERE id = 1; UPDATE app.student SET name = 'mine' WHERE id = 2",
        )
        .expect("colleague");
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (59, 1));
    let now = |id: i32| {
        school.ask::<String>(&format!("SELECT format('%s|%s|%s', name, phone, note) FROM app.student WHERE id = {id}"))
    };
    assert_eq!(now(1), "student 1|13911111111|", "the colleague's column stays, ours are back");
    assert_eq!(now(2), "mine|13800000002|", "each column by itself");
}

fn inserts_deletes_and_several_changes_of_a_row_are_undone_in_reverse() {
    let school = School::active();
    let before = content(&school, "app.student");
    let script = "INSERT INTO app.student SELECT n, 1, 'n', 'X' || n, '13900000000' FROM generate_series(500, 560) n;
        UPDATE app.student SET note = 'a' WHERE id <= 3; UPDATE app.student SET note = 'b' WHERE id <= 3;
        UPDATE app.student SET id = id + 10000 WHERE id = 170; DELETE FROM app.student WHERE id IN (171, 550);
        INSERT INTO app.student VALUES (171, 2, 'other', 'Y171', '13900000000')";
    let op_no = school.operate("region_chen", script);
    assert_ne!(content(&school, "app.student"), before);
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!(content(&school, "app.student"), before);
    assert_eq!((back, kept), (61 + 3 + 3 + 1 + 2 + 1, 0));
}

fn deleted_parents_come_back_before_their_children() {
    let school = School::active();
    let before = content(&school, "app.guardian");
    let op_no = school.operate("region_chen", "DELETE FROM app.student WHERE id BETWEEN 100 AND 200");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian"), 39);
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (101 + 121, 0));
    assert_eq!(content(&school, "app.guardian"), before);
}

fn rows_without_a_key_come_back() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE TABLE app.keyless (a int, b text, c json); SELECT steward.protect('app.keyless');
            INSERT INTO app.keyless SELECT n % 3, CASE WHEN n % 2 = 0 THEN 'x' END, '{\"k\": 1}' FROM generate_series(1, 60) n;
            SELECT steward.activate()",
        )
        .expect("set up");
    let before = content(&school, "app.keyless");
    let op_no = school.operate("postgres", "UPDATE app.keyless SET a = a + 10; DELETE FROM app.keyless WHERE b = 'x'");
    assert_eq!(restored(&school, &op_no).1, 90);
    assert_eq!(content(&school, "app.keyless"), before);
}

fn values_of_odd_types_come_back_exactly() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE TYPE app.mood AS ENUM ('glad', 'sad'); CREATE DOMAIN app.mark AS numeric(6, 3) CHECK (VALUE >= 0);
            CREATE TYPE app.pair AS (x int, y text);
            CREATE TABLE app.odd (id int GENERATED ALWAYS AS IDENTITY, k app.mark, t timestamptz, f float8, b bytea, m app.mood,
                j json, jb jsonb, a text[], c char(5), v varchar(3), p point, pr app.pair, g text GENERATED ALWAYS AS (v || '!') STORED,
                n name, s \"char\", bit bit(3), PRIMARY KEY (id, k, m));
            SELECT steward.protect('app.odd');
            INSERT INTO app.odd (k, t, f, b, m, j, jb, a, c, v, p, pr, n, s, bit)
                SELECT n + 0.125, '2026-11-22 01:02:03.000004+08', 0.1::float8 * n, '\\x00ff41', 'sad', '{ \"k\" : 1, \"k\": 2 }',
                    '{\"z\": [1, null]}', ARRAY['a,b', NULL, ''], 'ab', 'x y', '(1,2)', ROW(n, 'q,\"')::app.pair, 'nm', 'c', B'101'
                FROM generate_series(1, 55) n;
            SELECT steward.activate()",
        )
        .expect("set up");
    let before = content(&school, "app.odd");
    let change = "UPDATE app.odd SET t = NULL, f = 'NaN', b = '', m = 'glad', j = '1', jb = '2', a = '{}', c = '', v = '', p = '(9,9)',
        pr = NULL, n = 'other', s = 'd', bit = B'000', k = k + 100";
    let op_no = school.operate("postgres", &format!("{change}; DELETE FROM app.odd WHERE id > 50"));
    assert_ne!(content(&school, "app.odd"), before);
    assert_eq!(restored(&school, &op_no).1, 60);
    assert_eq!(content(&school, "app.odd"), before);
}

fn an_emptied_table_is_filled_again() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "INSERT INTO app.entry (client) SELECT n FROM generate_series(1, 60) n; SELECT steward.activate()",
        )
        .expect("rows");
    let op_no = school.operate("postgres", "TRUNCATE app.entry RESTART IDENTITY");
    school
        .session("teacher_wang")
        .batch_execute("INSERT INTO app.entry (client) VALUES (-1), (-2)")
        .expect("colleague");
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (58, 2), "the colleague's rows took two numbers");
    let next = "INSERT INTO app.entry (client) VALUES (-3) RETURNING id";
    assert_eq!(ask::<i64>(&mut school.session("teacher_wang"), next), 61, "the numbers go on behind what came back");
}

fn numbers_given_since_are_not_given_again() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "INSERT INTO app.entry (client) SELECT n FROM generate_series(1, 60) n; SELECT steward.activate()",
        )
        .expect("rows");
    let op_no = school.operate("postgres", "TRUNCATE app.entry");
    school
        .session("teacher_wang")
        .batch_execute("INSERT INTO app.entry (client) VALUES (-1), (-2)")
        .expect("colleague");
    assert_eq!(restored(&school, &op_no).1, 60);
    let next = "INSERT INTO app.entry (client) VALUES (-3) RETURNING id";
    assert_eq!(ask::<i64>(&mut school.session("teacher_wang"), next), 63, "61 and 62 are the colleague's");
}

/// Everything that pg_dump says of a table.
fn described(school: &School, table: &str) -> String {
    let mut dump = school.client_program("pg_dump");
    dump.args(["--schema-only", "--table", table, "school"]);
    // Each dump begins and ends with a random word of its own.
    crate::cluster::succeed(dump)
        .lines()
        .filter(|line| !line.contains("restrict"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn a_dropped_table_comes_back_as_it_was() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE SEQUENCE app.counter;
            CREATE TABLE app.rich (id serial PRIMARY KEY, n int GENERATED BY DEFAULT AS IDENTITY (START 5), gone int,
                code text NOT NULL DEFAULT 'c' COLLATE \"C\", d int DEFAULT nextval('app.counter'), s text UNIQUE,
                twice int GENERATED ALWAYS AS (d * 2) STORED, student int REFERENCES app.student ON DELETE SET NULL,
                CHECK (d > 0)) WITH (fillfactor = 70);
            ALTER TABLE app.rich DROP COLUMN gone;
            CREATE INDEX rich_code ON app.rich (lower(code)) WHERE d > 1;
            CREATE FUNCTION app.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            CREATE TRIGGER nothing BEFORE UPDATE ON app.rich FOR EACH ROW EXECUTE FUNCTION app.nothing();
            ALTER TABLE app.rich ENABLE ALWAYS TRIGGER nothing;
            ALTER TABLE app.rich ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own ON app.rich FOR SELECT TO teacher_wang, PUBLIC USING (student = 1);
            CREATE POLICY more ON app.rich AS RESTRICTIVE FOR INSERT WITH CHECK (d > 0);
            COMMENT ON TABLE app.rich IS 'It''s rich'; COMMENT ON COLUMN app.rich.s IS 'some';
            ALTER TABLE app.rich OWNER TO region_chen; GRANT SELECT, UPDATE (s) ON app.rich TO teacher_wang;
            GRANT DELETE ON app.rich TO reviewer_sun WITH GRANT OPTION;
            SECURITY LABEL FOR pg_steward ON COLUMN app.rich.s IS 'id_card';
            CREATE TABLE app.child (rich int REFERENCES app.rich);
            INSERT INTO app.rich (code, s, student) SELECT 'k' || n, 's' || n, n FROM generate_series(1, 60) n;
            INSERT INTO app.child VALUES (1), (2);
            SELECT steward.protect('app.rich'); SELECT steward.activate()",
        )
        .expect("set up");
    let (before, described_before) = (content(&school, "app.rich"), described(&school, "app.rich"));
    let op_no = school.operate("postgres", "UPDATE app.rich SET code = 'late'; DROP TABLE app.rich CASCADE");
    assert_eq!(school.ask::<Option<String>>("SELECT to_regclass('app.rich')::text"), None);
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (120, 0), "sixty rows came with the table, and sixty changes before that were undone");
    assert_eq!(content(&school, "app.rich"), before);
    assert_eq!(described(&school, "app.rich"), described_before);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.protected WHERE relation = 'app.rich'::regclass"), 1);
    let orphan = school.superuser().batch_execute("INSERT INTO app.child VALUES (9999)");
    assert_eq!(db_error(orphan).code(), &SqlState::FOREIGN_KEY_VIOLATION, "others refer to it again");
}

fn tables_that_refer_to_each_other_come_back_together() {
    let school = School::active();
    let before = (content(&school, "app.student"), content(&school, "app.guardian"));
    for script in ["TRUNCATE app.student, app.guardian", "DROP TABLE app.student, app.guardian"] {
        let op_no = school.operate("postgres", script);
        assert_eq!(restored(&school, &op_no).1, 360, "{script}");
        assert_eq!((content(&school, "app.student"), content(&school, "app.guardian")), before, "{script}");
        let orphan = school.superuser().batch_execute("INSERT INTO app.guardian VALUES (9999, 9999, 'x')");
        assert_eq!(db_error(orphan).code(), &SqlState::FOREIGN_KEY_VIOLATION, "{script}");
    }
}

fn a_restore_that_would_break_a_foreign_key_is_undone() {
    let school = School::active();
    let op_no = school.operate("region_chen", "DELETE FROM app.guardian WHERE student_id >= 100");
    school.superuser().batch_execute("DELETE FROM app.student WHERE id = 150").expect("colleague");
    let message = "insert or update on table \"guardian\" violates foreign key constraint \"guardian_student_id_fkey\"";
    refused_restore(&school, &op_no, &SqlState::FOREIGN_KEY_VIOLATION, message);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian WHERE student_id >= 100"), 0);
}

fn a_dropped_partition_comes_back_to_its_place() {
    let school = School::active();
    let before = content(&school, "app.card_transaction");
    let op_no = school.operate("postgres", "DROP TABLE app.card_transaction_2026_10");
    assert_ne!(content(&school, "app.card_transaction"), before);
    assert_eq!(restored(&school, &op_no).2, 0);
    assert_eq!(content(&school, "app.card_transaction"), before);
    let armed = "SELECT count(*) FROM pg_trigger WHERE tgname = 'RI_steward_row_image' AND tgenabled = 'A'
        AND tgrelid = 'app.card_transaction_2026_10'::regclass";
    assert_eq!(school.ask::<i64>(armed), 1);
}

fn a_table_whose_name_is_taken_is_skipped() {
    let school = School::active();
    let op_no = school.operate("postgres", "DROP TABLE app.guardian");
    school.superuser().batch_execute("CREATE TABLE app.guardian (id int)").expect("another table");
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (0, 160));
}

fn an_altered_table_is_not_restored_by_itself() {
    let school = School::active();
    let op_no = school.operate("postgres", "ALTER TABLE app.guardian DROP COLUMN name");
    let copy: String = school.ask("SELECT copy FROM steward.table_image");
    assert_eq!(school.ask::<i64>(&format!("SELECT count(name) FROM {copy}")), 160, "the copy has the column");
    let again = school.request("postgres", &format!("SELECT steward.restore('{op_no}')"));
    school.release(&again);
    let refused = school.superuser().batch_execute(&format!("SELECT * FROM steward.execute('{again}')"));
    let message = "ALTER TABLE on app.guardian cannot be restored by itself";
    let error = expect_message(refused, &SqlState::FEATURE_NOT_SUPPORTED, message);
    assert!(error.detail().is_some_and(|detail| detail.contains(&copy)), "{error:?}");
}

fn a_restore_is_critical_and_can_be_restored() {
    let school = School::active();
    let before = content(&school, "app.student");
    let op_no = school.operate("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    let after = content(&school, "app.student");
    for login in ["postgres", "region_chen"] {
        let alone = school.session(login).batch_execute(&format!("SELECT steward.restore('{op_no}')"));
        expect_message(
            alone,
            &SqlState::INSUFFICIENT_PRIVILEGE,
            "critical statement refused: no approved operation covers it",
        );
    }
    let (by, back, _) = restored(&school, &op_no);
    assert_eq!((back, content(&school, "app.student") == before), (60, true));
    assert_eq!(restored(&school, &by).1, 60);
    assert_eq!(content(&school, "app.student"), after);
    let clerk = school.session("clerk_zhao").batch_execute(&format!("SELECT steward.restore('{op_no}')"));
    expect_message(clerk, &SqlState::INSUFFICIENT_PRIVILEGE, "permission denied for function restore");
}

pub fn refused_restore(school: &School, op_no: &str, code: &SqlState, message: &str) {
    let again = school.request("postgres", &format!("SELECT steward.restore('{op_no}')"));
    school.release(&again);
    expect_message(
        school.superuser().batch_execute(&format!("SELECT * FROM steward.execute('{again}')")),
        code,
        message,
    );
}

fn a_restore_happens_once() {
    let school = School::active();
    let op_no = school.operate("region_chen", "DELETE FROM app.guardian WHERE id <= 60");
    restored(&school, &op_no);
    let message = format!("{op_no} is restored already");
    refused_restore(&school, &op_no, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    let unknown = "operation \"OP-20000101-0001\" does not exist";
    refused_restore(&school, "OP-20000101-0001", &SqlState::UNDEFINED_OBJECT, unknown);
}

fn an_operation_without_a_pre_image_cannot_be_restored() {
    let school = School::active();
    school.operate("postgres", "SELECT steward.set_tier_policy('critical', pre_image => false)");
    let op_no = school.operate("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.row_image"), 0);
    let message = format!("{op_no} has no pre-image");
    refused_restore(&school, &op_no, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
}

fn tampered_images_are_not_restored() {
    let school = School::active();
    let op_no = school.operate("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    // Nobody can through SQL; a library that is not loaded stops nobody.
    let mut school = school;
    school.stop();
    school.configure(&["steward.mode = 'off'"]);
    school.start();
    school
        .superuser()
        .batch_execute("UPDATE steward.row_image SET old_values = '{1,forged}' WHERE new_values[1] = '1'")
        .expect("forge");
    school.configure(&["steward.mode = 'enforce'"]);
    school.restart();
    let message = format!("the pre-image of {op_no} is not what its run has written");
    refused_restore(&school, &op_no, &SqlState::DATA_CORRUPTED, &message);
}

fn no_trigger_no_execution() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("ALTER TABLE app.student DISABLE TRIGGER \"RI_steward_row_image\"; SELECT steward.activate()")
        .expect("switched off");
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    school.release(&op_no);
    let run = school.session("region_chen").batch_execute(&format!("SELECT * FROM steward.execute('{op_no}')"));
    let message = "no pre-image can be kept of app.student";
    expect_message(run, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    school.operate("postgres", "SELECT steward.protect('app.student')");
    school.operate("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
}

/// COPY has no executor: its rows must leave their images as well.
fn no_trigger_no_copy_from_a_file() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("ALTER TABLE app.guardian DISABLE TRIGGER \"RI_steward_row_image\"; SELECT steward.activate()")
        .expect("switched off");
    school.data_file("guardians", "9001\t1\tcopied\n");
    let script = "COPY app.guardian FROM 'guardians'";
    let op_no = school.request("postgres", script);
    school.release(&op_no);
    let run = school.superuser().batch_execute(&format!("SELECT * FROM steward.execute('{op_no}')"));
    let message = "no pre-image can be kept of app.guardian";
    expect_message(run, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian WHERE name = 'copied'"), 0);
    school.operate("postgres", "SELECT steward.protect('app.guardian')");
    let op_no = school.operate("postgres", script);
    let images = format!("SELECT count(*) FROM steward.row_image WHERE op_no = '{op_no}' AND command = 'INSERT'");
    assert_eq!(school.ask::<i64>(&images), 1);
}

fn no_copy_no_execution() {
    let school = School::active();
    school.superuser().batch_execute("CREATE TYPE app.kind AS ENUM ('a'); CREATE SCHEMA old").expect("objects");
    school.operate("postgres", "CREATE TABLE old.paper (id int); SELECT steward.protect('old.paper')");
    for (script, table) in [
        ("DROP SCHEMA old CASCADE", "old.paper"),
        ("TRUNCATE app.student CASCADE", "app.guardian"),
        ("DROP TABLE app.card_transaction", "app.card_transaction"),
    ] {
        let op_no = school.request("postgres", script);
        school.release(&op_no);
        let run = school.superuser().batch_execute(&format!("SELECT * FROM steward.execute('{op_no}')"));
        let error = db_error(run);
        assert!(error.message().contains(table) && error.message().contains("pre-image"), "{script}: {error:?}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student"), 200);
    school.operate("postgres", "TRUNCATE app.guardian; TRUNCATE app.student, app.guardian");
    let frozen = school.request("postgres", "TRUNCATE app.entry");
    school.release(&frozen);
    let run = school
        .superuser()
        .batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM steward.execute('{frozen}')"));
    expect_message(
        run,
        &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "a pre-image needs a transaction that is READ COMMITTED",
    );
}

fn the_record_of_a_run_names_its_images() {
    let school = School::active();
    let op_no = school.operate("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    let same = format!(
        "operation_type = 'EXECUTE' AND op_no = '{op_no}' AND result = 'SUCCESS' AND details::json -> 'pre_image' ->> 'sha256' =
            (SELECT encode(sha256, 'hex') FROM steward.pre_image) AND details::json -> 'pre_image' ->> 'images' = '60'"
    );
    assert_eq!(school.records(&same), 1);
}

/// The owner of a table puts code of his own wherever a restore touches it; none of it may have more rights than he has.
fn code_of_the_owner_gains_nothing_by_a_restore() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE TABLE app.witness (place text, who text, super boolean); GRANT INSERT ON app.witness TO PUBLIC;
            GRANT USAGE, CREATE ON SCHEMA app TO region_chen",
        )
        .expect("set up");
    school
        .session("region_chen")
        .batch_execute(
            "CREATE FUNCTION app.peek(place text, value int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO app.witness VALUES (place, current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user));
                RETURN value; END $$;
            -- A function that pretends to be harmless may stand in computed columns and indexes.
            CREATE FUNCTION app.hidden(place text, value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
                $$ BEGIN RETURN app.peek(place, value); END $$;
            CREATE FUNCTION app.peek_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM app.peek('trigger', 1); RETURN NEW; END $$;
            CREATE TABLE app.trap (id int PRIMARY KEY DEFAULT app.peek('default', 1), n int CHECK (app.peek('check', n) >= 0),
                g int GENERATED ALWAYS AS (app.hidden('generated', n)) STORED);
            CREATE INDEX ON app.trap (app.hidden('index', n));
            CREATE TRIGGER peek BEFORE INSERT OR UPDATE ON app.trap FOR EACH ROW EXECUTE FUNCTION app.peek_row();
            CREATE FUNCTION app.odd(n int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
                $$ BEGIN PERFORM app.peek('domain', n); RETURN true; END $$;
            CREATE DOMAIN app.sly AS int CHECK (app.odd(VALUE));
            CREATE POLICY sly ON app.trap USING (id = ANY ('{1}'::app.sly[]));
            CREATE TRIGGER sly AFTER DELETE ON app.trap FOR EACH ROW WHEN (OLD.id = ANY ('{1}'::app.sly[]))
                EXECUTE FUNCTION app.peek_row();
            INSERT INTO app.trap SELECT n, n FROM generate_series(1, 60) n;
            GRANT ALL ON app.trap TO region_chen",
        )
        .expect("trap");
    school
        .superuser()
        .batch_execute("REVOKE CREATE ON SCHEMA app FROM region_chen; SELECT steward.protect('app.trap'); SELECT steward.activate()")
        .expect("activate");
    let before = content(&school, "app.trap");
    for script in ["UPDATE app.trap SET n = n + 1", "TRUNCATE app.trap", "DROP TABLE app.trap"] {
        school.superuser().batch_execute("TRUNCATE app.witness").expect("none");
        // The applicant is the owner: what he may run, he may run.
        let op_no = school.operate("region_chen", script);
        let mut chen = school.session("region_chen");
        let by = school::request(&mut chen, &format!("SELECT * FROM steward.restore('{op_no}')"), ", approvals => 2");
        school.release(&by);
        school::execute(&mut chen, &by).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        assert_eq!(school.status(&by), "executed");
        assert_eq!(content(&school, "app.trap"), before, "{script}");
        let seen = "SELECT count(*), count(*) FILTER (WHERE super OR who <> 'region_chen') FROM app.witness";
        let row = school.superuser().query_one(seen, &[]).expect("witness");
        assert!(row.get::<_, i64>(0) > 0, "{script}: the trap was not touched");
        assert_eq!(row.get::<_, i64>(1), 0, "{script}: code of the owner ran with other rights");
    }
    let left = "SELECT has_schema_privilege('region_chen', 'app', 'CREATE') OR EXISTS (SELECT FROM pg_class
        WHERE relname LIKE 'image\\_%' AND has_table_privilege('region_chen', oid, 'SELECT'))";
    assert!(!school.ask::<bool>(left), "rights that were lent are taken back");
}
