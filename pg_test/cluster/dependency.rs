//! Nothing that an operation depends on changes between its approval and its execution.

use postgres::error::SqlState;

use crate::expect::expect_message;
use crate::school::{School, execute, request};

tests! {
    an_index_with_an_operator_class_of_somebodys_counts,
    statistics_over_an_expression_count,
    a_collation_made_anew_counts,
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
    a_function_behind_an_operator_counts,
    a_function_behind_a_cast_counts,
    a_function_behind_a_domain_counts,
    a_domain_with_a_new_check_counts,
    a_function_behind_a_policy_and_a_default_counts,
    a_name_in_escapes_hides_nothing,
    a_locked_table_makes_nobody_wait,
    a_trigger_of_a_partition_counts,
    a_check_of_a_partition_counts,
    no_setting_of_a_session_changes_what_an_operation_depends_on,
    the_policy_version_is_the_same_in_every_session,
    a_whole_script_that_defines_something_runs_nobody_elses_code,
    a_function_is_held_while_a_whole_script_defines_something,
    a_whole_script_may_use_what_it_makes,
}

const CODE: &str = "CREATE FUNCTION app.helper(note text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN note; END';
    CREATE FUNCTION app.move(upto int) RETURNS void LANGUAGE plpgsql
        AS 'BEGIN UPDATE app.student SET note = app.helper(''moved'') WHERE id <= upto; END';
    CREATE FUNCTION app.other() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TABLE app.gate (id int); GRANT ALL ON app.gate TO region_chen;
    CREATE VIEW app.first AS SELECT * FROM app.student WHERE id <= 60";

/// Functions that nobody names: an operator, a cast, a domain, a default and a policy call them.
const UNNAMED: &str = "CREATE FUNCTION app.same(a text, b text) RETURNS boolean LANGUAGE sql AS 'SELECT $1 = $2';
    CREATE OPERATOR app.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = app.same);
    CREATE TYPE app.label AS (word text);
    CREATE FUNCTION app.labelled(a text) RETURNS app.label LANGUAGE sql AS 'SELECT ROW($1)::app.label';
    CREATE CAST (text AS app.label) WITH FUNCTION app.labelled(text);
    CREATE FUNCTION app.checked(a text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
    CREATE DOMAIN app.word AS text CHECK (app.checked(VALUE));
    CREATE FUNCTION app.visible(a int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
    CREATE FUNCTION app.given() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
    CREATE TABLE app.seen (id int DEFAULT app.given());
    CREATE POLICY p ON app.seen USING (app.visible(id) AND EXISTS (SELECT FROM app.school))";

/// Another body for a function of one argument or two.
fn replaced(signature: &str, result: &str, body: &str) -> String {
    format!("CREATE OR REPLACE FUNCTION {signature} RETURNS {result} LANGUAGE sql AS 'SELECT {body}'")
}

#[track_caller]
fn unnamed_ends_the_approval(script: &str, attack: &str, detail: &str) {
    let school = School::inactive();
    school.superuser().batch_execute(&format!("{UNNAMED}; SELECT steward.activate()")).expect("code");
    let op_no = school.request("postgres", script);
    school.release(&op_no);
    school.superuser().batch_execute(attack).unwrap_or_else(|error| panic!("{attack}: {error:?}"));
    let message = format!("what {op_no} depends on has changed since it was filed");
    let refused = execute(&mut school.superuser(), &op_no);
    let error = expect_message(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    assert!(error.detail().is_some_and(|text| text.contains(detail)), "{error:?}");
}

fn a_function_behind_an_operator_counts() {
    let attack = replaced("app.same(a text, b text)", "boolean", "true");
    let script = "DELETE FROM app.guardian WHERE name OPERATOR(app.===) 'guardian 1'";
    unnamed_ends_the_approval(script, &attack, "function app.same(text,text) was changed");
}

fn a_function_behind_a_cast_counts() {
    let attack = replaced("app.labelled(a text)", "app.label", "ROW(''stolen'')::app.label");
    let script = "DELETE FROM app.guardian WHERE id <= 60; SELECT CAST('x'::text AS app.label)";
    unnamed_ends_the_approval(script, &attack, "function app.labelled(text) was changed");
}

fn a_function_behind_a_domain_counts() {
    let attack = "CREATE OR REPLACE FUNCTION app.checked(a text) RETURNS boolean LANGUAGE plpgsql
        AS 'BEGIN DELETE FROM app.scratch; RETURN true; END'";
    let script = "UPDATE app.student SET note = 'x'::app.word WHERE id <= 60";
    unnamed_ends_the_approval(script, attack, "function app.checked(text) was changed");
}

fn a_domain_with_a_new_check_counts() {
    let attack = "ALTER DOMAIN app.word ADD CHECK (VALUE <> 'y')";
    unnamed_ends_the_approval(
        "UPDATE app.student SET note = 'x'::app.word WHERE id <= 60",
        attack,
        "type app.word was changed",
    );
}

fn a_function_behind_a_policy_and_a_default_counts() {
    let script = "TRUNCATE app.guardian; INSERT INTO app.seen DEFAULT VALUES";
    let plpgsql = |signature: &str, result: &str, value: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION {signature} RETURNS {result} LANGUAGE plpgsql AS 'BEGIN RETURN {value}; END'"
        )
    };
    let visible = plpgsql("app.visible(a int)", "boolean", "false");
    unnamed_ends_the_approval(script, &visible, "function app.visible(integer) was changed");
    let given = plpgsql("app.given()", "int", "2");
    unnamed_ends_the_approval(script, &given, "function app.given() was changed");
}

fn a_name_in_escapes_hides_nothing() {
    ends_the_approval_naming(
        r#"SELECT app.U&"\006dove"(60)"#,
        "CREATE OR REPLACE FUNCTION app.move(upto int) RETURNS void LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.student; END'",
        "function app.move(integer) was changed",
    );
}

/// Whoever locks a table of their own must not keep everybody from filing.
fn a_locked_table_makes_nobody_wait() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE TABLE app.own (id int PRIMARY KEY DEFAULT 1 CHECK (id > 0)); CREATE VIEW app.on_top AS SELECT * FROM app.own;
            CREATE FUNCTION app.read() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM app.own; END;
            CREATE POLICY p ON app.own USING (EXISTS (SELECT FROM app.own)); CREATE INDEX ON app.own ((id + 1));
            CREATE RULE r AS ON DELETE TO app.on_top DO INSTEAD DELETE FROM app.own;
            ALTER TABLE app.own OWNER TO teacher_wang; SELECT steward.activate()",
        )
        .expect("a table of a teacher's");
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("BEGIN; LOCK TABLE app.own IN ACCESS EXCLUSIVE MODE").expect("it is the teacher's own");
    let mut chen = school.session("region_chen");
    chen.batch_execute("SET statement_timeout = '20s'").expect("set");
    let op_no = crate::school::request(&mut chen, "UPDATE app.student SET note = 'moved' WHERE id <= 60", "");
    school.release(&op_no);
    execute(&mut chen, &op_no).expect("nobody waits for the teacher");
}

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
    assert_eq!(refused_after(script, attack), detail);
}

/// The same where more than this has to be named.
#[track_caller]
fn ends_the_approval_naming(script: &str, attack: &str, named: &str) {
    let detail = refused_after(script, attack);
    assert!(detail.contains(named), "{detail}");
}

fn refused_after(script: &str, attack: &str) -> String {
    let school = school();
    let op_no = school.request("region_chen", script);
    school.release(&op_no);
    school.superuser().batch_execute(attack).unwrap_or_else(|error| panic!("{attack}: {error:?}"));
    let message = format!("what {op_no} depends on has changed since it was filed");
    let refused = execute(&mut school.session("region_chen"), &op_no);
    let error = expect_message(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    error.detail().unwrap_or_default().to_owned()
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

/// A partitioned table that nobody protects, and a function that would fire for rows written to its root.
const PARTED: &str = "CREATE TABLE app.parted (id int) PARTITION BY RANGE (id);
    CREATE TABLE app.parted_low PARTITION OF app.parted FOR VALUES FROM (0) TO (100);
    CREATE FUNCTION app.fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION app.checks(id int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END'";

#[track_caller]
fn parted_ends_the_approval(attack: &str) {
    let school = School::inactive();
    school.superuser().batch_execute(&format!("{PARTED}; SELECT steward.activate()")).expect("code");
    let op_no = school.request("postgres", "INSERT INTO app.parted VALUES (1); TRUNCATE app.guardian");
    school.release(&op_no);
    school.superuser().batch_execute(attack).unwrap_or_else(|error| panic!("{attack}: {error:?}"));
    let message = format!("what {op_no} depends on has changed since it was filed");
    let refused = execute(&mut school.superuser(), &op_no);
    let error = expect_message(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
    assert!(error.detail().is_some_and(|text| text.contains("table app.parted was changed")), "{error:?}");
}

/// Rows for the root are written to its partitions.
fn a_trigger_of_a_partition_counts() {
    let attack = "CREATE TRIGGER t BEFORE INSERT ON app.parted_low FOR EACH ROW EXECUTE FUNCTION app.fires()";
    parted_ends_the_approval(attack);
}

fn a_check_of_a_partition_counts() {
    parted_ends_the_approval("ALTER TABLE app.parted_low ADD CHECK (app.checks(id))");
    parted_ends_the_approval("CREATE INDEX ON app.parted_low ((id + 1))");
}

const ODD_SETTINGS: [&str; 10] = [
    "quote_all_identifiers = on",
    "extra_float_digits = -15",
    "bytea_output = 'escape'",
    "standard_conforming_strings = off",
    "search_path = app, public",
    "DateStyle = 'German'",
    "IntervalStyle = 'iso_8601'",
    "TimeZone = 'Pacific/Kiritimati'",
    "lc_monetary = 'C.UTF-8'",
    "xmlbinary = 'hex'",
];

/// Who looks with other settings sees the same; what is another is another whoever looks.
fn no_setting_of_a_session_changes_what_an_operation_depends_on() {
    let school = School::inactive();
    let code = r"CREATE FUNCTION app.Odd(a text) RETURNS text LANGUAGE sql COST 0.123456 AS 'SELECT $1';
        CREATE FUNCTION app.fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TABLE app.gate (id int, price money DEFAULT 12.5, at timestamptz DEFAULT '2026-01-01 00:00+00', note text);
        CREATE TRIGGER t BEFORE INSERT ON app.gate FOR EACH ROW EXECUTE FUNCTION app.fires('a\\b', E'\\001');
        CREATE AGGREGATE app.longest(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
        CREATE POLICY p ON app.gate TO region_chen USING (note <> '\\'); GRANT ALL ON app.gate TO region_chen;
        SELECT steward.activate()";
    school.superuser().batch_execute(code).expect("code");
    let script = "INSERT INTO app.gate (note) SELECT app.odd(app.longest(name)) FROM app.student WHERE id <= 3";
    let odd = || {
        let mut odd = school.session("region_chen");
        ODD_SETTINGS.iter().for_each(|set| odd.batch_execute(&format!("SET {set}")).expect(set));
        odd
    };
    let plain = || school.session("region_chen");
    let dependencies = |op_no: &str| {
        let all = format!(
            "SELECT string_agg(object || ' ' || digest, ', ' ORDER BY object) FROM steward.operation_dependency
            WHERE op_no = '{op_no}'"
        );
        school.ask::<String>(&all)
    };
    let (by_odd, by_plain) = (request(&mut odd(), script, ""), request(&mut plain(), script, ""));
    assert!(dependencies(&by_odd).contains("function app.odd(text)"), "{}", dependencies(&by_odd));
    assert_eq!(dependencies(&by_odd), dependencies(&by_plain));
    for op_no in [&by_odd, &by_plain] {
        school.release(op_no);
    }
    execute(&mut plain(), &by_odd).expect("filed with odd settings");
    execute(&mut odd(), &by_plain).expect("executed with odd settings");
    // And a change ends it, whatever its session makes of the texts.
    let changed = request(&mut odd(), script, "");
    school.release(&changed);
    school.superuser().batch_execute("ALTER FUNCTION app.odd(text) COST 0.123457").expect("alter");
    let message = format!("what {changed} depends on has changed since it was filed");
    expect_message(execute(&mut odd(), &changed), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
}

fn the_policy_version_is_the_same_in_every_session() {
    let school = school();
    let mut session = school.session("region_chen");
    for set in ODD_SETTINGS {
        session.batch_execute(&format!("SET {set}")).expect(set);
        request(&mut session, "SELECT 1", "");
    }
    school.request("region_chen", "SELECT 1");
    school.flush_audit();
    let versions =
        "SELECT count(DISTINCT details::json ->> 'policy') FROM steward.audit_log WHERE operation_type = 'REQUEST'";
    assert_eq!(school.ask::<i64>(versions), 1);
}

/// A script that defines something and then calls a function waits for a lock of the attacker's while he acts.
fn while_a_script_waits(attack: impl FnOnce(&mut postgres::Client)) -> (School, Result<i64, postgres::Error>) {
    let school = school();
    let script = "CREATE TABLE app.made (id int); LOCK TABLE app.gate; SELECT app.move(60)";
    let op_no = school.request("postgres", script);
    school.release(&op_no);
    let mut holder = school.session("region_chen");
    // Beside what holds the table while the run defines something.
    holder.batch_execute("BEGIN; LOCK TABLE app.gate IN ROW EXCLUSIVE MODE").expect("lock");
    let mut superuser = school.superuser();
    let run = std::thread::spawn(move || execute(&mut superuser, &op_no));
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'app.gate'::regclass";
    crate::failover::wait_until(&school, waits);
    attack(&mut school.superuser());
    holder.batch_execute("COMMIT").expect("commit");
    (school, run.join().expect("no panic"))
}

fn a_whole_script_that_defines_something_runs_nobody_elses_code() {
    let (school, run) = while_a_script_waits(|attacker| {
        let overload = "CREATE FUNCTION app.helper(note varchar) RETURNS text LANGUAGE sql AS 'SELECT ''stolen'''";
        attacker.batch_execute(overload).expect("a function of its name");
    });
    let refused = crate::expect::db_error(run);
    assert!(refused.message().contains("has changed since it was filed"), "{refused:?}");
    let named = "function app.helper(character varying) is new";
    assert!(refused.detail().is_some_and(|text| text.contains(named)), "{refused:?}");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    assert!(school.ask::<bool>("SELECT to_regclass('app.made') IS NULL"));
}

fn a_function_is_held_while_a_whole_script_defines_something() {
    let (school, run) = while_a_script_waits(|attacker| {
        attacker.batch_execute("SET lock_timeout = '1s'").expect("set");
        for attack in [
            "CREATE OR REPLACE FUNCTION app.helper(note text) RETURNS text LANGUAGE sql AS 'SELECT ''stolen'''",
            "ALTER FUNCTION app.move(int) SECURITY DEFINER",
            "DROP FUNCTION app.move(int)",
            "CREATE TRIGGER t BEFORE UPDATE ON app.gate FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ] {
            let refused = crate::expect::db_error(attacker.batch_execute(attack));
            assert_eq!(refused.code(), &SqlState::LOCK_NOT_AVAILABLE, "{attack}: {refused:?}");
        }
    });
    run.expect("what was approved");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'moved'"), 60);
    school.superuser().batch_execute("ALTER FUNCTION app.move(int) SECURITY DEFINER").expect("it is held no more");
}

fn a_whole_script_may_use_what_it_makes() {
    let school = school();
    let script = "CREATE TYPE app.mood AS ENUM ('good'); CREATE DOMAIN app.small AS int CHECK (VALUE < 9);
        CREATE FUNCTION app.made(a int) RETURNS app.small LANGUAGE sql AS 'SELECT ($1 % 9)::app.small';
        CREATE OPERATOR app.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
        CREATE TABLE app.moods (mood app.mood, size app.small); ALTER DOMAIN app.small ADD CHECK (VALUE > -9);
        CREATE VIEW app.on_top AS SELECT * FROM app.moods; INSERT INTO app.on_top VALUES ('good', app.made(3));
        CREATE FUNCTION app.told() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
        CREATE EVENT TRIGGER told ON ddl_command_end WHEN TAG IN ('CREATE AGGREGATE') EXECUTE FUNCTION app.told();
        DO $$BEGIN CREATE FUNCTION app.inner_one() RETURNS int LANGUAGE sql AS 'SELECT 1';
            EXCEPTION WHEN OTHERS THEN RAISE NOTICE 'none'; END$$;
        ALTER FUNCTION app.helper(text) STRICT;
        CREATE OR REPLACE FUNCTION app.other() RETURNS int LANGUAGE sql AS 'SELECT 2'";
    let op_no = school.operate("postgres", script);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.moods"), 1);
    school.flush_audit();
    let changes = format!(
        "SELECT details::json ->> 'changes' FROM steward.audit_log WHERE op_no = '{op_no}' AND operation_type = 'EXECUTE'"
    );
    let changes: String = school.ask(&changes);
    for change in [
        "type app.mood is new",
        "event trigger told is new",
        "function app.helper(text) was changed",
        "view app.on_top is new",
        "function app.inner_one() is new",
    ] {
        assert!(changes.contains(change), "{change}: {changes}");
    }
    let drops = "ALTER DOMAIN app.small DROP CONSTRAINT small_check; DROP EVENT TRIGGER told; DROP VIEW app.on_top";
    school.operate("postgres", drops);
}

const THIRD: &str = "DELETE FROM app.guardian WHERE name = 'guardian 1'";

fn an_index_with_an_operator_class_of_somebodys_counts() {
    let school = School::inactive();
    let class = "CREATE FUNCTION app.cmp(text, text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN bttextcmp($1, $2); END';
        CREATE OPERATOR CLASS app.ops FOR TYPE text USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=,
            OPERATOR 5 >, FUNCTION 1 app.cmp(text, text);
        CREATE INDEX ON app.guardian (name app.ops); SELECT steward.activate()";
    school.superuser().batch_execute(class).expect("an operator class");
    let changed = |attack: &str, what: &str| {
        let op_no = school.request("postgres", THIRD);
        school.release(&op_no);
        school.superuser().batch_execute(attack).unwrap_or_else(|error| panic!("{attack}: {error:?}"));
        let message = format!("what {op_no} depends on has changed since it was filed");
        let refused = execute(&mut school.superuser(), &op_no);
        let error = expect_message(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
        assert!(error.detail().is_some_and(|text| text.contains(what)), "{error:?}");
    };
    changed(&replaced("app.cmp(text, text)", "int", "0"), "function app.cmp(text,text) was changed");
    changed("CREATE INDEX ON app.guardian (name app.ops)", "table app.guardian was changed");
}

fn statistics_over_an_expression_count() {
    let attack =
        "CREATE FUNCTION app.seen_by_analyze(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
        CREATE STATISTICS app.st ON (app.seen_by_analyze(name)) FROM app.guardian";
    unnamed_ends_the_approval(THIRD, attack, "table app.guardian was changed");
}

fn a_collation_made_anew_counts() {
    let school = School::inactive();
    let made = "CREATE COLLATION app.folded (provider = icu, locale = 'und', deterministic = true)";
    school.superuser().batch_execute(&format!("{made}; SELECT steward.activate()")).expect("a collation");
    let op_no = school.request("postgres", "DELETE FROM app.guardian WHERE name = 'guardian 1' COLLATE app.folded");
    school.release(&op_no);
    let other = made.replace("true", "false");
    school.superuser().batch_execute(&format!("DROP COLLATION app.folded; {other}")).expect("another");
    let message = format!("what {op_no} depends on has changed since it was filed");
    let refused = execute(&mut school.superuser(), &op_no);
    expect_message(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &message);
}
