//! Emergency windows: a school with two engineers of the post ops, both with authenticators. `ops_zheng` is no superuser,
//! `postgres` is one; both may act alone here, unless a test gives their post its word back.

pub mod attack;
pub mod incident;
pub mod opening;
pub mod window;

use postgres::Client;
use postgres::error::{DbError, SqlState};

use crate::expect::expect_error;
use crate::school::School;
use crate::second_factor::{Active, Phone, demanding, verify};

const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;
const NOT_NOW: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
const REASON: &str = "the canteens cannot take cards";

struct Emergency {
    active: Active,
    zheng: Phone,
}

impl Emergency {
    fn new() -> Emergency {
        Emergency::with("")
    }

    /// With a further policy, set before the activation.
    fn with(policy: &str) -> Emergency {
        let school = demanding();
        let engineer = "CREATE ROLE ops_zheng LOGIN;
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO ops_zheng;
            SELECT steward.register_person('Zheng', 'ops', roles => '{ops_zheng}');";
        school.superuser().batch_execute(&format!("{engineer} {policy}")).expect("the engineer");
        let zheng = Phone::enrolled(&mut school.session("ops_zheng"));
        Emergency { active: Active::of(school), zheng }
    }

    fn school(&self) -> &School {
        &self.active.school
    }

    /// A session of Zheng that typed the code of so many steps from now.
    #[track_caller]
    fn zheng(&self, steps: i64) -> Client {
        let mut session = self.school().session("ops_zheng");
        verify(&mut session, &self.zheng.code(steps)).expect("a right code");
        session
    }

    /// Zheng's session with an open window, and its number.
    #[track_caller]
    fn open(&self, steps: i64) -> (Client, String) {
        let mut session = self.zheng(steps);
        let op_no = open(&mut session, "").expect("break glass");
        (session, op_no)
    }

    /// Somebody else accepts what was done in a window.
    #[track_caller]
    fn review(&self, op_no: &str, steps: i64) {
        let review = format!("SELECT steward.review('{op_no}', 'accepted', 'looked at every row')");
        self.active.stepped_up("reviewer_sun", steps).batch_execute(&review).expect("review");
    }

    /// How many students have the note of `SIXTY`.
    fn moved(&self) -> i64 {
        self.school().ask("SELECT count(*) FROM app.student WHERE note = 'moved'")
    }
}

/// Opens a window; `more` are further arguments, with a leading comma.
fn open(session: &mut Client, more: &str) -> Result<String, postgres::Error> {
    let call = format!("SELECT steward.break_glass('{REASON}'{more})");
    session.query_one(&call, &[]).map(|row| row.get(0))
}

fn end(session: &mut Client) {
    session.batch_execute("SELECT steward.end_break_glass()").expect("end");
}

/// The window must be refused, and that must be on record.
#[track_caller]
fn not_opened<T>(result: Result<T, postgres::Error>, code: &SqlState, words: &str) -> DbError {
    let error = expect_error(result, code, "", "");
    let text = format!("{} {}", error.message(), error.detail().unwrap_or(""));
    assert!(text.contains(words), "no {words:?} in {error:?}");
    error
}
