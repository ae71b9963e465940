//! To plan is to run code: what a table's owner has put into an index runs whenever anybody's statement on the table is
//! planned. Own SQL on such a table, and the look at somebody's script, must lend it no rights.

use crate::expect::{db_error, expect_error};
use crate::school::{School, ask};
use postgres::Client;
use postgres::error::SqlState;

tests! {
    statistics_of_a_catalog_are_configuration,
    what_was_put_on_a_catalog_before_does_not_run_in_own_sql,
    what_is_examined_sees_no_clear_values,
    an_owners_code_gets_no_rights_of_own_sql,
    what_an_owners_code_does_under_own_sql_is_judged,
    code_of_two_owners_gets_the_rights_of_neither,
    a_mapping_table_that_became_something_else_allows_nothing,
    an_examined_script_gets_no_rights_of_who_looks,
    a_partition_key_of_somebodys_code_is_not_protected,
    expressions_of_ordinary_indexes_disturb_nothing,
}

/// A student table and the mapping table of a scope that belong to a role without rights, whose functions note as whom they
/// run and, as a superuser, take what they can.
const OWNER: &str = "CREATE ROLE owner_o LOGIN; CREATE ROLE owner_p; CREATE ROLE scoped_s LOGIN;
    SELECT steward.register_person('Olaf', 'teacher', roles => '{owner_o}');
    SELECT steward.register_person('Sam', 'clerk', roles => '{scoped_s}');
    CREATE SCHEMA o AUTHORIZATION owner_o; GRANT CREATE ON SCHEMA app TO owner_o; GRANT SELECT ON app.student TO scoped_s;
    CREATE TABLE app.card_order (student_id int, clerk text, status text);
    INSERT INTO app.card_order SELECT n, 'sam', 'open' FROM generate_series(1, 20) n;
    ALTER TABLE app.student OWNER TO owner_o; ALTER TABLE app.guardian OWNER TO owner_o;
    ALTER TABLE app.card_order OWNER TO owner_o; ALTER TABLE app.scratch OWNER TO owner_o;
    SELECT steward.set_attribute('Sam', 'clerk', '{sam}');
    SELECT steward.set_scope('scoped_s', 'app.student', 'id', attribute => 'clerk', via => 'app.card_order',
        via_column => 'student_id', assigned_column => 'clerk', condition_column => 'status', condition_value => 'open');
    SELECT steward.set_check('names', 'app.guardian', 'format', '{name}', '^guardian');
    SELECT steward.set_check('once', 'app.guardian', 'unique', '{name}');
    SELECT steward.set_check('cards', 'app.guardian', 'reference', '{student_id}', 'app.student(id)');
    SET ROLE owner_o;
    CREATE SEQUENCE o.owner_o; CREATE SEQUENCE o.owner_p; CREATE SEQUENCE o.postgres;
    GRANT USAGE ON SCHEMA o TO owner_p; GRANT ALL ON ALL SEQUENCES IN SCHEMA o TO owner_p;
    CREATE FUNCTION o.act() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('o.' || current_user);
        IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            ALTER ROLE owner_o SUPERUSER; UPDATE app.student SET note = 'taken'; DELETE FROM steward.rule;
        END IF;
        RETURN 0; END $$;
    CREATE FUNCTION o.f(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM o.act(); RETURN i; END $$;
    RESET ROLE";

/// As OWNER, with what the owner then makes of it.
fn owned(by_owner: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(OWNER).expect("a school with an owner");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school.session("owner_o").batch_execute(by_owner).unwrap_or_else(|error| panic!("{by_owner}: {error:?}"));
    forget(&school);
    school
}

const INDEXES: &str =
    "CREATE INDEX ON app.card_order ((student_id + o.f(1))); CREATE INDEX ON app.scratch ((id + o.f(1)));
    CREATE STATISTICS o.s ON (student_id + o.f(2)), clerk FROM app.card_order";

/// And an index of a protected table, which is structure.
fn index_protected(school: &School) {
    school.operate("postgres", "CREATE INDEX ON app.guardian ((id + o.f(1)))");
    forget(school);
}

/// As whom the owner's code has run: sequences count on whatever becomes of the transaction.
fn who_ran(school: &School) -> String {
    let called = "SELECT coalesce(string_agg(sequencename::text, ',' ORDER BY sequencename), '') FROM pg_sequences
        WHERE schemaname = 'o' AND last_value IS NOT NULL";
    school.ask(called)
}

fn forget(school: &School) {
    let anew = "ALTER SEQUENCE o.owner_o RESTART; ALTER SEQUENCE o.owner_p RESTART; ALTER SEQUENCE o.postgres RESTART";
    school.session("owner_o").batch_execute(anew).expect("sequences of one's own");
}

#[track_caller]
fn nothing_taken(school: &School) {
    assert!(!school.ask::<bool>("SELECT rolsuper FROM pg_roles WHERE rolname = 'owner_o'"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'taken'"), 0);
    assert!(school.ask::<i64>("SELECT count(*) FROM steward.rule") > 5);
}

/// What a check found; -1: it could not be made.
fn found(session: &mut Client, check: &str) -> i64 {
    let row =
        session.query_one("SELECT coalesce(issues, -1) FROM steward.daily_check() WHERE check_name = $1", &[&check]);
    row.unwrap_or_else(|error| panic!("{check}: {error:?}")).get(0)
}

const STUDENTS: &str = "SELECT count(*) FROM app.student";

fn an_owners_code_gets_no_rights_of_own_sql() {
    let school = owned(INDEXES);
    index_protected(&school);
    let emptied = |what: &str| {
        let who = who_ran(&school);
        assert_eq!(who, "owner_o", "{what}");
        nothing_taken(&school);
        forget(&school);
    };
    assert_eq!(ask::<i64>(&mut school.session("scoped_s"), STUDENTS), 20);
    emptied("a scope's look-up");
    for check in ["names", "once", "cards"] {
        assert_eq!(found(&mut school.superuser(), check), 0, "{check}");
        emptied(check);
    }
    // What planning says is the owner's own too.
    school.session("security_han").batch_execute("SELECT * FROM steward.lint(sample => true)").expect("lint");
    emptied("lint");
    school.operate("owner_o", "TRUNCATE app.guardian");
    assert_eq!(school.ask::<i64>("SELECT rows FROM steward.table_image WHERE copy IS NOT NULL"), 160);
    emptied("a pre-image");
}

fn what_an_owners_code_does_under_own_sql_is_judged() {
    let school = owned(
        "CREATE SEQUENCE o.stays; CREATE OR REPLACE FUNCTION o.act() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
            PERFORM nextval('o.' || current_user);
            BEGIN UPDATE app.student SET note = 'taken'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
            BEGIN SET ROLE scoped_s; EXCEPTION WHEN insufficient_privilege THEN PERFORM nextval('o.stays'); END;
            PERFORM set_config('search_path', 'o', false);
            RETURN 0; END $$; CREATE INDEX ON app.card_order ((student_id + o.f(1)))",
    );
    let mut sam = school.session("scoped_s");
    assert_eq!(ask::<i64>(&mut sam, STUDENTS), 20);
    assert_eq!(ask::<String>(&mut sam, "SHOW search_path"), "\"$user\", public");
    assert_eq!(who_ran(&school), "owner_o,stays");
    nothing_taken(&school);
    let refused =
        "user_id = 'scoped_s' AND operation_type = 'UPDATE' AND table_name = 'app.student' AND result = 'DENIED'";
    assert!(school.records(refused) > 0);
}

fn code_of_two_owners_gets_the_rights_of_neither() {
    let school = owned(INDEXES);
    index_protected(&school);
    let mut superuser = school.superuser();
    // A table of another owner: the code in the index of the one is planned together with that of the other.
    school.operate("postgres", "ALTER TABLE app.student OWNER TO owner_p");
    forget(&school);
    // Whether a check can be made where the code may do nothing depends on what the session has evaluated before.
    assert!(found(&mut superuser, "cards") <= 0);
    assert_eq!(found(&mut superuser, "names"), 0, "of one table");
    assert_eq!(who_ran(&school), "owner_o");
    nothing_taken(&school);
    school.operate("postgres", "DROP INDEX app.guardian_expr_idx");
    assert_eq!(found(&mut superuser, "cards"), 0);
}

fn a_mapping_table_that_became_something_else_allows_nothing() {
    let school = owned("ALTER TABLE app.card_order RENAME TO former; DELETE FROM app.former WHERE student_id > 7");
    let sees = |expected: i64, what: &str| {
        assert_eq!(ask::<i64>(&mut school.session("scoped_s"), STUDENTS), expected, "{what}");
        assert_eq!(who_ran(&school), "", "{what}");
    };
    let mut open = school.session("scoped_s");
    assert_eq!(ask::<i64>(&mut open, STUDENTS), 7);
    let mut owner = school.session("owner_o");
    // Another thing by the table's former name: the scope follows the table.
    let view = "CREATE VIEW app.card_order AS SELECT n AS student_id, 'sam'::text AS clerk, 'open'::text AS status
        FROM generate_series(1, 200 + o.act()) n";
    owner.batch_execute(view).expect("a view");
    sees(7, "a view by the former name");
    let back = "DROP VIEW app.card_order; ALTER TABLE app.former RENAME TO card_order";
    owner.batch_execute(back).expect("the table again");
    assert_eq!(ask::<i64>(&mut open, STUDENTS), 7);
    owner.batch_execute(&format!("ALTER TABLE app.card_order RENAME TO former; {view}")).expect("in an open session");
    assert_eq!(ask::<i64>(&mut open, STUDENTS), 7);
    // A table becomes a view in its place.
    owner
        .batch_execute(
            "TRUNCATE app.former; CREATE RULE \"_RETURN\" AS ON SELECT TO app.former DO INSTEAD
                SELECT 1 + o.act() AS student_id, 'sam'::text AS clerk, 'open'::text AS status",
        )
        .expect("a view in the table's place");
    sees(0, "a view in its place");
    assert_eq!(ask::<i64>(&mut open, STUDENTS), 0);
    nothing_taken(&school);
}

fn an_examined_script_gets_no_rights_of_who_looks() {
    let school = owned(INDEXES);
    let script = "SELECT o.f(1); SELECT * FROM app.scratch WHERE id = o.f(2); SELECT student_id FROM app.card_order;
        EXPLAIN SELECT o.f(3); SELECT lower(name) FROM app.school; UPDATE app.student SET note = 'x' WHERE id < 61";
    for login in ["postgres", "reviewer_sun", "owner_o"] {
        let mut session = school.session(login);
        let tiers = session.query("SELECT tier::text FROM steward.classify($1) ORDER BY step", &[&script]);
        let tiers: Vec<String> = tiers.expect("classify").iter().map(|row| row.get(0)).collect();
        // What cannot be looked at without running it is not known.
        assert_eq!(tiers[0], "critical", "{login}");
        assert_eq!(tiers[4..], ["normal", "normal"], "{login}");
        assert_eq!(who_ran(&school), "", "{login}");
    }
    nothing_taken(&school);
}

fn a_partition_key_of_somebodys_code_is_not_protected() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute(OWNER).expect("a school with an owner");
    let parted = "CREATE TABLE o.parted (id int) PARTITION BY RANGE ((id + o.f(1)));
        CREATE TABLE o.part PARTITION OF o.parted FOR VALUES FROM (0) TO (9);
        CREATE TABLE o.plain (id int) PARTITION BY RANGE (abs(id));
        CREATE TABLE o.part_of_plain PARTITION OF o.plain FOR VALUES FROM (0) TO (9) PARTITION BY RANGE ((id + o.f(1)))";
    school.session("owner_o").batch_execute(parted).expect("partitioned tables");
    forget(&school);
    for table in ["o.parted", "o.plain"] {
        let protect = format!("SELECT steward.protect('{table}')");
        expect_error(superuser.batch_execute(&protect), &SqlState::FEATURE_NOT_SUPPORTED, "", "");
        assert_eq!(who_ran(&school), "", "{table}");
    }
    superuser.batch_execute("DROP TABLE o.part_of_plain; SELECT steward.protect('o.plain')").expect("built in");
    nothing_taken(&school);
}

fn expressions_of_ordinary_indexes_disturb_nothing() {
    let school = owned(
        "CREATE FUNCTION app.norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
        CREATE FUNCTION app.slow_norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
        CREATE INDEX ON app.card_order (lower(clerk)); CREATE INDEX ON app.card_order (app.norm(clerk), student_id);
        CREATE INDEX ON app.card_order (student_id) WHERE app.slow_norm(clerk) = app.slow_norm('SAM')",
    );
    school.operate(
        "postgres",
        "CREATE INDEX ON app.guardian (lower(name)); CREATE INDEX ON app.guardian (app.slow_norm(name))",
    );
    assert_eq!(ask::<i64>(&mut school.session("scoped_s"), STUDENTS), 20);
    school.superuser().batch_execute("UPDATE app.guardian SET name = 'Guardian 2' WHERE id = 1").expect("update");
    for (check, expected) in [("names", 1), ("once", 0), ("cards", 0)] {
        assert_eq!(found(&mut school.superuser(), check), expected, "{check}");
    }
    let mut sam = school.session("scoped_s");
    assert_eq!(sam.query("SELECT name FROM app.student WHERE id = 100", &[]).expect("hidden").len(), 0);
    assert_eq!(school.records("operation_type = 'OUT OF SCOPE' AND user_id = 'scoped_s'"), 1);
    school.operate("postgres", "TRUNCATE app.guardian");
}

const ON_A_CATALOG: &str = "SET allow_system_table_mods = on; CREATE SCHEMA su;
    CREATE FUNCTION su.act() RETURNS text LANGUAGE plpgsql AS $$ BEGIN UPDATE steward.rule SET tier = 'normal'; RETURN ''; END $$;
    CREATE FUNCTION su.f(n int) RETURNS text IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN IF current_setting('my.go', true) = '1' THEN RETURN su.act(); END IF; RETURN ''; END $$;";
const STATISTICS: &str = "CREATE STATISTICS su.st ON (su.f(1) || relname::text) FROM pg_class";

fn statistics_of_a_catalog_are_configuration() {
    let school = School::active();
    let mut superuser = school.superuser();
    superuser.batch_execute(ON_A_CATALOG).expect("nothing protected");
    for statement in [STATISTICS, "CREATE INDEX ON pg_class ((su.f(1) || relname::text))"] {
        let error = db_error(superuser.batch_execute(statement));
        assert!(error.message().contains("critical statement refused"), "{statement}: {error:?}");
    }
    let mut elsewhere = school.connect("postgres", "postgres");
    elsewhere.batch_execute("SET allow_system_table_mods = on").expect("set");
    let refused =
        db_error(elsewhere.batch_execute("CREATE STATISTICS public.st ON (lower(rolname::text)) FROM pg_authid"));
    assert!(refused.message().contains("refused"), "{refused:?}");
}

/// Nothing goes on, and the way out is told.
fn what_was_put_on_a_catalog_before_does_not_run_in_own_sql() {
    let mut school = School::inactive();
    let rules = "SELECT md5(string_agg(r::text, ' ' ORDER BY name)) FROM steward.rule r";
    let before: String = school.ask(rules);
    let planted = format!("{ON_A_CATALOG} {STATISTICS}; ANALYZE pg_class");
    school.superuser().batch_execute(&planted).expect("before the activation");
    let mut superuser = school.superuser();
    for statement in ["SET my.go = '1'; SELECT count(*) FROM steward.lint()", "SELECT steward.activate()"] {
        let error = db_error(superuser.batch_execute(statement));
        assert!(error.message().contains("runs no code of others"), "{statement}: {error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("steward.mode = 'off'")), "{error:?}");
    }
    drop(superuser);
    school.stop();
    school.configure(&["steward.mode = 'off'"]);
    school.start();
    assert_eq!(school.ask::<String>(rules), before);
    school.superuser().batch_execute("DROP STATISTICS su.st").expect("the way out");
    school.stop();
    school.configure(&["steward.mode = 'enforce'"]);
    school.start();
    school
        .superuser()
        .batch_execute("SELECT count(*) FROM steward.lint(); SELECT steward.activate()")
        .expect("as ever");
}

/// Looked at with nobody's rights, and with everybody's masks.
fn what_is_examined_sees_no_clear_values() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'phone';
        SELECT steward.set_mask('clerk_zhao', 'phone'); GRANT SELECT ON app.student TO PUBLIC;
        CREATE SCHEMA ck AUTHORIZATION clerk_zhao; GRANT USAGE ON SCHEMA ck TO PUBLIC;
        CREATE SEQUENCE ck.clear; CREATE SEQUENCE ck.shown; GRANT ALL ON SEQUENCE ck.clear, ck.shown TO PUBLIC;
        SELECT steward.activate()",
        )
        .expect("a masked clerk");
    let mut clerk = school.session("clerk_zhao");
    clerk
        .batch_execute(
            "CREATE FUNCTION ck.peek() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ DECLARE p text; BEGIN
            SELECT phone INTO p FROM app.student WHERE id = 1;
            PERFORM nextval(CASE WHEN p ~ '^[0-9]+$' THEN 'ck.clear' ELSE 'ck.shown' END::regclass); RETURN p; END $$;
        SELECT ck.peek()",
        )
        .expect("a function of the clerk's own");
    let _judged = clerk.batch_execute("SELECT * FROM steward.classify('SELECT ck.peek()')");
    assert!(school.ask::<bool>("SELECT is_called FROM ck.shown"));
    assert!(!school.ask::<bool>("SELECT is_called FROM ck.clear"));
}
