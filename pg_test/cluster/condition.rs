//! Conditions of the server: what lasts too long is on record once, and so is its end; the alert names what it is about,
//! and nobody's lock holds the chain up over it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::school::School;

tests! {
    what_lasts_too_long_is_told_once_and_so_is_its_end,
    a_standby_that_does_not_follow_is_told,
    the_age_of_backups_and_of_the_archive_is_told,
    holidays_count_for_a_rule_that_says_so,
}

/// Waits until the superuser's question has this answer.
#[track_caller]
fn wait(school: &School, question: &str, answer: i64) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while school.ask::<i64>(question) != answer {
        assert!(Instant::now() < deadline, "{question}: {}", school.ask::<i64>(question));
        sleep(Duration::from_millis(200));
    }
}

fn told(condition: &str, ending: &str) -> String {
    format!("SELECT count(*) FROM steward.audit_log WHERE operation_type = '{condition}' AND result = '{ending}'")
}

fn what_lasts_too_long_is_told_once_and_so_is_its_end() {
    let school = School::with(
        "enforce",
        &[
            "archive_mode = on",
            "archive_command = 'false'",
            "synchronous_standby_names = 'FIRST 1 (gone)'",
            "synchronous_commit = local",
            "log_min_messages = log",
        ],
    );
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "SELECT steward.set_alert_condition(name, '1 second') FROM steward.alert_condition WHERE name IN ('ARCHIVE FAILING', 'ARCHIVE LATE');
            SELECT steward.set_alert_condition('VERIFICATION OVERDUE', enabled => false);
            SELECT steward.set_job('revoke_lapsed', max_age => '1 second');
            SELECT pg_switch_wal()",
        )
        .expect("terms");
    for condition in ["ARCHIVE FAILING", "ARCHIVE LATE", "JOB OVERDUE", "STANDBY MISSING"] {
        wait(&school, &told(condition, "FAILURE"), 1);
    }
    officer
        .batch_execute("SELECT steward.set_job('revoke_lapsed', max_age => '1 hour')")
        .expect("its whole term again");
    wait(&school, &told("JOB OVERDUE", "SUCCESS"), 1);
    let subjects = "SELECT string_agg(concat_ws(' ', rule, level, subject), ', ' ORDER BY rule)
        FROM steward.alert WHERE rule !~ 'off_hours|slow_statement|many_'";
    school.flush_audit();
    assert_eq!(
        school.ask::<String>(subjects),
        "archive_late important archive, missed_job important revoke_lapsed, standby_missing major gone"
    );
    // Somebody who holds what the sequencer knows holds up neither the chain nor other records, for all of three looks.
    let mut slow = school.superuser();
    slow.batch_execute("BEGIN; LOCK TABLE steward._condition, steward.alert_condition").expect("lock");
    let sequencer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_steward sequencer'";
    let before: i32 = school.ask(sequencer);
    for mend in ["archive_command = 'true'", "synchronous_standby_names = ''"] {
        officer.batch_execute(&format!("ALTER SYSTEM SET {mend}")).expect("mended");
    }
    school.reload();
    let until = Instant::now() + Duration::from_secs(11);
    while Instant::now() < until {
        let began = Instant::now();
        school.flush_audit();
        assert!(began.elapsed() < Duration::from_secs(10), "the chain waited {:?}", began.elapsed());
        sleep(Duration::from_millis(500));
    }
    assert_eq!(school.ask::<i64>(&told("ARCHIVE LATE", "SUCCESS")), 0, "told although nothing could be known");
    slow.batch_execute("ROLLBACK").expect("rollback");
    for condition in ["ARCHIVE FAILING", "ARCHIVE LATE", "STANDBY MISSING"] {
        wait(&school, &told(condition, "SUCCESS"), 1);
        assert_eq!(school.ask::<i64>(&told(condition, "FAILURE")), 1, "{condition}");
    }
    assert_eq!(school.ask::<i32>(sequencer), before, "the sequencer ended");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward._condition"), 0);
}

fn a_standby_that_does_not_follow_is_told() {
    let school = School::with("enforce", &["wal_level = replica", "max_wal_senders = 4"]);
    let mut standby = school.standby(&["recovery_min_apply_delay = '1h'"]);
    wait(&school, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", 1);
    let began = Instant::now();
    school.superuser().batch_execute("UPDATE app.student SET note = 'behind' WHERE id = 7").expect("update");
    wait(&school, &told("REPLICATION LAG", "FAILURE"), 1);
    println!("count: condition: a lag of 5 s told {} s after it began", began.elapsed().as_secs());
    assert!(began.elapsed() > Duration::from_secs(5), "before it was one");
    school.flush_audit();
    // Asking so often raises one of its own.
    let alert = "SELECT concat_ws(' ', rule, subject, times) FROM steward.alert
        WHERE rule !~ 'off_hours|slow_statement|many_operations'";
    assert_eq!(school.ask::<String>(alert), "replication_lag standby 1");
    standby.stop();
    wait(&school, &told("REPLICATION LAG", "SUCCESS"), 1);
}

/// What fills a segment waits in no line for the archive, and a backup that nobody made leaves no trace: only age tells.
fn the_age_of_backups_and_of_the_archive_is_told() {
    let mut school = School::with("enforce", &["archive_mode = on", "archive_command = 'true'"]);
    let mut officer = school.superuser();
    for off_site in [false, true] {
        let backup = format!(
            "SELECT steward.register_backup('full', 'B1', '/backup', {off_site}, 1000, repeat('5f', 32), '0/1000000',
                pg_current_wal_lsn(), now() - interval '5 min', now())"
        );
        officer.execute(&backup, &[]).expect("backup");
    }
    // Not active yet, the policy lets its owner do that. The term is 26 hours, and each kind has its own backups.
    let age =
        "UPDATE steward._record SET done_at = done_at - interval '25 h', recorded_at = recorded_at - interval '25 h'";
    officer.batch_execute(age).expect("a day ago");
    officer
        .batch_execute(
            "SELECT steward.set_alert_condition('ARCHIVE AGE', '1 second');
            SELECT pg_create_physical_replication_slot('gone', true)",
        )
        .expect("term");
    wait(&school, &told("STANDBY MISSING", "FAILURE"), 1);
    wait(&school, &told("ARCHIVE AGE", "FAILURE"), 1);
    assert_eq!(school.ask::<i64>(&told("BACKUP OVERDUE", "FAILURE")), 0, "25 hours are none too many");
    officer.batch_execute(&format!("{} WHERE kind = 'off_site_backup'", age.replace("25 h", "2 h"))).expect("older");
    wait(&school, &told("BACKUP OVERDUE", "FAILURE"), 1);
    let alerts =
        "SELECT string_agg(concat_ws(' ', rule, level, times, split_part(subject, ' after', 1)), ', ' ORDER BY rule)
        FROM steward.alert WHERE rule ~ 'archive|backup'";
    school.flush_audit();
    assert_eq!(
        school.ask::<String>(alerts),
        "archive_late important 1 archive, backup_late important 1 off_site_backup"
    );
    // A restart begins no new case, and ends none. Whoever stops a server archives what it wrote.
    officer.batch_execute("SELECT steward.set_alert_condition('ARCHIVE AGE', '1 hour')").expect("term");
    drop(officer);
    school.restart();
    wait(&school, &told("ARCHIVE AGE", "SUCCESS"), 1);
    assert_eq!(school.ask::<i64>(&told("BACKUP OVERDUE", "FAILURE")), 1);
    for lasting in ["BACKUP OVERDUE", "STANDBY MISSING"] {
        assert_eq!(school.ask::<i64>(&told(lasting, "SUCCESS")), 0, "{lasting}");
    }
    let mut officer = school.superuser();
    officer.batch_execute("UPDATE steward._record SET done_at = now(), recorded_at = now()").expect("a new one");
    wait(&school, &told("BACKUP OVERDUE", "SUCCESS"), 1);
    // Where nobody wants a copy elsewhere, nobody misses it.
    officer
        .batch_execute(&format!(
            "{}; UPDATE steward.record_kind SET needed_subjects = '{{}}' WHERE name = 'off_site_backup'",
            age.replace("25 h", "30 h")
        ))
        .expect("older");
    wait(&school, &told("BACKUP OVERDUE", "FAILURE"), 2);
    assert_eq!(
        school.ask::<String>("SELECT string_agg(subject, ' ') FROM steward._condition WHERE name = 'BACKUP OVERDUE'"),
        "backup"
    );
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.alert WHERE rule = 'archive_late'"), 1, "an hour");
}

fn holidays_count_for_a_rule_that_says_so() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "SELECT steward.set_alert_rule('rest', 'minor', operation_types => '{SELECT}', posts => '{teacher}', free_days => true);
            SELECT steward.set_alert_rule('off_hours', 'minor', enabled => false)",
        )
        .expect("rule");
    let alerts = || school.ask::<i64>("SELECT coalesce(sum(times), 0)::bigint FROM steward.alert WHERE rule = 'rest'");
    let mut teacher = school.session("teacher_wang");
    let mut read = || {
        teacher.batch_execute("SELECT name FROM app.student WHERE id = 7").expect("read");
        school.flush_audit();
        alerts()
    };
    // Yesterday and tomorrow too: midnight may come.
    let mut days = |what: &str| {
        let day = "SELECT steward.set_holiday((now() AT TIME ZONE current_setting('steward.time_zone'))::date + n";
        officer.batch_execute(&format!("{day}, {what}) FROM generate_series(-1, 1) n")).expect("calendar");
    };
    days("false, 'work'");
    assert_eq!(read(), 0, "a day of work");
    days("true, 'feast'");
    assert_eq!(read(), 1, "the same day, as a holiday");
    days("false, 'work'");
    assert_eq!(read(), 1);
    officer
        .batch_execute("SELECT steward.drop_holiday(day) FROM steward.holiday; SELECT steward.activate()")
        .expect("active");
    for call in [
        "SELECT steward.set_holiday('2026-10-01', true, 'feast')",
        "SELECT steward.drop_holiday('2026-10-01')",
        "SELECT steward.set_alert_condition('ARCHIVE LATE', enabled => false)",
        "UPDATE steward.alert_condition SET longer_than = '1 year'",
        "INSERT INTO steward.holiday VALUES ('2026-10-01', true, 'feast')",
        "DELETE FROM steward._condition",
    ] {
        for login in ["postgres", "auditor_qian", "security_han"] {
            assert!(school.session(login).batch_execute(call).is_err(), "{login}: {call}");
        }
    }
}
