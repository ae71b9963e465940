//! Persons for the in-process tests. One session has one login, so it changes who is behind it: the policy is not active
//! within a test's transaction, and the person of the login is a row.

use pgrx::prelude::*;

/// Chen (region_admin) is behind the session's login. Sun and Zhou review, Liu is another region_admin, Han the security
/// officer, Qian the auditor, Zhao a clerk, Card the application. No second factor is demanded: codes are the cluster
/// tests'. `app.attempt(sql)` tells how a statement ends.
pub fn people() {
    Spi::run(
        "CREATE ROLE chen LOGIN; CREATE ROLE sun LOGIN; CREATE ROLE zhou LOGIN; CREATE ROLE liu LOGIN; CREATE ROLE han LOGIN;
         CREATE ROLE qian LOGIN; CREATE ROLE zhao LOGIN; CREATE ROLE card LOGIN;
         SELECT steward.set_post('region_admin', '{apply,witness}');
         SELECT steward.register_person('Chen', 'region_admin', ARRAY['chen', session_user]::regrole[]),
            steward.register_person('Sun', 'reviewer', '{sun}'), steward.register_person('Zhou', 'reviewer', '{zhou}'),
            steward.register_person('Liu', 'region_admin', '{liu}'), steward.register_person('Han', 'security_officer', '{han}'),
            steward.register_person('Qian', 'auditor', '{qian}'), steward.register_person('Zhao', 'clerk', '{zhao}'),
            steward.register_person('Card', 'service', '{card}');
         SELECT steward.set_tier_policy('critical', second_factor => false),
            steward.set_tier_policy('important', second_factor => false);",
    )
    .expect("the persons are registered");
}

/// `app.attempt(sql)`: `ok`, or what the error says, `sqlstate|message|detail|constraint`.
pub fn attempts() {
    Spi::run(
        "CREATE FUNCTION app.attempt(sql text) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE state text; message text; detail text; name text;
         BEGIN
            EXECUTE sql;
            RETURN 'ok';
         EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
                name = CONSTRAINT_NAME;
            RETURN concat_ws('|', state, message, detail, name);
         END $$",
    )
    .expect("the helper is made");
}

/// From now on this person is behind the session's login.
pub fn act_as(person: &str) {
    let statement =
        format!("UPDATE steward.person_login SET person = '{person}' WHERE role::oid = to_regrole(session_user)");
    Spi::run(&statement).expect("the login changes hands");
    policy_changed();
}

/// Makes direct changes of policy tables known, as the functions do for theirs.
pub fn policy_changed() {
    assert!(crate::own::policy_changed().is_ok());
    // Safe: a command has ended.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// How a statement ends.
pub fn attempt(sql: &str) -> String {
    Spi::get_one_with_args("SELECT app.attempt($1)", &[sql.into()]).expect("the attempt is made").expect("an answer")
}

#[track_caller]
pub fn refused(sql: &str, expected: &[&str]) {
    let answer = attempt(sql);
    for part in expected {
        assert!(answer.contains(part), "{sql}\nanswered: {answer}\nwithout:  {part}");
    }
}

/// One text value.
pub fn text(sql: &str) -> String {
    Spi::get_one(sql).expect("the query runs").expect("a value")
}

pub fn count(sql: &str) -> i64 {
    Spi::get_one(sql).expect("the query runs").expect("a value")
}

/// Files a script as the person behind the login; `more` are further arguments with a leading comma.
pub fn request(script: &str, more: &str) -> String {
    let call = format!("SELECT steward.request($1, purpose => 'test'{more})");
    Spi::get_one_with_args(&call, &[script.into()]).expect("the request is filed").expect("a number")
}

pub fn digest(op_no: &str) -> String {
    text(&format!("SELECT encode(digest, 'hex') FROM steward._operation WHERE op_no = '{op_no}'"))
}

pub fn status(op_no: &str) -> String {
    text(&format!("SELECT status FROM steward.operation WHERE op_no = '{op_no}'"))
}

/// One vote: `approve` or `confirm` as that person; afterwards Chen is there again.
#[track_caller]
pub fn vote(person: &str, step: &str, op_no: &str) {
    act_as(person);
    assert_eq!(attempt(&format!("SELECT steward.{step}('{op_no}', '{}')", digest(op_no))), "ok", "{step} by {person}");
    act_as("Chen");
}

/// Files, and approves and confirms where that is demanded.
#[track_caller]
pub fn released(script: &str, more: &str) -> String {
    let op_no = request(script, more);
    let needed = count(&format!("SELECT approvals_needed::bigint FROM steward.operation WHERE op_no = '{op_no}'"));
    for approver in ["Sun", "Zhou"].into_iter().take(needed as usize) {
        vote(approver, "approve", &op_no);
    }
    if needed > 0 {
        vote("Liu", "confirm", &op_no);
    }
    op_no
}

/// The call that executes an operation.
pub fn run(op_no: &str) -> String {
    format!("SELECT count(*) FROM steward.execute('{op_no}')")
}
