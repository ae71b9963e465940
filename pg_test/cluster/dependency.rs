//! Nothing that an operation depends on changes between its approval and its execution.

use postgres::error::SqlState;

use crate::expect::expect_message;
use crate::school::{School, execute};

tests! {
    a_function_replaced_after_the_approval_ends_it,
    a_function_behind_a_function_counts,
    a_view_redefined_after_the_approval_ends_it,
    a_trigger_added_after_the_approval_ends_it,
    an_old_snapshot_hides_no_change,
    a_vote_on_what_has_changed_is_refused,
    code_that_is_not_reached_may_change,
    a_new_partition_changes_nothing,
    what_a_run_has_changed_itself_is_approved_anew,
    a_function_that_was_another_for_a_moment_undoes_the_run,
    a_function_replaced_while_it_runs_undoes_the_run,
    the_records_name_the_policy_version,
}

const CODE: &str = "CREATE FUNCTION app.helper(note text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN note; END';
    CREATE FUNCTION app.move(upto int) RETURNS void LANGUAGE plpgsql
        AS 'BEGIN UPDATE app.student SET note = app.helper(''moved'') WHERE id <= upto; END';
    CREATE FUNCTION app.other() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TABLE app.gate (id int); GRANT ALL ON app.gate TO region_chen;
    CREATE VIEW app.first AS SELECT * FROM app.student WHERE id <= 60";

fn school() -> School {
    let school = School::inactive();
    school.superuser().batch_execute(CODE).expect("code");
    school
        .superuser()
        .batch_execute("GRANT SELECT, UPDATE ON app.first TO region_chen; SELECT steward.activate()")
        .expect("active");
    school
}

/// After the approval the attacker changes something; the run must be refused and name it.
fn ends_the_approval(script: &str, attack: &str, detail: &str) {
    let school = school();
    let op_no = school.request("region_chen", script);
    school.release(&op_no);
    school.superuser().batch_execute(attack).unwrap_or_else(|error| panic!("{attack}: {error:?}"));
    let message = format!("what {op_no} depends on has changed since it was filed");
    let refused = execute(&mut school.session("region_chen"), &op_no);
    let error = expect_message(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    assert_eq!(error.detail(), Some(detail));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

fn a_function_replaced_after_the_approval_ends_it() {
    ends_the_approval(
        "SELECT app.move(60)",
        "CREATE OR REPLACE FUNCTION app.move(upto int) RETURNS void LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.student; END'",
        "function app.helper(text) is gone; function app.move(integer) was changed.",
    );
}

fn a_function_behind_a_function_counts() {
    ends_the_approval(
        "SELECT app.move(60)",
        "CREATE OR REPLACE FUNCTION app.helper(note text) RETURNS text LANGUAGE sql AS 'SELECT ''stolen'''",
        "function app.helper(text) was changed.",
    );
    ends_the_approval(
        "SELECT app.move(60)",
        "CREATE FUNCTION app.helper(note varchar) RETURNS text LANGUAGE sql AS 'SELECT ''stolen'''",
        "function app.helper(character varying) is new.",
    );
}

fn a_view_redefined_after_the_approval_ends_it() {
    ends_the_approval(
        "UPDATE app.first SET note = 'moved'",
        "CREATE OR REPLACE VIEW app.first AS SELECT * FROM app.student WHERE id > 60",
        "view app.first was changed.",
    );
}

fn a_trigger_added_after_the_approval_ends_it() {
    let school = school();
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    school.release(&op_no);
    school
        .superuser()
        .batch_execute("CREATE FUNCTION app.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        .expect("function");
    school.operate("postgres", "CREATE TRIGGER t BEFORE UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION app.t()");
    let message = format!("what {op_no} depends on has changed since it was filed");
    let refused = execute(&mut school.session("region_chen"), &op_no);
    let error = expect_message(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    assert_eq!(error.detail(), Some("table app.student was changed; function app.t() is new."));
}

/// The trigger would fire: which there are is not asked of the transaction's snapshot.
fn an_old_snapshot_hides_no_change() {
    let school = school();
    let mut wu = school.superuser();
    let script = "INSERT INTO app.scratch VALUES (1, 'x'); UPDATE app.student SET note = 'moved' WHERE id <= 60";
    let op_no = crate::school::request(&mut wu, script, "");
    school.release(&op_no);
    wu.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM app.scratch")
        .expect("an old snapshot");
    let trigger = "CREATE FUNCTION app.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.guardian; RETURN NULL; END';
        CREATE TRIGGER t AFTER INSERT ON app.scratch FOR EACH ROW EXECUTE FUNCTION app.t()";
    school.superuser().batch_execute(trigger).expect("an unprotected table");
    let message = format!("what {op_no} depends on has changed since it was filed");
    let error = expect_message(execute(&mut wu, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    assert_eq!(error.detail(), Some("table app.scratch was changed; function app.t() is new."));
}

fn a_vote_on_what_has_changed_is_refused() {
    let school = school();
    let op_no = school.request("region_chen", "SELECT app.move(60)");
    school.superuser().batch_execute("ALTER FUNCTION app.move(int) SECURITY DEFINER").expect("alter");
    let message = format!("what {op_no} depends on has changed since it was filed");
    let refused = school.vote("reviewer_sun", "approve", &op_no);
    expect_message(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
}

fn code_that_is_not_reached_may_change() {
    let school = school();
    let op_no = school.request("region_chen", "SELECT app.move(60)");
    school.release(&op_no);
    let harmless =
        "CREATE OR REPLACE FUNCTION app.other() RETURNS int LANGUAGE sql AS 'SELECT 2'; CREATE TABLE app.more (id int);
        CREATE TEMP TABLE student (id int); ALTER TABLE app.scratch ADD COLUMN more int";
    school.superuser().batch_execute(harmless).expect("harmless");
    execute(&mut school.session("region_chen"), &op_no).expect("execute");
    let listed =
        format!("SELECT array_agg(object ORDER BY object) FROM steward.operation_dependency WHERE op_no = '{op_no}'");
    assert_eq!(
        school.ask::<Vec<String>>(&listed),
        [
            "function app.helper(text)",
            "function app.move(integer)",
            "table app.guardian",
            "table app.school",
            "table app.student"
        ],
        "foreign keys reach their tables",
    );
}

fn a_new_partition_changes_nothing() {
    let school = school();
    let op_no = school.request("region_chen", "UPDATE app.card_transaction SET amount = 0 WHERE id <= 60");
    school.release(&op_no);
    let month = "CREATE TABLE app.card_transaction_2026_12 PARTITION OF app.card_transaction FOR VALUES FROM ('2026-12-01') TO ('2027-01-01')";
    school.superuser().batch_execute(month).expect("important work, which runs and waits for its review");
    execute(&mut school.session("region_chen"), &op_no).expect("execute");
}

fn what_a_run_has_changed_itself_is_approved_anew() {
    let school = school();
    let mut wu = school.superuser();
    let script = "CREATE OR REPLACE FUNCTION app.helper(note text) RETURNS text LANGUAGE sql AS 'SELECT note || clock_timestamp()';
        UPDATE app.student SET note = app.helper('x') WHERE id <= 60";
    let op_no = crate::school::request(&mut wu, script, ", runs => 2");
    school.release(&op_no);
    execute(&mut wu, &op_no).expect("execute");
    let again = school.vote("region_liu", "confirm", &op_no);
    let message = format!("what {op_no} depends on has changed since it was filed");
    expect_message(again, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
}

fn a_function_that_was_another_for_a_moment_undoes_the_run() {
    let school = school();
    let op_no = school.request("region_chen", "LOCK TABLE app.gate; SELECT app.move(60)");
    school.release(&op_no);
    let mut attacker = school.superuser();
    let helper = |body: &str| {
        format!("CREATE OR REPLACE FUNCTION app.helper(note text) RETURNS text LANGUAGE sql AS 'SELECT {body}'")
    };
    attacker.batch_execute("BEGIN; LOCK TABLE app.gate").expect("lock");
    let mut chen = school.session("region_chen");
    let run = std::thread::spawn({
        let op_no = op_no.clone();
        move || execute(&mut chen, &op_no)
    });
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'app.gate'::regclass";
    crate::failover::wait_until(&school, waits);
    attacker.batch_execute(&format!("{}; COMMIT", helper("''stolen''"))).expect("replace");
    let message = format!("what {op_no} depends on has changed since it was filed");
    expect_message(run.join().expect("thread"), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

fn a_function_replaced_while_it_runs_undoes_the_run() {
    let school = school();
    let op_no = school.request("region_chen", "SELECT pg_catalog.pg_sleep(2); SELECT app.move(60)");
    school.release(&op_no);
    let mut chen = school.session("region_chen");
    let run = std::thread::spawn({
        let op_no = op_no.clone();
        move || execute(&mut chen, &op_no)
    });
    std::thread::sleep(std::time::Duration::from_millis(700));
    let attack = "CREATE OR REPLACE FUNCTION app.helper(note text) RETURNS text LANGUAGE sql AS 'SELECT ''stolen'''";
    school.superuser().batch_execute(attack).expect("attack");
    let message = format!("what {op_no} depends on has changed since it was filed");
    expect_message(run.join().expect("thread"), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

fn the_records_name_the_policy_version() {
    let school = school();
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    school.release(&op_no);
    school.operate(
        "postgres",
        "SELECT steward.set_rule('more', 'important', commands => '{READ}', relation_pattern => '^nothing$')",
    );
    execute(&mut school.session("region_chen"), &op_no)
        .expect("a policy that demands no more does not end an approval");
    let versions = format!(
        "SELECT count(DISTINCT details::json ->> 'policy') FROM steward.audit_log WHERE op_no = '{op_no}' AND operation_type IN ('REQUEST', 'EXECUTE')"
    );
    school.flush_audit();
    assert_eq!(school.ask::<i64>(&versions), 2);
}
