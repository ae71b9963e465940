//! Row scopes: what each role sees, what cannot widen it, and what becomes of scopes in dumps, partitions and changes.

pub mod around;
pub mod attempt;
pub mod posts;
pub mod purpose;
pub mod rows;
pub mod temporary;

use crate::school::{School, ask};
use postgres::Client;

/// Teachers see their own school: Wang the first, Li, who is new here, the second. Fifty students each.
const TEACHERS: &str = "CREATE ROLE teacher; GRANT teacher TO teacher_wang;
    CREATE ROLE teacher_li LOGIN; GRANT USAGE ON SCHEMA app TO teacher; GRANT teacher TO teacher_li;
    GRANT SELECT, INSERT, UPDATE, DELETE ON app.student, app.guardian, app.card_transaction TO teacher;
    SELECT steward.register_person('Li', 'teacher', roles => '{teacher_li}');
    SELECT steward.set_scope('teacher', 'app.student', 'school_id', 'school');
    SELECT steward.set_attribute('Wang', 'school', '{1}');
    SELECT steward.set_attribute('Li', 'school', '{2}')";

/// A school with scoped teachers, and these further calls; not active.
pub fn inactive(calls: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(TEACHERS).expect("teachers");
    school.superuser().batch_execute(calls).unwrap_or_else(|error| panic!("{calls}: {error:?}"));
    school
}

/// The same, active.
pub fn active(calls: &str) -> School {
    let school = inactive(calls);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

const COUNT: &str = "SELECT count(*) FROM app.student";

/// How many students a session sees.
#[track_caller]
pub fn students(session: &mut Client) -> i64 {
    ask(session, COUNT)
}
