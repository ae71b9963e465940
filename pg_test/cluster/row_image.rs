//! Row images: what the trigger of protected tables keeps, for whom, and what cannot get round it.

use postgres::error::SqlState;

use crate::dump::dump;
use crate::expect::{db_error, expect_message};
use crate::school::{School, ask};

tests! {
    a_table_with_row_images_keeps_old_and_new_values,
    values_read_back_exactly_whatever_the_session_has_set,
    an_update_keeps_its_key_and_what_it_changed,
    a_table_without_row_images_keeps_none,
    partitions_and_cascades_keep_images_too,
    the_replica_role_does_not_stop_the_trigger,
    a_rolled_back_change_keeps_no_image,
    images_are_shown_to_nobody,
    images_are_written_by_nobody_else,
    a_trigger_of_the_same_name_is_not_taken_for_ours,
    unprotect_takes_the_trigger_off,
    purge_images_ends_their_term,
    a_dump_restores_the_trigger_and_no_image,
}

const IMAGES: &str = "SELECT count(*) FROM steward.row_image";

fn with_images() -> School {
    let school = School::inactive();
    school.superuser().batch_execute("SELECT steward.protect('app.student', row_images => true)").expect("protect");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn a_table_with_row_images_keeps_old_and_new_values() {
    let school = with_images();
    let changes = "INSERT INTO app.student VALUES (900, 1, 'new', 'ID900', '13800009900');
        UPDATE app.student SET note = 'second' WHERE id = 900; DELETE FROM app.student WHERE id = 900";
    school.session("teacher_wang").batch_execute(changes).expect("changes");
    let kept: Vec<String> = school
        .superuser()
        .query(
            "SELECT format('%s %s %s %s %s %s %s', command, login, table_name, keys, columns, old_values, new_values)
            FROM steward.row_image ORDER BY id",
            &[],
        )
        .expect("images")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let all = "{id,school_id,name,id_card,phone,note}";
    assert_eq!(
        kept,
        [
            format!("INSERT teacher_wang app.student 1 {all}  {{900,1,new,ID900,13800009900,\"\"}}"),
            "UPDATE teacher_wang app.student 1 {id,note} {900,\"\"} {900,second}".to_owned(),
            format!("DELETE teacher_wang app.student 1 {all} {{900,1,new,ID900,13800009900,second}} "),
        ]
    );
}

fn values_read_back_exactly_whatever_the_session_has_set() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE TYPE app.mood AS ENUM ('glad', 'sad'); CREATE DOMAIN app.mark AS numeric CHECK (VALUE >= 0);
            CREATE TABLE app.odd (id int PRIMARY KEY, t timestamptz, d date, i interval, f float8, b bytea, m app.mood,
                n app.mark, j json, a text[], x char(5), p point, g int GENERATED ALWAYS AS (id * 2) STORED, r int4range);
            SELECT steward.protect('app.odd', row_images => true);
            SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Shanghai'; SET IntervalStyle = 'iso_8601';
            SET extra_float_digits = -10; SET bytea_output = 'escape';
            INSERT INTO app.odd VALUES (1, '2026-11-22 01:02:03.000004+08', '1999-12-31', '1 mon 2 days', 0.1::float8 + 0.2,
                '\\x00ff41', 'sad', 1.500, '{ \"k\" : \"v\" }', ARRAY['a,b', NULL, ''], 'ab', '(1,2)', DEFAULT, '[1,5)')",
        )
        .expect("set up");
    let kept: Vec<Option<String>> = ask(&mut superuser, "SELECT new_values FROM steward.row_image");
    let kept: Vec<&str> = kept.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
    assert_eq!(
        kept,
        [
            "1",
            "2026-11-21 17:02:03.000004+00",
            "1999-12-31",
            "1 mon 2 days",
            "0.30000000000000004",
            "\\x00ff41",
            "sad",
            "1.500",
            "{ \"k\" : \"v\" }",
            "{\"a,b\",NULL,\"\"}",
            "ab   ",
            "(1,2)",
            "2",
            "[1,5)"
        ]
    );
}

fn an_update_keeps_its_key_and_what_it_changed() {
    let school = with_images();
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("UPDATE app.student SET note = note, name = name WHERE id = 1").expect("nothing changed");
    assert_eq!(school.ask::<i64>(IMAGES), 0, "a change that changes nothing needs no image");
    wang.batch_execute("UPDATE app.student SET note = 'x', name = name WHERE id = 1").expect("update");
    assert_eq!(school.ask::<Vec<String>>("SELECT columns FROM steward.row_image"), ["id", "note"]);
    // Without a key, the whole row.
    let mut superuser = school.superuser();
    superuser.batch_execute("CREATE TABLE app.keyless (a int, b text)").expect("table");
    school.operate("postgres", "SELECT steward.protect('app.keyless', row_images => true)");
    superuser.batch_execute("INSERT INTO app.keyless VALUES (1, NULL); UPDATE app.keyless SET a = 2").expect("update");
    let last =
        "SELECT format('%s %s %s', keys, old_values, new_values) FROM steward.row_image ORDER BY id DESC LIMIT 1";
    assert_eq!(school.ask::<String>(last), "0 {1,NULL} {2,NULL}");
}

fn a_table_without_row_images_keeps_none() {
    let school = School::active();
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id < 10").expect("update");
    assert_eq!(school.ask::<i64>(IMAGES), 0);
}

fn partitions_and_cascades_keep_images_too() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "SELECT steward.protect('app.card_transaction', row_images => true);
            SELECT steward.protect('app.guardian', row_images => true);
            CREATE TABLE app.card_transaction_2026_12 PARTITION OF app.card_transaction FOR VALUES FROM ('2026-12-01') TO ('2027-01-01');
            INSERT INTO app.card_transaction VALUES (901, '2026-12-05', 7);
            UPDATE app.card_transaction SET booked_on = '2026-11-05' WHERE id = 901;
            UPDATE app.card_transaction_2026_11 SET amount = 8 WHERE id = 901;
            DELETE FROM app.student WHERE id = 100",
        )
        .expect("changes");
    let kept = "SELECT array_agg(command || ' ' || table_name ORDER BY id) FROM steward.row_image";
    assert_eq!(
        school.ask::<Vec<String>>(kept),
        [
            "INSERT app.card_transaction_2026_12",
            "DELETE app.card_transaction_2026_12",
            "INSERT app.card_transaction_2026_11",
            "UPDATE app.card_transaction_2026_11",
            "DELETE app.guardian",
        ]
    );
}

fn the_replica_role_does_not_stop_the_trigger() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "SELECT steward.protect('app.student', row_images => true);
            SET session_replication_role = replica; UPDATE app.student SET note = 'x' WHERE id = 7",
        )
        .expect("update");
    assert_eq!(school.ask::<i64>(IMAGES), 1);
    superuser.batch_execute("RESET session_replication_role; SELECT steward.activate()").expect("activate");
    let off = superuser.batch_execute("ALTER TABLE app.student DISABLE TRIGGER \"RI_steward_row_image\"");
    expect_message(
        off,
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "critical statement refused: no approved operation covers it",
    );
    let gone = superuser.batch_execute("DROP TRIGGER \"RI_steward_row_image\" ON app.student");
    expect_message(
        gone,
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "critical statement refused: no approved operation covers it",
    );
}

fn a_rolled_back_change_keeps_no_image() {
    let school = with_images();
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("BEGIN; UPDATE app.student SET note = 'x' WHERE id = 7; ROLLBACK").expect("rolled back");
    wang.batch_execute(
        "DO $$ BEGIN UPDATE app.student SET note = 'y' WHERE id = 8; RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
    )
    .expect("swallowed");
    assert_eq!(school.ask::<i64>(IMAGES), 0);
}

fn images_are_shown_to_nobody() {
    let school = with_images();
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id = 7").expect("update");
    for login in ["auditor_qian", "security_han", "reviewer_sun", "teacher_wang"] {
        for table in ["row_image", "table_image", "pre_image"] {
            let read = school.session(login).batch_execute(&format!("SELECT * FROM steward.{table}"));
            expect_message(read, &SqlState::INSUFFICIENT_PRIVILEGE, &format!("permission denied for table {table}"));
        }
    }
    let leaks = "statement LIKE '%138000%' OR details LIKE '%138000%'";
    assert_eq!(school.records(leaks), 0, "no value of a row is in the trail");
}

fn images_are_written_by_nobody_else() {
    let school = School::inactive();
    school.superuser().batch_execute("CREATE TABLE app.own (id int)").expect("table");
    for attack in [
        "DELETE FROM steward.row_image",
        "TRUNCATE steward.row_image",
        "UPDATE steward.pre_image SET images = 0",
        "INSERT INTO steward.table_image (op_no, run, login, relation, table_name, command, definition, fittings, foreign_keys, rights, protected, row_images)
            VALUES ('OP-1', 1, 'x', 0, 'x', 'DROP TABLE', '{}', '{}', '{}', '{}', true, true)",
    ] {
        let refused = school.superuser().batch_execute(attack);
        expect_message(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "statement refused: audit records cannot be changed");
    }
    let forged = school.session("teacher_wang").batch_execute("SELECT steward._keep_row_image()");
    assert!(forged.is_err(), "a trigger function is no function to call");
    let mut clerk = school.session("clerk_zhao");
    let own = clerk.batch_execute(
        "CREATE TEMP TABLE mine (id int);
        CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION steward._keep_row_image()",
    );
    expect_message(own, &SqlState::INSUFFICIENT_PRIVILEGE, "permission denied for function steward._keep_row_image");
}

fn a_trigger_of_the_same_name_is_not_taken_for_ours() {
    let school = School::inactive();
    let forged = "CREATE TABLE app.sly (id int PRIMARY KEY);
        CREATE FUNCTION app.noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER \"RI_steward_row_image\" AFTER INSERT ON app.sly FOR EACH ROW EXECUTE FUNCTION app.noop()";
    school.superuser().batch_execute(forged).expect("forged");
    let protect = school.superuser().batch_execute("SELECT steward.protect('app.sly', row_images => true)");
    let message = "app.sly has a trigger \"RI_steward_row_image\" that is not pg_steward's";
    expect_message(protect, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
}

fn unprotect_takes_the_trigger_off() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname = 'RI_steward_row_image'";
    // student, guardian, entry and card_transaction with its two partitions.
    let before: i64 = ask(&mut superuser, triggers);
    superuser.batch_execute("SELECT steward.protect('app.student')").expect("again");
    assert_eq!(ask::<i64>(&mut superuser, triggers), before, "protecting twice is protecting once");
    superuser.batch_execute("SELECT steward.unprotect('app.card_transaction')").expect("unprotect");
    assert_eq!(ask::<i64>(&mut superuser, triggers), before - 3);
    superuser.batch_execute("DROP EXTENSION pg_steward").expect("drop");
    assert_eq!(ask::<i64>(&mut superuser, triggers), 0, "the extension takes its triggers along");
    superuser.batch_execute("UPDATE app.student SET note = 'free' WHERE id = 1").expect("update");
}

fn purge_images_ends_their_term() {
    let school = with_images();
    let op_no = school.operate("postgres", "TRUNCATE app.card_transaction_2026_10");
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id = 7").expect("update");
    let copies = "SELECT count(*) FROM pg_class WHERE relname ~ '^image_[0-9]+$' AND relkind = 'r'";
    assert_eq!(school.ask::<i64>(copies), 1);
    school.operate("postgres", "SELECT steward.purge_images()");
    assert_eq!(school.ask::<i64>(IMAGES), 1, "thirty days are not over");
    school.operate("postgres", "SELECT steward.set_retention(row_images => '1 microsecond')");
    school.operate("postgres", "SELECT steward.purge_images()");
    assert_eq!((school.ask::<i64>(IMAGES), school.ask::<i64>(copies)), (0, 0));
    let late = school.request("postgres", &format!("SELECT steward.restore('{op_no}')"));
    school.release(&late);
    let late = school.superuser().batch_execute(&format!("SELECT * FROM steward.execute('{late}')"));
    expect_message(late, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &format!("the pre-image of {op_no} is gone"));
    let wrong = School::inactive().superuser().batch_execute("SELECT steward.set_retention(row_images => '0')");
    assert_eq!(db_error(wrong).code(), &SqlState::INVALID_PARAMETER_VALUE);
}

fn a_dump_restores_the_trigger_and_no_image() {
    let school = with_images();
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id = 7").expect("update");
    let dumped: String = dump(&school).iter().map(|file| std::fs::read_to_string(file).expect("dump")).collect();
    assert!(dumped.contains("RI_steward_row_image"), "the trigger is part of the table");
    assert!(!dumped.contains("COPY steward.row_image"), "images stay where they are");
}
