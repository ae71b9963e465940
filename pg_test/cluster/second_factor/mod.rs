//! The second factor: codes come from an independent implementation. Here are the authenticators and a school that demands
//! them; the tests are beside.

pub mod code;
pub mod demand;
pub mod enrolment;
pub mod secret;

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postgres::Client;
use postgres::error::{DbError, SqlState};

use crate::cluster::succeed;
use crate::expect::expect_error;
use crate::school::{School, ask};

const WRONG: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;
const NOT_NOW: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const IMPORTANT: &str = "UPDATE app.student SET id_card = 'ID-new' WHERE id = 7";
const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
/// A step that every post which applies may take alone.
const REQUEST: &str = "SELECT steward.request('TRUNCATE app.guardian', purpose => 'a test')";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
/// Everybody from whom the school's posts demand a second factor.
const ACTING: [&str; 8] = [
    "reviewer_sun",
    "reviewer_zhou",
    "teacher_wang",
    "region_chen",
    "region_liu",
    "security_han",
    "postgres",
    "clerk_zhao",
];

/// Somebody's authenticator.
pub struct Phone(String);

impl Phone {
    /// Enrols the person behind this session.
    #[track_caller]
    pub fn enrolled(session: &mut Client) -> Phone {
        let uri: String = ask(session, "SELECT steward.enroll_totp()");
        assert!(uri.starts_with("otpauth://totp/pg_steward%20school:"), "{uri}");
        let secret = uri.split("secret=").nth(1).and_then(|rest| rest.split('&').next());
        Phone(secret.expect("a secret").to_owned())
    }

    /// The code so many steps from now, by an independent implementation.
    pub fn code(&self, steps: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_secs() as i64 + 30 * steps;
        let mut oathtool = Command::new("oathtool");
        oathtool.args(["--totp", "--base32", &format!("--now=@{now}"), &self.0]);
        succeed(oathtool).trim().to_owned()
    }

    /// Some code that is wrong for a while.
    fn wrong(&self) -> String {
        let near: Vec<String> = (-3..=3).map(|step| self.code(step)).collect();
        let wrong = (0..10).map(|number| format!("{number:06}")).find(|code| !near.contains(code));
        wrong.expect("seven codes are not ten")
    }
}

/// Waits until the next step is some seconds away, so that "now" means one step for a while.
pub fn steady() {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_secs() % 30;
    while second() > 18 {
        sleep(Duration::from_millis(200));
    }
}

pub fn verify(session: &mut Client, code: &str) -> Result<(), postgres::Error> {
    session.query("SELECT steward.verify_totp($1)", &[&code]).map(drop)
}

#[track_caller]
fn wrong(session: &mut Client, code: &str) -> DbError {
    expect_error(verify(session, code), WRONG, "each code serves once", "")
}

/// Retries while the server has just started.
#[track_caller]
fn settled<T>(mut attempt: impl FnMut() -> Result<T, postgres::Error>) -> Result<T, postgres::Error> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let result = attempt();
        let error = result.as_ref().err().and_then(|error| error.as_db_error());
        let early = error.is_some_and(|error| error.message().contains("verified yet"));
        if !early || Instant::now() > deadline {
            return result;
        }
        sleep(Duration::from_millis(100));
    }
}

/// A school with a key, whose policy demands codes; not active.
pub fn demanding() -> School {
    let mut school = School::inactive();
    give_key(&mut school);
    school
        .superuser()
        .batch_execute(
            "SELECT steward.set_tier_policy('critical', second_factor => true);
             SELECT steward.set_tier_policy('important', second_factor => true)",
        )
        .expect("the installed demand");
    school
}

fn give_key(school: &mut School) {
    let key = school.private_file("steward.key", KEY);
    school.configure(&[&format!("steward.key_file = '{}'", key.display())]);
    school.restart();
}

/// The same with everybody enrolled, and active.
pub struct Active {
    pub school: School,
    phones: Vec<(&'static str, Phone)>,
}

impl Active {
    fn new() -> Active {
        Active::of(demanding())
    }

    pub fn of(school: School) -> Active {
        let phones = ACTING.map(|login| (login, Phone::enrolled(&mut school.session(login)))).into();
        school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
        school.flush_audit();
        steady();
        Active { school, phones }
    }

    pub fn phone(&self, login: &str) -> &Phone {
        &self.phones.iter().find(|(owner, _)| *owner == login).expect("an enrolled login").1
    }

    /// A session of this login that typed its code of so many steps from now.
    #[track_caller]
    pub fn stepped_up(&self, login: &str, steps: i64) -> Client {
        let mut session = self.school.session(login);
        verify(&mut session, &self.phone(login).code(steps)).unwrap_or_else(|error| panic!("{login}: {error:?}"));
        session
    }
}

#[track_caller]
pub fn missing<T>(result: Result<T, postgres::Error>) -> DbError {
    let error = expect_error(result, NOT_NOW, "Second factor missing", "SELECT steward.verify_totp('…');");
    assert!(error.message().contains("refused: the second factor is missing"), "{error:?}");
    error
}
