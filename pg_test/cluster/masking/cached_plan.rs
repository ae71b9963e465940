//! Plans that are kept: of prepared statements, functions and sessions, over changes of role and of rules (cases 1, 2, 28, 29).

use super::{desk, desk_with, refused, shown, tells};

tests! {
    a_plan_prepared_by_the_owner,
    a_plan_cached_by_a_function,
    a_block_and_a_trigger_that_the_owner_ran_first,
    a_rule_changed_under_a_generic_plan,
    a_membership_changed_under_a_generic_plan,
    a_label_changed_under_a_generic_plan,
    a_role_renamed_and_its_rule_dropped,
    local_roles_and_session_authorization,
    a_member_without_inheritance_and_a_nested_one,
    a_role_in_a_masked_and_in_a_clear_group,
    an_exemption_ends_under_a_generic_plan,
}

const PHONE: &str = "SELECT phone FROM desk.student WHERE id = 7";

/// Case 1.
fn a_plan_prepared_by_the_owner() {
    let school = desk();
    for mode in ["force_generic_plan", "force_custom_plan", "auto"] {
        let mut session = school.superuser();
        session
            .batch_execute(&format!("SET plan_cache_mode = {mode}; SET ROLE app_owner; PREPARE p AS {PHONE}"))
            .expect("prepare");
        for _ in 0..6 {
            assert_eq!(shown(&mut session, "EXECUTE p"), "13800000007", "{mode}");
        }
        assert_eq!(shown(&mut session, "SET ROLE cs; EXECUTE p"), "138****0007", "{mode}");
        assert_eq!(shown(&mut session, "RESET ROLE; EXECUTE p"), "13800000007", "{mode}");
        assert_eq!(shown(&mut session, "SET ROLE cs; EXECUTE p"), "138****0007", "{mode}");
    }
    // The same in the extended protocol.
    let mut session = school.superuser();
    session.batch_execute("SET plan_cache_mode = force_generic_plan").expect("generic");
    let prepared = session.prepare("SELECT phone FROM desk.student WHERE id = $1").expect("prepare");
    for (role, phone) in [("app_owner", "13800000007"), ("cs", "138****0007"), ("app_owner", "13800000007")] {
        session.batch_execute(&format!("SET ROLE {role}")).expect("role");
        assert_eq!(session.query_one(&prepared, &[&7]).expect("query").get::<_, String>(0), phone);
    }
}

/// Case 2.
fn a_plan_cached_by_a_function() {
    let school = desk_with(
        "CREATE FUNCTION desk.phone(int) RETURNS text LANGUAGE plpgsql STABLE AS
            'BEGIN RETURN (SELECT phone FROM desk.student WHERE id = $1); END'",
    );
    let mut session = school.superuser();
    let ask = "SELECT desk.phone(7)";
    for _ in 0..7 {
        assert_eq!(shown(&mut session, ask), "13800000007");
    }
    assert_eq!(shown(&mut session, &format!("SET ROLE cs; {ask}")), "138****0007");
    assert_eq!(shown(&mut session, &format!("SET ROLE teacher; {ask}")), "13800000007");
}

/// Case 2.
fn a_block_and_a_trigger_that_the_owner_ran_first() {
    let school = desk_with(
        "CREATE TABLE desk.seen (phone text); GRANT ALL ON desk.seen TO cs;
         CREATE FUNCTION desk.look() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.phone := (SELECT phone FROM desk.student WHERE id = 7); RETURN NEW; END';
         CREATE TRIGGER look BEFORE INSERT ON desk.seen FOR EACH ROW EXECUTE FUNCTION desk.look()",
    );
    let mut session = school.superuser();
    let insert = "INSERT INTO desk.seen DEFAULT VALUES RETURNING phone";
    assert_eq!(shown(&mut session, insert), "13800000007");
    assert_eq!(shown(&mut session, &format!("SET ROLE cs; {insert}")), "138****0007");
    let block =
        format!("DO $$ DECLARE p text; BEGIN p := ({PHONE}); PERFORM set_config('my.phone', p, false); END $$;");
    assert_eq!(shown(&mut session, &format!("RESET ROLE; {block} SHOW my.phone")), "13800000007");
    assert_eq!(shown(&mut session, &format!("SET ROLE cs; {block} SHOW my.phone")), "138****0007");
}

/// Case 28: two sessions have kept their plans.
fn a_rule_changed_under_a_generic_plan() {
    let school = desk();
    let prepare = format!("SET plan_cache_mode = force_generic_plan; PREPARE p AS {PHONE}");
    let (mut clerk, mut teacher) = (school.session("cs"), school.session("teacher"));
    for session in [&mut clerk, &mut teacher] {
        session.batch_execute(&prepare).expect("prepare");
    }
    let both = |clerk: &mut _, teacher: &mut _| [shown(clerk, "EXECUTE p"), shown(teacher, "EXECUTE p")];
    assert_eq!(both(&mut clerk, &mut teacher), ["138****0007", "13800000007"]);
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT steward.set_mask('teacher', '*', 'partial')").expect("set_mask");
    assert_eq!(both(&mut clerk, &mut teacher), ["138****0007", "138****0007"]);
    superuser
        .batch_execute("SELECT steward.drop_mask('teacher', '*'), steward.drop_mask('cs', 'phone')")
        .expect("drop");
    assert_eq!(both(&mut clerk, &mut teacher), ["13800000007", "13800000007"]);
    // What is rolled back was never a rule.
    superuser.batch_execute("BEGIN; SELECT steward.set_mask('cs', 'phone'); ROLLBACK").expect("rollback");
    assert_eq!(both(&mut clerk, &mut teacher), ["13800000007", "13800000007"]);
    superuser.batch_execute("SELECT steward.set_mask('cs', 'phone')").expect("set_mask");
    assert_eq!(both(&mut clerk, &mut teacher), ["138****0007", "13800000007"]);
    superuser.batch_execute("SELECT steward.exempt_mask('cs', 'phone', now() + '1 hour', 'a test')").expect("exempt");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "13800000007");
    superuser.batch_execute("SELECT steward.exempt_mask('cs', 'phone', now(), 'it is over')").expect("exempt");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "138****0007");
}

/// Case 28.
fn a_membership_changed_under_a_generic_plan() {
    let school = desk();
    let mut teacher = school.session("teacher");
    teacher.batch_execute(&format!("SET plan_cache_mode = force_generic_plan; PREPARE p AS {PHONE}")).expect("prepare");
    assert_eq!(shown(&mut teacher, "EXECUTE p"), "13800000007");
    let mut superuser = school.superuser();
    superuser.batch_execute("GRANT cs TO teacher").expect("grant");
    assert_eq!(shown(&mut teacher, "EXECUTE p"), "138****0007");
    superuser.batch_execute("REVOKE cs FROM teacher").expect("revoke");
    assert_eq!(shown(&mut teacher, "EXECUTE p"), "13800000007");
}

/// Case 28.
fn a_label_changed_under_a_generic_plan() {
    let school = desk();
    let mut clerk = school.session("cs");
    let prepare = "SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT note FROM desk.student WHERE id = 7";
    clerk.batch_execute(prepare).expect("prepare");
    let mut superuser = school.superuser();
    superuser.batch_execute("UPDATE desk.student SET note = '13800000007' WHERE id = 7").expect("note");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "13800000007");
    superuser.batch_execute("SECURITY LABEL FOR pg_steward ON COLUMN desk.student.note IS 'phone'").expect("label");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "138****0007");
    superuser.batch_execute("SECURITY LABEL FOR pg_steward ON COLUMN desk.student.note IS NULL").expect("label");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "13800000007");
}

/// Case 28.
fn a_role_renamed_and_its_rule_dropped() {
    let school = desk();
    let mut clerk = school.session("cs");
    clerk.batch_execute(&format!("PREPARE p AS {PHONE}")).expect("prepare");
    let mut superuser = school.superuser();
    superuser.batch_execute("ALTER ROLE cs RENAME TO support").expect("rename");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "138****0007");
    superuser.batch_execute("CREATE ROLE cs; GRANT cs TO teacher").expect("another cs");
    assert_eq!(shown(&mut school.session("teacher"), PHONE), "13800000007", "a rule is a role's, not a name's");
}

/// Case 29.
fn local_roles_and_session_authorization() {
    let school = desk();
    let mut session = school.superuser();
    assert_eq!(
        shown(&mut session, &format!("BEGIN; SET LOCAL ROLE cs; {PHONE}; COMMIT; {PHONE}")),
        "138****0007\n13800000007"
    );
    let authorized = format!("SET SESSION AUTHORIZATION cs; {PHONE}; RESET SESSION AUTHORIZATION; {PHONE}");
    assert_eq!(shown(&mut session, &authorized), "138****0007\n13800000007");
    // In one message, planned before the first statement of it runs, or not.
    assert_eq!(
        shown(&mut session, &format!("SET ROLE cs; {PHONE}; SET ROLE teacher; {PHONE}")),
        "138****0007\n13800000007"
    );
}

/// Case 29.
fn a_member_without_inheritance_and_a_nested_one() {
    let school = desk_with(
        "CREATE ROLE desk_group; GRANT cs TO desk_group; CREATE ROLE nested LOGIN; GRANT desk_group TO nested;
         CREATE ROLE aloof LOGIN NOINHERIT; GRANT cs TO aloof; GRANT SELECT ON desk.student TO aloof;
         GRANT USAGE ON SCHEMA desk TO aloof",
    );
    for login in ["nested", "aloof"] {
        assert_eq!(shown(&mut school.session(login), PHONE), "138****0007", "{login}");
    }
}

/// Case 29: the masked one wins, unless the role is exempted.
fn a_role_in_a_masked_and_in_a_clear_group() {
    let school = desk_with(
        "CREATE ROLE double LOGIN; GRANT cs, teacher TO double; SELECT steward.set_mask('teacher', '*', 'none')",
    );
    let mut session = school.session("double");
    assert_eq!(shown(&mut session, PHONE), "138****0007");
    school
        .superuser()
        .batch_execute("SELECT steward.exempt_mask('double', 'phone', now() + '1 day', 'head of the desk')")
        .expect("exempt");
    assert_eq!(shown(&mut session, PHONE), "13800000007");
    assert_eq!(shown(&mut school.session("cs"), PHONE), "138****0007", "the exemption is the member's alone");
    assert!(!tells(&shown(&mut session, "SELECT id_card FROM desk.student WHERE id = 7")), "and of one class");
}

/// No plan outlives the term that it was made in: the first use is refused or masked, never clear.
fn an_exemption_ends_under_a_generic_plan() {
    let school = desk();
    let mut superuser = school.superuser();
    superuser
        .batch_execute("SELECT steward.exempt_mask('cs', 'phone', clock_timestamp() + '2 s', 'a test')")
        .expect("exempt");
    let mut clerk = school.session("cs");
    clerk.batch_execute(&format!("SET plan_cache_mode = force_generic_plan; PREPARE p AS {PHONE}")).expect("prepare");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "13800000007");
    std::thread::sleep(std::time::Duration::from_millis(2200));
    refused(&mut clerk, "EXECUTE p", "not made for the masks of this role");
    assert_eq!(shown(&mut clerk, "EXECUTE p"), "138****0007");
    assert_eq!(shown(&mut clerk, PHONE), "138****0007");
}
