//! Transparent masks: `app.student` with the classes name, id_card and phone, seen by the role `cs` (masked), `teacher`
//! (clear), the owner `app_owner` and the superuser. Each file is a way by which values leak elsewhere.
//!
//! Student 7 has the phone number 13800000007 and the identity number 110101201001010007.

pub mod asked;
pub mod cached_plan;
pub mod condition;
pub mod constraint;
pub mod copied;
pub mod documented;
pub mod every_plan;
pub mod every_question;
pub mod every_read;
pub mod every_row;
pub mod every_session;
pub mod every_write;
pub mod given;
pub mod order;
pub mod path;
mod protocol;
pub mod role;
pub mod rule;
pub mod unlabelled;
pub mod write_rule;
pub mod written;

use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};

use crate::school::School;

/// Whether a text tells anything that is hidden: the middle of a phone number, the birth date of an identity number, a name.
fn tells(text: &str) -> bool {
    ["0000", "2010010", "student 7"].iter().any(|hidden| text.contains(hidden))
}

const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;

/// The table of the study that all the leaks were found with.
const STUDENTS: &str = "
    CREATE ROLE app_owner LOGIN; CREATE ROLE cs LOGIN; CREATE ROLE teacher LOGIN;
    CREATE SCHEMA desk AUTHORIZATION app_owner;
    SET ROLE app_owner;
    CREATE TABLE desk.student (
        id        int PRIMARY KEY,
        school_id int NOT NULL,
        name      text NOT NULL,
        id_card   varchar(18) CONSTRAINT student_id_card UNIQUE,
        phone     text CONSTRAINT student_phone UNIQUE,
        score     int CONSTRAINT student_score CHECK (score >= 0),
        note      text
    );
    INSERT INTO desk.student SELECT n, 1 + n % 4, 'student ' || n, '11010120100101' || lpad(n::text, 4, '0'),
        '1380000' || lpad(n::text, 4, '0'), n % 100, '' FROM generate_series(1, 100) n;
    CREATE INDEX ON desk.student (school_id);
    GRANT USAGE, CREATE ON SCHEMA desk TO cs, teacher;
    GRANT SELECT, INSERT, UPDATE, DELETE ON desk.student TO cs, teacher;
    ALTER TABLE desk.student ENABLE ROW LEVEL SECURITY;
    CREATE POLICY everybody ON desk.student USING (true);
    RESET ROLE;
    SECURITY LABEL FOR pg_steward ON COLUMN desk.student.name IS 'name';
    SECURITY LABEL FOR pg_steward ON COLUMN desk.student.id_card IS 'id_card';
    SECURITY LABEL FOR pg_steward ON COLUMN desk.student.phone IS 'phone';
    SELECT steward.set_mask('cs', 'name', 'hide');
    SELECT steward.set_mask('cs', 'id_card');
    SELECT steward.set_mask('cs', 'phone');";

/// The school with that table, where the policy is set up and not active: masks hold from the first moment.
fn desk() -> School {
    desk_with("")
}

/// The same after these further statements of the superuser.
fn desk_with(set_up: &str) -> School {
    let school = School::inactive();
    let mut superuser = school.superuser();
    // The roles of the fixture are members of nothing but what a test says.
    superuser.batch_execute(STUDENTS).expect("the students");
    superuser.batch_execute(set_up).expect("set-up");
    school
}

/// Everything that statements show, one line a row, fields with bars between: the simple protocol.
#[track_caller]
fn shown(session: &mut Client, statements: &str) -> String {
    let messages = session.simple_query(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let fields: Vec<&str> = (0..row.len()).map(|field| row.get(field).unwrap_or("NULL")).collect();
            Some(fields.join("|"))
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect::<Vec<String>>().join("\n")
}

/// The same by a prepared statement, run often enough for a generic plan; the last answer.
#[track_caller]
fn shown_prepared(session: &mut Client, query: &str) -> String {
    session.batch_execute(&format!("PREPARE repeated AS {query}")).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let mut last = String::new();
    for _ in 0..7 {
        last = shown(session, "EXECUTE repeated");
    }
    session.batch_execute("DEALLOCATE repeated").expect("deallocate");
    last
}

/// `cs` is shown the masked phone number, by the simple protocol and prepared; never the number.
#[track_caller]
fn masked(school: &School, query: &str) -> String {
    let mut session = school.session("cs");
    let answer = shown(&mut session, query);
    for answer in [&answer, &shown_prepared(&mut session, query)] {
        assert!(!tells(answer), "{query} shows {answer}");
        assert!(answer.contains("138****"), "{query} shows {answer}");
    }
    answer
}

/// `cs` is refused with 42501, or shown no number.
#[track_caller]
fn hidden_or_refused(school: &School, query: &str) {
    match school.session("cs").simple_query(query) {
        Err(error) => assert_eq!(error.code(), Some(REFUSED), "{query}: {error:?}"),
        Ok(messages) => {
            let text = format!("{messages:?}");
            assert!(!tells(&text), "{query} shows {text}");
        }
    }
}

/// The statement must fail as a refusal of this kind.
#[track_caller]
fn refused(session: &mut Client, statement: &str, words: &str) {
    let error = crate::expect::db_error(session.simple_query(statement));
    assert_eq!(error.code(), REFUSED, "{statement}: {error:?}");
    assert!(error.message().contains(words), "no {words:?} in {error:?}");
}
