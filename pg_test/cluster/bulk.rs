//! Fifty rows are a bulk operation, however they come about; forty-nine are not. An ordinary login and a superuser, one
//! after the other on one server: what each of them writes carries their name.

use std::io::Write;

use postgres::Client;

use crate::expect::{expect_bulk_refused, expect_refused};
use crate::school::{School, ask};
use crate::way_around::attack::{Allowed, BULK_UPDATE, ROLES, Refused, Said, attack, attack_as, watch};

tests! {
    fifty_rows_are_refused_and_the_hint_is_the_next_command,
    fifty_rows_are_refused_to_a_superuser_too,
    forty_nine_rows_pass,
    forty_nine_and_one_in_a_transaction_are_refused,
    forty_nine_and_forty_nine_in_two_transactions_pass,
    single_rows_of_a_prepared_statement_add_up,
    a_do_block_that_commits_every_49_rows_is_refused,
    a_function_that_loops_over_single_rows_is_refused,
    rows_of_a_data_modifying_cte_count,
    rows_of_copy_from_count,
    rows_of_merge_count,
    rows_of_partitions_count_together,
    a_direct_write_to_a_partition_counts_with_its_root,
    rows_deleted_by_a_foreign_key_cascade_count,
    rows_that_on_conflict_do_nothing_skips_do_not_count,
    rows_of_a_rolled_back_savepoint_are_taken_off,
    tables_are_counted_apart,
    explain_does_not_count_but_explain_analyze_does,
    unprotected_tables_are_not_counted,
}

const FIFTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 50";
const WRITE: Said = ["UPDATE", "app.student", "normal", "write"];
const BULK_PAYMENT: Said = ["UPDATE", "app.card_transaction", "critical", "bulk_write"];

fn forty_nine(who: &str) -> String {
    format!("UPDATE app.student SET note = '{who}' WHERE id <= 49")
}

/// Students whose note is this.
fn noted(school: &School, note: &str) -> i64 {
    school.ask(&format!("SELECT count(*) FROM app.student WHERE note = '{note}'"))
}

/// These statements, each sent by itself, are refused as bulk at the last one; the session rolls back.
#[track_caller]
fn refused_at_the_last(school: &School, who: &str, statements: &[&str], said: Said) {
    let mut session = school.session(who);
    watch(school, who, Refused, said, || {
        let (last, first) = statements.split_last().expect("statements");
        for statement in first {
            session.batch_execute(statement).unwrap_or_else(|error| panic!("{who}: {statement}: {error:?}"));
        }
        let refused = session.batch_execute(last);
        session.batch_execute("ROLLBACK").expect("always works");
        refused
    });
}

fn fifty_rows_are_refused_and_the_hint_is_the_next_command() {
    let school = School::active();
    for who in ROLES {
        let error = expect_bulk_refused(school.session(who).batch_execute(FIFTY), "app.student");
        let hint = error.hint().unwrap_or("");
        assert!(hint.contains("steward.request(") && hint.contains(FIFTY), "{error:?}");
    }
    assert_eq!(school.records("result = 'DENIED' AND sqlstate = '42501' AND rule = 'bulk_write'"), 2);
}

fn fifty_rows_are_refused_to_a_superuser_too() {
    let school = School::active();
    attack(&school, FIFTY, Refused, BULK_UPDATE);
}

fn forty_nine_rows_pass() {
    let school = School::active();
    for who in ROLES {
        attack_as(&school, who, &forty_nine(who), Allowed, WRITE);
        assert_eq!(noted(&school, who), 49);
        assert_eq!(school.records(&format!("user_id = '{who}' AND operation_type = 'UPDATE' AND rows = 49")), 1);
    }
}

fn forty_nine_and_one_in_a_transaction_are_refused() {
    let school = School::active();
    for who in ROLES {
        let one = "UPDATE app.student SET note = 'moved' WHERE id = 50";
        refused_at_the_last(&school, who, &["BEGIN", &forty_nine(who), one], BULK_UPDATE);
    }
}

fn forty_nine_and_forty_nine_in_two_transactions_pass() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        session.batch_execute(&forty_nine(who)).expect("49 rows");
        let next = format!("UPDATE app.student SET note = '{who}' WHERE id BETWEEN 50 AND 98");
        session.batch_execute(&next).expect("an application is not stopped at its 50th row of the day");
        assert_eq!(noted(&school, who), 98);
        assert_eq!(school.records(&format!("user_id = '{who}' AND operation_type = 'UPDATE' AND rows = 49")), 2);
    }
}

fn single_rows_of_a_prepared_statement_add_up() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        let one = session.prepare("UPDATE app.student SET note = 'moved' WHERE id = $1").expect("prepare");
        watch(&school, who, Refused, BULK_UPDATE, || {
            let mut transaction = session.transaction().expect("begin");
            for id in 1..=49 {
                transaction.execute(&one, &[&id]).expect("the first 49 rows");
            }
            let fiftieth = transaction.execute(&one, &[&50]).map(drop);
            transaction.rollback().expect("rollback");
            fiftieth
        });
    }
}

fn a_do_block_that_commits_every_49_rows_is_refused() {
    let school = School::active();
    for who in ROLES {
        let block = format!(
            "DO $$ BEGIN FOR batch IN 0..3 LOOP
                UPDATE app.student SET note = '{who}' WHERE id BETWEEN batch * 49 + 1 AND batch * 49 + 49;
                COMMIT;
            END LOOP; END $$"
        );
        expect_bulk_refused(school.session(who).batch_execute(&block), "app.student");
        // What it committed before the 50th row stands, and not a row more.
        assert_eq!(noted(&school, who), 49);
        let denied = "result = 'DENIED' AND rule = 'bulk_write' AND table_name = 'app.student' AND tier = 'critical'";
        assert_eq!(school.records(&format!("user_id = '{who}' AND {denied}")), 1);
    }
}

fn a_function_that_loops_over_single_rows_is_refused() {
    let school = School::active();
    let block = "DO $$ BEGIN FOR n IN 1..60 LOOP
            UPDATE app.student SET note = 'moved' WHERE id = n;
        END LOOP; END $$";
    attack(&school, block, Refused, BULK_UPDATE);
}

fn rows_of_a_data_modifying_cte_count() {
    let school = School::active();
    let statement = "WITH moved AS (UPDATE app.student SET note = 'moved' WHERE id <= 50 RETURNING id)
        SELECT count(*) FROM moved";
    attack(&school, statement, Refused, BULK_UPDATE);
    attack(&school, &statement.replace("50", "49"), Allowed, ["SELECT", "app.student", "normal", "write"]);
}

/// COPY FROM into app.guardian of so many rows, ids from this one on.
fn copy_guardians(session: &mut Client, from: i32, count: i32) -> Result<(), postgres::Error> {
    let mut writer = session.copy_in("COPY app.guardian (id, student_id, name) FROM STDIN")?;
    let lines: String = (0..count).map(|n| format!("{}\t{}\tcopied\n", from + n, n + 1)).collect();
    writer.write_all(lines.as_bytes()).expect("copy data");
    writer.finish().map(drop)
}

fn rows_of_copy_from_count() {
    let school = School::active();
    for (who, from) in ROLES.into_iter().zip([1001, 2001]) {
        let mut session = school.session(who);
        let bulk = ["COPY FROM", "app.guardian", "critical", "bulk_write"];
        watch(&school, who, Refused, bulk, || copy_guardians(&mut session, from, 50));
        let few = ["COPY", "app.guardian", "normal", "write"];
        watch(&school, who, Allowed, few, || copy_guardians(&mut session, from, 49));
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian WHERE name = 'copied'"), 98);
}

fn rows_of_merge_count() {
    let school = School::active();
    let merge = "MERGE INTO app.student AS s USING generate_series(1, 50) AS n ON s.id = n
        WHEN MATCHED THEN UPDATE SET note = 'moved'";
    attack(&school, merge, Refused, ["MERGE", "app.student", "critical", "bulk_write"]);
    // What matches but does nothing is no row.
    for who in ROLES {
        let idle = format!(
            "MERGE INTO app.student AS s USING generate_series(1, 150) AS n ON s.id = n
            WHEN MATCHED AND s.id <= 49 THEN UPDATE SET note = '{who}' WHEN MATCHED THEN DO NOTHING"
        );
        attack_as(&school, who, &idle, Allowed, ["MERGE", "app.student", "normal", "write"]);
        assert_eq!(noted(&school, who), 49);
    }
}

fn rows_of_partitions_count_together() {
    let school = School::active();
    for who in ROLES {
        let spread = "UPDATE app.card_transaction SET amount = amount - 1000 WHERE id IN
            (SELECT id FROM app.card_transaction ORDER BY booked_on, id OFFSET 75 LIMIT 50)";
        attack_as(&school, who, spread, Refused, BULK_PAYMENT);
        let fewer = spread.replace("LIMIT 50", "LIMIT 49");
        attack_as(&school, who, &fewer, Allowed, ["UPDATE", "app.card_transaction", "normal", "write"]);
    }
    let touched = "SELECT count(DISTINCT tableoid) FROM app.card_transaction WHERE amount < 0";
    assert_eq!(school.ask::<i64>(touched), 2, "the rows must lie in both partitions");
}

fn a_direct_write_to_a_partition_counts_with_its_root() {
    let school = School::active();
    let by_root = "UPDATE app.card_transaction SET amount = -1 WHERE booked_on >= '2026-11-01' AND id IN
        (SELECT id FROM app.card_transaction_2026_11 ORDER BY id LIMIT 49)";
    let leaf = "UPDATE app.card_transaction_2026_10 SET amount = -1 WHERE id =
        (SELECT min(id) FROM app.card_transaction_2026_10)";
    for who in ROLES {
        refused_at_the_last(&school, who, &["BEGIN", by_root, leaf], BULK_PAYMENT);
    }
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute(&format!("BEGIN; {by_root}")).expect("49 rows");
    let error = expect_refused(teacher.batch_execute(leaf));
    assert!(error.detail().unwrap_or("").contains("50 rows"), "{error:?}");
}

fn rows_deleted_by_a_foreign_key_cascade_count() {
    let school = School::active();
    let said = ["DELETE", "app.guardian", "critical", "bulk_write"];
    attack(&school, "DELETE FROM app.student WHERE id = 200", Refused, said);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian WHERE student_id = 200"), 60);
    assert_eq!(school.records("result = 'DENIED'"), 2);
}

fn rows_that_on_conflict_do_nothing_skips_do_not_count() {
    let school = School::active();
    let insert = "INSERT INTO app.guardian SELECT n, 1, 'again' FROM generate_series(1, 160) AS n
        ON CONFLICT DO NOTHING";
    attack(&school, insert, Allowed, ["INSERT", "app.guardian", "normal", "write"]);
    let update = "INSERT INTO app.guardian SELECT n, 1, 'again' FROM generate_series(1, 160) AS n
        ON CONFLICT (id) DO UPDATE SET name = 'again'";
    attack(&school, update, Refused, ["INSERT", "app.guardian", "critical", "bulk_write"]);
}

fn rows_of_a_rolled_back_savepoint_are_taken_off() {
    let school = School::active();
    for who in ROLES {
        let forty = format!("UPDATE app.student SET note = '{who}' WHERE id <= 40");
        let mut session = school.session(who);
        for statement in ["BEGIN", "SAVEPOINT try", &forty, "ROLLBACK TO try", &forty, "COMMIT"] {
            session.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        assert_eq!(noted(&school, who), 40);
        let result = |result: &str| {
            school.records(&format!("user_id = '{who}' AND operation_type = 'UPDATE' AND result = '{result}'"))
        };
        assert_eq!((result("SUCCESS"), result("ROLLED_BACK")), (1, 1), "{who}");
    }
}

fn tables_are_counted_apart() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        session.batch_execute("BEGIN").expect("begin");
        session.batch_execute(&forty_nine(who)).expect("49 students");
        session.batch_execute("UPDATE app.guardian SET name = 'x' WHERE id <= 49").expect("49 guardians");
        session.batch_execute("COMMIT").expect("commit");
        let written = format!("user_id = '{who}' AND operation_type = 'UPDATE' AND rows = 49 AND result = 'SUCCESS'");
        assert_eq!(school.records(&written), 2);
    }
}

fn explain_does_not_count_but_explain_analyze_does() {
    let school = School::active();
    attack(&school, &format!("EXPLAIN {FIFTY}"), Allowed, ["UPDATE", "app.student", "normal", "read"]);
    attack(&school, &format!("EXPLAIN ANALYZE {FIFTY}"), Refused, BULK_UPDATE);
}

fn unprotected_tables_are_not_counted() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        session
            .batch_execute(
                "INSERT INTO app.scratch SELECT n, 'x' FROM generate_series(1, 500) AS n; DELETE FROM app.scratch",
            )
            .expect("nobody protected it");
        assert_eq!(ask::<i64>(&mut session, "SELECT count(*) FROM app.scratch"), 0);
    }
    assert_eq!(school.records("table_name = 'app.scratch'"), 0);
}
