//! What changes between two executions of a statement that is kept: the role, the table, the rules (cases 1, 25, 26, 28,
//! 30, 31, 43).

use super::every_read::{AROUND, BY_NUMBER};
use super::protocol::Must::{Fail, Mask, Refuse, Show};
use super::protocol::{Must, everywhere, hold, wire};
use super::{desk_with, shown, tells};
use crate::school::School;
use crate::wire::Wire;

tests! {
    what_was_prepared_in_another_role,
    a_portal_of_another_role,
    a_table_that_changes_under_kept_statements,
    a_partition_that_leaves_its_table_takes_the_classes_along,
    a_column_that_outlives_its_parent_s_keeps_its_class_and_no_other,
    what_access_says_holds_for_kept_statements,
    a_role_that_goes_under_kept_statements,
}

/// Cases 1 and 31, for every way of reading: kept by a session that puts roles on and off.
fn what_was_prepared_in_another_role() {
    let school = desk_with(AROUND);
    let mut session = wire(&school, "postgres");
    for mode in ["auto", "force_generic_plan"] {
        session.command(&format!("SET plan_cache_mode = {mode}"));
        for (query, values, _) in BY_NUMBER {
            session.command("SET ROLE app_owner");
            assert!(session.parse("s", query).code.is_none(), "{query}");
            for _ in 0..6 {
                let reply = session.execute("s", values);
                assert!(reply.code.is_none() && reply.rows.contains("13800000007"), "{query}: {reply:?}");
            }
            for role in ["SET ROLE cs", "SET SESSION AUTHORIZATION cs", "BEGIN; SET LOCAL ROLE cs"] {
                session.command(role);
                Mask.judge(role, query, &session.execute("s", values));
                session.command("ROLLBACK; RESET SESSION AUTHORIZATION; SET ROLE teacher");
                let reply = session.execute("s", values);
                assert!(reply.rows.contains("13800000007"), "{role}: {query}: {reply:?}");
            }
            session.command("RESET ROLE; DEALLOCATE s");
        }
    }
    // A login of a pool that may read nothing itself.
    let mut superuser = school.superuser();
    superuser
        .batch_execute("CREATE ROLE pool LOGIN NOINHERIT IN ROLE cs; GRANT USAGE ON SCHEMA desk TO pool")
        .expect("pool");
    let mut pool = wire(&school, "pool");
    for (query, values, _) in &BY_NUMBER[..7] {
        pool.command("SET ROLE cs");
        assert!(pool.parse("s", query).code.is_none(), "{query}");
        Mask.judge("SET ROLE", query, &pool.execute("s", values));
        pool.command("RESET ROLE");
        Refuse("permission denied").judge("RESET ROLE", query, &pool.execute("s", values));
        Refuse("permission denied").judge("RESET ROLE", query, &pool.unnamed(query, values));
        pool.command("DEALLOCATE s");
    }
}

/// Case 30: a portal is decided when it is opened, by DECLARE or by Bind; one's own goes on, row by row.
fn a_portal_of_another_role() {
    let school = desk_with("");
    let mut session = wire(&school, "postgres");
    let phones = "SELECT phone FROM desk.student WHERE id >= $1 ORDER BY id";
    let open = |session: &mut Wire, role: &str| {
        session.command(&format!("BEGIN; SET LOCAL ROLE {role}"));
        assert!(session.parse("s", phones).code.is_none() && session.bind("p", "s", &["7"]).code.is_none());
        let first = session.fetch("p", 1);
        session.command("DEALLOCATE s");
        first
    };
    let mut clerk = wire(&school, "cs");
    assert_eq!(open(&mut clerk, "cs").rows, "138****0007\n");
    Mask.judge("portal", phones, &clerk.fetch("p", 3));
    clerk.command("ROLLBACK");
    // As PostgreSQL means it, unless told otherwise.
    assert_eq!(open(&mut session, "app_owner").rows, "13800000007\n");
    session.command("SET LOCAL ROLE cs");
    assert_eq!(session.fetch("p", 1).rows, "13800000008\n");
    session.command("ROLLBACK");
    assert_eq!(open(&mut session, "cs").rows, "138****0007\n");
    session.command("SET LOCAL ROLE app_owner");
    assert_eq!(session.fetch("p", 1).rows, "138****0008\n");
    session.command("ROLLBACK");
    school.configure(&["steward.deny_role_switch = on"]);
    school.reload();
    while session.command("SHOW steward.deny_role_switch").rows != "on\n" {}
    for switch in ["SET LOCAL ROLE cs", "SELECT set_config('role', 'cs', true)", "SET LOCAL SESSION AUTHORIZATION cs"] {
        open(&mut session, "app_owner");
        session.command(switch);
        Refuse("a cursor that another role has opened").judge(switch, phones, &session.fetch("p", 1));
        session.command("ROLLBACK");
    }
}

/// Sessions of this login with the statement executed often enough for every kind of plan.
fn kept(school: &School, login: &str, query: &str, values: &[&str], must: Must) -> Vec<(&'static str, Wire)> {
    ["auto", "force_generic_plan", "force_custom_plan"]
        .map(|mode| {
            let mut session = wire(school, login);
            session.command(&format!("SET plan_cache_mode = {mode}"));
            assert!(session.parse("s", query).code.is_none(), "{query}");
            (0..6).for_each(|_| must.judge(mode, query, &session.execute("s", values)));
            (mode, session)
        })
        .into()
}

/// All of them, and the statement anew in every protocol.
#[track_caller]
fn still(sessions: &mut [(&'static str, Wire)], query: &str, values: &[&str], must: Must, when: &str) {
    for (mode, session) in sessions.iter_mut() {
        must.judge(&format!("{when}: {mode}"), query, &session.execute("s", values));
    }
    let (_, session) = &mut sessions[0];
    everywhere(session, query, values, &mut |_, how, reply| must.judge(&format!("{when}: {how}"), query, reply));
}

/// Case 26.
fn a_table_that_changes_under_kept_statements() {
    let school = desk_with("");
    let (query, seven) = ("SELECT s::text FROM desk.student s WHERE id = $1", &["7"][..]);
    let mut superuser = school.superuser();
    let mut sessions = kept(&school, "cs", query, seven, Mask);
    for change in [
        "ALTER TABLE desk.student RENAME COLUMN phone TO tel",
        "ALTER TABLE desk.student DROP COLUMN school_id CASCADE",
        "ALTER TABLE desk.student ADD more text",
        "ALTER TABLE desk.student ALTER tel TYPE varchar(40)",
        "VACUUM FULL desk.student",
        "CLUSTER desk.student USING student_phone",
        "ALTER TABLE desk.student RENAME TO pupil; ALTER TABLE desk.pupil RENAME TO student",
        "ALTER TABLE desk.student SET SCHEMA public; ALTER TABLE public.student SET SCHEMA desk",
        "ALTER TABLE desk.student OWNER TO postgres",
        "ALTER TABLE desk.student SET (fillfactor = 50), ALTER tel SET STATISTICS 1",
    ] {
        superuser.batch_execute(change).unwrap_or_else(|error| panic!("{change}: {error:?}"));
        still(&mut sessions, query, seven, Mask, change);
    }
    superuser.batch_execute("ALTER TABLE desk.student ALTER tel TYPE bigint USING tel::bigint").expect("type");
    hold(
        &mut wire(&school, "cs"),
        &[("SELECT tel, pg_typeof(tel) FROM desk.student WHERE id = $1", seven, Show("NULL|bigint"))],
    );
    // Another table of that name has nothing of the former one: no privilege, and no class. It is found as a look-alike.
    superuser
        .batch_execute(
            "DROP TABLE desk.student; CREATE TABLE desk.student (id int PRIMARY KEY, name text, phone text);
             INSERT INTO desk.student VALUES (7, 'student 7', '13800000007')",
        )
        .expect("another table");
    let phone = "SELECT phone FROM desk.student WHERE id = $1";
    for (mode, session) in &mut sessions {
        Refuse("permission denied").judge(mode, query, &session.execute("s", seven));
    }
    hold(&mut wire(&school, "cs"), &[(phone, seven, Refuse("permission denied"))]);
    let named = "SELECT command FROM steward.lint() WHERE kind = 'look_alike' AND object = 'desk.student.phone'";
    let command = shown(&mut superuser, named);
    superuser
        .batch_execute(&format!("{command}; GRANT SELECT ON desk.student TO cs"))
        .expect("the command of the list");
    hold(&mut wire(&school, "cs"), &[(phone, seven, Show("138****0007"))]);
}

/// Case 25: what it inherited becomes its own.
fn a_partition_that_leaves_its_table_takes_the_classes_along() {
    let school = desk_with(
        "CREATE TABLE desk.call (id int, phone text, day date) PARTITION BY RANGE (day);
         CREATE TABLE desk.call_1 PARTITION OF desk.call FOR VALUES FROM ('2026-01-01') TO ('2026-07-01') PARTITION BY RANGE (id);
         CREATE TABLE desk.call_1_low (day date, phone text, id int);
         ALTER TABLE desk.call_1 ATTACH PARTITION desk.call_1_low FOR VALUES FROM (0) TO (100);
         CREATE TABLE desk.call_2 PARTITION OF desk.call FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
         CREATE TABLE desk.call_3 PARTITION OF desk.call FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
         CREATE TABLE desk.child (more text) INHERITS (desk.student);
         CREATE TABLE desk.orphan (more text) INHERITS (desk.student);
         SECURITY LABEL FOR pg_steward ON COLUMN desk.call.phone IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.call_3.phone IS 'free_id';
         INSERT INTO desk.call SELECT 7, '13800000007', d::date FROM unnest(ARRAY['2026-02-01', '2026-08-01', '2027-08-01']) d;
         INSERT INTO desk.child (id, school_id, name, phone) VALUES (7, 1, 'x', '13800000007');
         INSERT INTO desk.orphan (id, school_id, name, phone) VALUES (7, 1, 'x', '13800000007');
         CREATE TABLE desk.computed (id int, base text, phone text GENERATED ALWAYS AS (base) STORED);
         SECURITY LABEL FOR pg_steward ON COLUMN desk.computed.base IS 'phone';
         INSERT INTO desk.computed VALUES (7, '13800000007');
         GRANT SELECT ON ALL TABLES IN SCHEMA desk TO cs, teacher",
    );
    let mut superuser = school.superuser();
    for (change, table) in [
        ("ALTER TABLE desk.computed ALTER phone DROP EXPRESSION", "computed"),
        ("ALTER TABLE desk.call DETACH PARTITION desk.call_1", "call_1_low"),
        ("ALTER TABLE desk.call_1 DETACH PARTITION desk.call_1_low", "call_1_low"),
        ("ALTER TABLE desk.call DETACH PARTITION desk.call_2 CONCURRENTLY", "call_2"),
        (
            "ALTER TABLE desk.call ATTACH PARTITION desk.call_2 FOR VALUES FROM ('2026-07-01') TO ('2027-01-01')",
            "call_2",
        ),
        ("ALTER TABLE desk.child NO INHERIT desk.student", "child"),
        ("ALTER TABLE ONLY desk.student DROP COLUMN phone", "orphan"),
    ] {
        let query = format!("SELECT phone FROM desk.{table} WHERE id = $1");
        let mut sessions = kept(&school, "cs", &query, &["7"], Show("138****0007"));
        superuser.batch_execute(change).unwrap_or_else(|error| panic!("{change}: {error:?}"));
        still(&mut sessions, &query, &["7"], Show("138****0007"), change);
        assert_eq!(wire(&school, "teacher").unnamed(&query, &["7"]).rows, "13800000007\n", "{change}");
    }
    // What a column was called by itself stays, and what is rolled back was nothing.
    superuser.batch_execute("BEGIN; ALTER TABLE desk.call DETACH PARTITION desk.call_2; ROLLBACK; ALTER TABLE desk.call DETACH PARTITION desk.call_3").expect("detach");
    let labels = "SELECT string_agg(objname || ' ' || label, ', ' ORDER BY objname) FROM pg_seclabels WHERE objname LIKE 'desk.call%'";
    assert_eq!(
        shown(&mut superuser, labels),
        "desk.call.phone phone, desk.call_1.phone phone, desk.call_1_low.phone phone, desk.call_2.phone phone, desk.call_3.phone free_id"
    );
}

/// Case 25: the columns that become local, and what lies below them, and nothing else.
fn a_column_that_outlives_its_parent_s_keeps_its_class_and_no_other() {
    let school = desk_with(
        "CREATE TABLE desk.top (id int, phone text, name text, note text); CREATE TABLE desk.side (phone text);
         CREATE TABLE desk.child () INHERITS (desk.top); CREATE TABLE desk.grandchild () INHERITS (desk.child);
         CREATE TABLE desk.named (phone text, note text) INHERITS (desk.top); CREATE TABLE desk.twice () INHERITS (desk.top, desk.side);
         CREATE TABLE desk.called () INHERITS (desk.top); CREATE TABLE desk.below () INHERITS (desk.called);
         SECURITY LABEL FOR pg_steward ON COLUMN desk.top.phone IS 'phone'; SECURITY LABEL FOR pg_steward ON COLUMN desk.side.phone IS 'email';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.top.name IS 'name'; SECURITY LABEL FOR pg_steward ON COLUMN desk.top.note IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.called.phone IS 'free_id';
         INSERT INTO desk.grandchild VALUES (7, '13800000007', 'student 7', '13800000007');
         INSERT INTO desk.named VALUES (7, '13800000007', 'student 7', '13800000007');
         GRANT SELECT ON ALL TABLES IN SCHEMA desk TO cs",
    );
    let mut superuser = school.superuser();
    let labels = "SELECT string_agg(substr(objname, 6) || ' ' || label, ', ' ORDER BY objname) FROM pg_seclabels
        WHERE objname LIKE 'desk.%' AND objname NOT LIKE 'desk.student%' AND objname NOT LIKE 'desk.side%' AND objname NOT LIKE 'desk.top%'";
    superuser.batch_execute("BEGIN; ALTER TABLE ONLY desk.top DROP COLUMN phone; ROLLBACK").expect("rolled back");
    assert_eq!(shown(&mut superuser, labels), "called.phone free_id");
    superuser.batch_execute("ALTER TABLE ONLY desk.top DROP COLUMN phone").expect("from it alone");
    let kept = "called.phone free_id, child.phone phone, named.phone phone, twice.phone phone";
    assert_eq!(shown(&mut superuser, labels), kept);
    // From all: only what is local by itself stays.
    superuser.batch_execute("ALTER TABLE desk.top DROP COLUMN note").expect("from all");
    let kept = "called.phone free_id, child.phone phone, named.note phone, named.phone phone, twice.phone phone";
    assert_eq!(shown(&mut superuser, labels), kept);
    let mut clerk = wire(&school, "cs");
    for (query, must) in [
        ("SELECT phone FROM desk.grandchild WHERE id = $1", Show("138****0007")),
        ("SELECT phone, note FROM desk.named WHERE id = $1", Show("138****0007|138****0007")),
        ("SELECT name FROM desk.grandchild WHERE id = $1", Show("***")),
    ] {
        hold(&mut clerk, &[(query, &["7"], must)]);
    }
    // What is inherited still follows the table above.
    superuser
        .batch_execute(
            "SECURITY LABEL FOR pg_steward ON COLUMN desk.top.name IS NULL; UPDATE desk.child SET name = 'x'",
        )
        .expect("label");
    hold(&mut clerk, &[("SELECT name FROM desk.grandchild WHERE id = $1", &["7"], Show("x"))]);
}

/// Case 28: what `access` says after a change in another session, the kept statement shows at its next execution, inside a
/// transaction and with its old snapshot too.
fn what_access_says_holds_for_kept_statements() {
    let school = desk_with("UPDATE desk.student SET note = '13800000007' WHERE id = 7");
    let mut superuser = school.superuser();
    let (query, seven) = ("SELECT note FROM desk.student WHERE id = $1", &["7"][..]);
    let mut sessions: Vec<(&str, Wire)> = ["READ COMMITTED", "REPEATABLE READ", "none"]
        .map(|level| {
            let mut session = wire(&school, "teacher");
            session.command("SET plan_cache_mode = force_generic_plan");
            assert!(session.parse("s", query).code.is_none());
            assert_eq!(session.execute("s", seven).rows, "13800000007\n");
            (level, session)
        })
        .into();
    for (change, access) in [
        ("SECURITY LABEL FOR pg_steward ON COLUMN desk.student.note IS 'phone'", "clear"),
        ("SELECT steward.set_mask('teacher', 'phone')", "masked"),
        ("REVOKE SELECT ON desk.student FROM teacher", "denied"),
        ("GRANT SELECT ON desk.student TO teacher", "masked"),
        ("SELECT steward.drop_mask('teacher', 'phone')", "clear"),
        ("GRANT cs TO teacher", "masked"),
        ("REVOKE cs FROM teacher", "clear"),
        ("REVOKE SELECT ON desk.student FROM teacher; GRANT SELECT (id) ON desk.student TO teacher", "denied"),
        ("GRANT SELECT (note) ON desk.student TO teacher; SELECT steward.set_mask('teacher', '*')", "masked"),
    ] {
        for (level, session) in &mut sessions {
            if *level != "none" {
                // Its snapshot is of before.
                session.command(&format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM pg_class"));
            }
        }
        superuser.batch_execute(change).unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let said =
            "SELECT access FROM steward.access('teacher') WHERE table_name = 'desk.student' AND column_name = 'note'";
        assert_eq!(shown(&mut superuser, said), access, "{change}");
        for (level, session) in &mut sessions {
            let reply = session.execute("s", seven);
            match access {
                "clear" => assert_eq!(reply.rows, "13800000007\n", "{level}: {change}: {reply:?}"),
                "masked" => Show("138****0007").judge(level, change, &reply),
                _ => Refuse("permission denied").judge(level, change, &reply),
            }
            if *level != "none" {
                session.command("ROLLBACK");
            }
        }
    }
}

/// Case 28.
fn a_role_that_goes_under_kept_statements() {
    let school = desk_with(
        "CREATE ROLE clerks; GRANT clerks TO cs; GRANT SELECT ON desk.student TO clerks; SELECT steward.set_mask('clerks', 'phone', 'hide')",
    );
    let (query, seven) = ("SELECT phone FROM desk.student WHERE id = $1", &["7"][..]);
    let mut superuser = school.superuser();
    let mut sessions = kept(&school, "cs", query, seven, Show("***"));
    for (change, must) in [
        ("REVOKE clerks FROM cs", Show("138****0007")),
        ("GRANT clerks TO cs", Show("***")),
        ("SELECT steward.drop_mask('clerks', 'phone')", Show("138****0007")),
        ("SELECT steward.set_mask('clerks', '*', 'hide')", Show("***")),
        ("SELECT steward.exempt_mask('cs', 'phone', now() + '1 hour', 'a test')", Show("13800000007")),
        ("SELECT steward.exempt_mask('cs', 'phone', now(), 'it is over')", Show("***")),
        ("DROP OWNED BY clerks; DROP ROLE clerks", Show("138****0007")),
        ("ALTER ROLE cs RENAME TO support", Show("138****0007")),
        ("ALTER ROLE support RENAME TO cs", Show("138****0007")),
    ] {
        superuser.batch_execute(change).unwrap_or_else(|error| panic!("{change}: {error:?}"));
        if matches!(must, Show("13800000007")) {
            sessions
                .iter_mut()
                .for_each(|(mode, session)| assert_eq!(session.execute("s", seven).rows, "13800000007\n", "{mode}"));
        } else {
            still(&mut sessions, query, seven, must, change);
        }
    }
    // Another role of that name is another role: it has no privilege, and no mask. The rules that are left are named.
    superuser.batch_execute("DROP OWNED BY cs; DROP ROLE cs").expect("drop");
    for (mode, session) in &mut sessions {
        let reply = session.execute("s", seven);
        assert!(reply.code.is_some() && !tells(&reply.text()), "{mode}: {reply:?}");
    }
    superuser.batch_execute("CREATE ROLE cs LOGIN; GRANT USAGE ON SCHEMA desk TO cs").expect("another");
    hold(&mut wire(&school, "cs"), &[(query, seven, Refuse("permission denied"))]);
    let left = "SELECT count(*), count(DISTINCT object) FROM steward.lint() WHERE kind = 'rule_without_role'";
    assert_eq!(shown(&mut superuser, left), "4|2");
    let commands = shown(&mut superuser, "SELECT command FROM steward.lint() WHERE kind = 'rule_without_role'");
    superuser.batch_execute(&commands.replace('\n', "; ")).expect("the commands of the list");
    assert_eq!(shown(&mut superuser, "SELECT count(*) FROM steward.mask_rule"), "0");
    // 43: what does not read back hides everything by failing.
    superuser
        .batch_execute(
            "GRANT SELECT ON desk.student TO cs; SELECT steward.set_mask('cs', 'phone');
             ALTER TABLE steward.mask_rule DROP CONSTRAINT mask_rule_mask_check",
        )
        .expect("damage");
    let mut sessions = kept(&school, "cs", query, seven, Show("138****0007"));
    superuser.batch_execute("UPDATE steward.mask_rule SET mask = 'unheard of'").expect("damage");
    still(&mut sessions, query, seven, Fail("XX000"), "a damaged rule");
}
