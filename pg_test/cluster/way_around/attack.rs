//! One attack in a few lines: who tries what, what must come of it, and what the record must say.

use crate::school::{School, ask};
use postgres::Client;
use postgres::error::SqlState;

/// An ordinary login with rights on every table, and a superuser. Both are persons.
pub const ROLES: [&str; 2] = ["teacher_wang", "postgres"];

/// What becomes of an attack.
#[derive(Clone, Copy, PartialEq)]
pub enum End {
    /// The policy refuses it, and nothing has changed.
    Refused,
    /// It is refused inside, but the attacker catches the error: the statement succeeds, and nothing has changed.
    Swallowed,
    /// PostgreSQL itself refuses it (42501), and nothing has changed.
    Forbidden,
    /// It passes.
    Allowed,
}
pub use End::{Allowed, Forbidden, Refused, Swallowed};

impl End {
    fn result(self) -> &'static str {
        match self {
            Refused | Swallowed => "DENIED",
            Forbidden => "FAILURE",
            Allowed => "SUCCESS",
        }
    }
}

/// What the one record of an attack says: operation type, relation (empty: none), tier and rule.
pub type Said = [&'static str; 4];

pub const BULK_UPDATE: Said = ["UPDATE", "app.student", "critical", "bulk_write"];
pub const STRUCTURE: [&str; 2] = ["critical", "structure"];

/// Sixty rows: more than anybody writes without an operation.
pub const SIXTY: &str = "UPDATE app.student SET note = 'x' WHERE id <= 60";

/// Tries an attack as both kinds of roles.
#[track_caller]
pub fn attack(school: &School, statements: &str, end: End, said: Said) {
    ROLES.iter().for_each(|who| attack_as(school, who, statements, end, said));
}

/// Tries an attack: simple protocol, a session of its own. Asserts its end, its record, and the data.
#[track_caller]
pub fn attack_as(school: &School, who: &str, statements: &str, end: End, said: Said) {
    let mut session = school.session(who);
    watch(school, who, end, said, || {
        let outcome = session.batch_execute(statements);
        // A failure is recorded when its transaction ends, which is after the client has the error.
        session.batch_execute("").expect("nothing always succeeds");
        outcome
    });
}

/// As `attack_as` for any way to try it.
#[track_caller]
pub fn watch(school: &School, who: &str, end: End, said: Said, tried: impl FnOnce() -> Result<(), postgres::Error>) {
    let mut witness = school.superuser();
    let before = everything(&mut witness);
    let mark = last_record(&mut witness);
    let outcome = tried();
    let context = format!("{who}: {said:?}: {outcome:?}");
    match (&outcome, end) {
        (Ok(()), Allowed | Swallowed) => {}
        (Err(error), Refused | Forbidden) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let ours = error.as_db_error().is_some_and(|error| error.message().contains("refused"));
            assert_eq!(ours, end == Refused, "{context}");
        }
        _ => panic!("the attack ended otherwise than it must: {context}"),
    }
    let [operation, relation, tier, rule] = said;
    let matching = format!(
        "SELECT count(*) FROM steward.audit_log WHERE id > {mark} AND user_id = '{who}' AND result = '{}'
            AND operation_type = '{operation}' AND coalesce(table_name, '') = '{relation}' AND tier = '{tier}'
            AND rule = '{rule}'",
        end.result()
    );
    let last = last_record(&mut witness);
    assert_eq!(ask::<i64>(&mut witness, &matching), 1, "{context}; on record: {}", recorded(&mut witness, mark, last));
    if end != Allowed {
        assert_eq!(everything(&mut witness), before, "changed although it was refused: {context}");
    }
}

/// A digest of what attacks are after: protected rows, policy, persons, roles, settings, and the structure of protected
/// tables.
pub fn everything(witness: &mut Client) -> String {
    ask(
        witness,
        "SELECT md5(string_agg(x, ' ' ORDER BY x)) FROM (
            SELECT s::text FROM app.student s UNION ALL SELECT g::text FROM app.guardian g
            UNION ALL SELECT c::text FROM app.card_transaction c
            UNION ALL SELECT r::text FROM steward.rule r UNION ALL SELECT p::text FROM steward.person p
            UNION ALL SELECT p::text FROM steward.protected p
            UNION ALL SELECT row(rolname, rolsuper, rolcreaterole)::text FROM pg_authid
            UNION ALL SELECT s::text FROM pg_db_role_setting s
            UNION ALL SELECT row(m.roleid, m.member)::text FROM pg_auth_members m
            UNION ALL SELECT row(a.attrelid, a.attname, a.atttypid, a.attisdropped)::text FROM pg_attribute a
                JOIN steward.protected p ON p.relation = a.attrelid
            UNION ALL SELECT row(t.tgrelid, t.tgname, t.tgenabled)::text FROM pg_trigger t
                JOIN steward.protected p ON p.relation = t.tgrelid
            UNION ALL SELECT row(d.datname, d.datconnlimit)::text FROM pg_database d) AS all_of_it(x)",
    )
}

/// Waits until everything so far is in the chain; its last id.
fn last_record(witness: &mut Client) -> i64 {
    assert!(ask::<bool>(witness, "SELECT steward.flush_audit()"), "flush_audit timed out");
    ask(witness, "SELECT coalesce(max(id), 0) FROM steward.chain")
}

/// What was recorded in between, for a failed assertion.
fn recorded(witness: &mut Client, after: i64, until: i64) -> String {
    let query = format!(
        "SELECT coalesce(string_agg(row(user_id, result, operation_type, relations, tier, rule)::text, E'\\n' ORDER BY id), '')
         FROM steward.audit_log WHERE id > {after} AND id <= {until} AND tier IS NOT NULL"
    );
    ask(witness, &query)
}
