//! The row trigger is taken off plans that keep no image. What else fires on the table goes on as if it had never been there.

use crate::school::{School, execute, request};

tests! {
    triggers_of_the_table_fire_as_ever,
    foreign_keys_are_checked_as_ever,
    a_session_that_wrote_before_keeps_images_in_its_operation,
    a_row_that_is_routed_beside_a_change_finds_its_triggers,
    a_prepared_write_keeps_images_from_the_moment_the_policy_wants_them,
    while_the_mode_is_off_it_costs_nothing_and_keeps_what_it_should,
}

/// Triggers whose names come before and after the policy's own, for rows and statements, before and after.
const TRIGGERS: &str = "CREATE TABLE app.fired (n serial, what text);
    GRANT ALL ON app.fired, app.fired_n_seq TO PUBLIC;
    CREATE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO app.fired (what) VALUES (TG_NAME || '' '' || TG_OP); RETURN NEW; END';
    CREATE TRIGGER \"A_after\" AFTER INSERT OR UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION app.fire();
    CREATE TRIGGER z_after AFTER UPDATE ON app.student FOR EACH ROW WHEN (OLD.note <> NEW.note) EXECUTE FUNCTION app.fire();
    CREATE TRIGGER a_before BEFORE UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION app.fire();
    CREATE TRIGGER z_statement AFTER UPDATE ON app.student REFERENCING OLD TABLE AS o NEW TABLE AS n
        FOR EACH STATEMENT EXECUTE FUNCTION app.fire();
    CREATE CONSTRAINT TRIGGER z_deferred AFTER UPDATE ON app.student DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION app.fire();";

fn fired(school: &School) -> Vec<String> {
    school.ask("SELECT coalesce(array_agg(what ORDER BY n), '{}') FROM app.fired")
}

fn triggers_of_the_table_fire_as_ever() {
    let school = School::inactive();
    school.superuser().batch_execute(TRIGGERS).expect("triggers");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let mut teacher = school.session("teacher_wang");
    teacher
        .batch_execute("INSERT INTO app.student VALUES (900, 1, 'new', 'ID900', '13800009900', 'a')")
        .expect("insert");
    teacher.batch_execute("UPDATE app.student SET note = 'b' WHERE id = 900").expect("update");
    let expected = [
        "A_after INSERT",
        "a_before UPDATE",
        "A_after UPDATE",
        "z_after UPDATE",
        "z_statement UPDATE",
        "z_deferred UPDATE",
    ];
    assert_eq!(fired(&school), expected);
    let plan =
        teacher.query("EXPLAIN (ANALYZE) UPDATE app.student SET note = 'c' WHERE id = 900", &[]).expect("explain");
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.starts_with("Trigger z_after: ") && line.ends_with("calls=1")), "{plan:?}");
}

fn foreign_keys_are_checked_as_ever() {
    let school = School::inactive();
    let tables = "CREATE TABLE app.badge (id int PRIMARY KEY, student int REFERENCES app.student ON DELETE CASCADE);
        INSERT INTO app.badge VALUES (1, 5); SELECT steward.protect('app.badge');
        GRANT ALL ON app.badge TO teacher_wang; SELECT steward.activate()";
    school.superuser().batch_execute(tables).expect("tables");
    let mut teacher = school.session("teacher_wang");
    let orphan = teacher.batch_execute("INSERT INTO app.badge VALUES (2, 987654)").expect_err("no such student");
    assert_eq!(orphan.code().map(|code| code.code()), Some("23503"), "{orphan:?}");
    teacher.batch_execute("DELETE FROM app.student WHERE id = 5").expect("delete");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.badge"), 0);
}

fn a_session_that_wrote_before_keeps_images_in_its_operation() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("UPDATE app.student SET note = 'before' WHERE id = 5").expect("update");
    let op_no = request(&mut teacher, "UPDATE app.student SET note = 'run' WHERE id <= 60", "");
    school.release(&op_no);
    execute(&mut teacher, &op_no).expect("execute");
    teacher.batch_execute("UPDATE app.student SET note = 'after' WHERE id = 5").expect("update");
    let kept: i64 = school.ask(&format!("SELECT images FROM steward.pre_image WHERE op_no = '{op_no}'"));
    assert_eq!(kept, 60);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.row_image"), 60);
}

fn a_prepared_write_keeps_images_from_the_moment_the_policy_wants_them() {
    let school = School::inactive();
    let mut teacher = school.session("teacher_wang");
    let write = teacher.prepare("UPDATE app.student SET note = $1 WHERE id = 7").expect("prepare");
    (0..8).for_each(|n| assert_eq!(teacher.execute(&write, &[&format!("{n}")]).expect("write"), 1));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.row_image"), 0);
    school.superuser().batch_execute("SELECT steward.protect('app.student', row_images => true)").expect("protect");
    assert_eq!(teacher.execute(&write, &[&"kept"]).expect("write"), 1);
    assert_eq!(school.ask::<Vec<String>>("SELECT new_values FROM steward.row_image"), ["7", "kept"]);
}

fn a_row_that_is_routed_beside_a_change_finds_its_triggers() {
    let school = School::inactive();
    let table = "CREATE TABLE app.parted (id int, note text) PARTITION BY RANGE (id);
        CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (10);
        CREATE TABLE app.parted_2 PARTITION OF app.parted FOR VALUES FROM (10) TO (20);
        INSERT INTO app.parted SELECT n, 'a' FROM generate_series(1, 19) n; GRANT ALL ON app.parted, app.parted_1 TO teacher_wang;
        SELECT steward.protect('app.parted'); SELECT steward.activate()";
    school.superuser().batch_execute(table).expect("table");
    let mut teacher = school.session("teacher_wang");
    for statement in [
        "WITH gone AS (DELETE FROM app.parted WHERE id = 5 RETURNING *) INSERT INTO app.parted SELECT * FROM gone",
        "WITH changed AS (UPDATE app.parted_1 SET note = 'b' WHERE id = 6 RETURNING *)
            INSERT INTO app.parted SELECT id + 1, note FROM changed",
        "UPDATE app.parted SET id = id + 10 WHERE id = 3",
    ] {
        teacher.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.row_image"), 0);
    let script =
        "WITH gone AS (DELETE FROM app.parted WHERE id < 10 RETURNING *) INSERT INTO app.parted SELECT * FROM gone";
    school.operate("postgres", script);
    // Of every row both what went and what came.
    let rows: i64 = school.ask("SELECT count(*) FROM app.parted WHERE id < 10");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.row_image"), 2 * rows);
}

fn while_the_mode_is_off_it_costs_nothing_and_keeps_what_it_should() {
    let mut school = School::inactive();
    school.superuser().batch_execute(TRIGGERS).expect("triggers");
    school.stop();
    school.configure(&["steward.mode = 'off'"]);
    school.start();
    let mut teacher = school.session("teacher_wang");
    let mut fire = |note: &str| -> Vec<String> {
        let update = format!("EXPLAIN (ANALYZE) UPDATE app.student SET note = '{note}' WHERE id = 9");
        let plan = teacher.query(&update, &[]).expect("explain");
        plan.iter().map(|row| row.get(0)).filter(|line: &String| line.starts_with("Trigger ")).collect()
    };
    let triggers = fire("a");
    assert!(triggers.iter().any(|line| line.starts_with("Trigger A_after: ")), "{triggers:?}");
    let own = |line: &String| !["A_after", "z_", "a_before"].iter().any(|name| line.contains(name));
    assert!(!triggers.iter().any(own), "{triggers:?}");
    assert!(fired(&school).contains(&"A_after UPDATE".to_string()));
    school.superuser().batch_execute("SELECT steward.protect('app.student', row_images => true)").expect("protect");
    let triggers = fire("b");
    assert!(triggers.iter().any(own), "{triggers:?}");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.row_image"), 1);
}
