//! A cluster with the small school of `school.sql` under policy, and the way of an operation in it.
//!
//! Who is who: `region_chen` and `teacher_wang` apply, `reviewer_sun` approves, `region_liu` is the
//! second person, `postgres` is a superuser and the person Wu of the post ops.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;

use crate::cluster::Cluster;

/// The governed database of the cluster.
pub const HOME: &str = "school";

/// Settings of a governed cluster in the given mode.
pub fn settings(mode: &str) -> [String; 3] {
    [
        "shared_preload_libraries = 'pg_steward'".to_string(),
        format!("steward.database = '{HOME}'"),
        format!("steward.mode = '{mode}'"),
    ]
}

/// A governed cluster; derefs to it. Questions are asked in a session that is kept: each login is a record of its own.
pub struct School(Cluster, Mutex<Option<Client>>);

impl School {
    /// The policy is active and enforced.
    pub fn active() -> School {
        let school = School::inactive();
        school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
        school
    }

    /// The policy is set up, the mode is `enforce`, but nobody called `activate()`.
    pub fn inactive() -> School {
        School::with("enforce", &[])
    }

    /// The policy is set up but not active, in this mode, with further lines in postgresql.conf.
    pub fn with(mode: &str, more: &[&str]) -> School {
        let settings = settings(mode);
        School::set_up(Cluster::with_home(&[&settings.each_ref().map(String::as_str), more].concat()))
    }

    /// The policy is set up, not active, in this running cluster with its home database.
    pub fn set_up(cluster: Cluster) -> School {
        let school = School::of(cluster);
        school.superuser().batch_execute(include_str!("school.sql")).expect("school.sql");
        school
    }

    /// A copy of a school's cluster.
    pub fn of(cluster: Cluster) -> School {
        School(cluster, Mutex::new(None))
    }

    /// A session in the governed database.
    #[track_caller]
    pub fn session(&self, login: &str) -> Client {
        self.connect(login, HOME)
    }

    #[track_caller]
    pub fn superuser(&self) -> Client {
        self.session("postgres")
    }

    /// One value, asked by the superuser.
    #[track_caller]
    pub fn ask<T: for<'a> postgres::types::FromSql<'a>>(&self, query: &str) -> T {
        let kept = self.1.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The server may have ended it since.
        let alive = |session: &mut Client| session.is_valid(Duration::from_secs(60)).is_ok();
        let mut session =
            kept.and_then(|mut kept| alive(&mut kept).then_some(kept)).unwrap_or_else(|| self.superuser());
        let answer = match session.query_one(query, &[]) {
            Ok(row) => row.get(0),
            // Reading the trail is on record, so a pause beyond the idle term ended it.
            Err(error) if session.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN) => {
                session = self.superuser();
                ask(&mut session, query)
            }
            Err(error) => panic!("{query}: {error:?}"),
        };
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        answer
    }

    /// Waits until everything recorded so far is in the chain. So long, because the postmaster, now and then, starts a worker
    /// that has ended again only when it wakes by itself, which takes up to a minute.
    #[track_caller]
    pub fn flush_audit(&self) {
        assert!(self.ask::<bool>("SELECT steward.flush_audit('75 s')"), "flush_audit timed out");
    }

    /// How many records match a condition on `steward.audit_log`, everything so far included.
    #[track_caller]
    pub fn records(&self, condition: &str) -> i64 {
        self.flush_audit();
        self.ask(&format!("SELECT count(*) FROM steward.audit_log WHERE {condition}"))
    }

    /// Files an operation as this login and returns its number.
    #[track_caller]
    pub fn request(&self, login: &str, script: &str) -> String {
        let mut applicant = self.session(login);
        request(&mut applicant, script, "")
    }

    /// The digest of an operation, as approvers read it.
    #[track_caller]
    pub fn digest(&self, op_no: &str) -> String {
        let row = self.superuser().query_one("SELECT digest::text FROM steward.show($1)", &[&op_no]);
        row.expect("show").get(0)
    }

    #[track_caller]
    pub fn status(&self, op_no: &str) -> String {
        let row = self.superuser().query_one("SELECT status::text FROM steward.show($1)", &[&op_no]);
        row.expect("show").get(0)
    }

    /// One step of another person, in a session of their own: `approve` or `confirm`.
    pub fn vote(&self, login: &str, step: &str, op_no: &str) -> Result<(), postgres::Error> {
        let digest = self.digest(op_no);
        let call = format!("SELECT steward.{step}($1, $2)");
        self.session(login).query(&call, &[&op_no, &digest]).map(drop)
    }

    /// Approves an operation as often as that is demanded, and confirms it if it is, as other persons.
    #[track_caller]
    pub fn release(&self, op_no: &str) {
        self.approve(op_no);
        let row = self.superuser().query_one("SELECT witness_needed FROM steward.show($1)", &[&op_no]);
        if row.expect("show").get(0) {
            self.vote("region_liu", "confirm", op_no).expect("confirm");
        }
    }

    /// Every approval that an operation needs.
    #[track_caller]
    pub fn approve(&self, op_no: &str) {
        let row = self.superuser().query_one("SELECT approvals_needed FROM steward.show($1)", &[&op_no]);
        let needed: i32 = row.expect("show").get(0);
        for login in ["reviewer_sun", "reviewer_zhou"].into_iter().take(needed as usize) {
            self.vote(login, "approve", op_no).expect("approve");
        }
    }

    /// Runs a critical script of the superuser with these approvers, and `region_liu` as the second person.
    #[track_caller]
    pub fn operate_by(&self, approvers: &[&str], script: &str) -> String {
        let mut applicant = self.superuser();
        let op_no = request(&mut applicant, script, "");
        approvers.iter().for_each(|login| self.vote(login, "approve", &op_no).expect("approve"));
        self.vote("region_liu", "confirm", &op_no).expect("confirm");
        execute(&mut applicant, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        op_no
    }

    /// The same with this login as the second person.
    #[track_caller]
    pub fn operate_by_witness(&self, witness: &str, script: &str) -> String {
        let mut applicant = self.superuser();
        let op_no = request(&mut applicant, script, "");
        self.approve(&op_no);
        self.vote(witness, "confirm", &op_no).expect("confirm");
        execute(&mut applicant, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        op_no
    }

    /// Runs a critical script the approved way, on behalf of this login; returns its number.
    #[track_caller]
    pub fn operate(&self, login: &str, script: &str) -> String {
        let mut applicant = self.session(login);
        let op_no = request(&mut applicant, script, "");
        self.release(&op_no);
        execute(&mut applicant, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        op_no
    }
}

/// Files an operation in this session; `more` are further named arguments, with a leading comma.
#[track_caller]
pub fn request(applicant: &mut Client, script: &str, more: &str) -> String {
    let call = format!("SELECT steward.request($1, purpose => 'cluster test'{more})");
    applicant.query_one(&call, &[&script]).unwrap_or_else(|error| panic!("{script}: {error:?}")).get(0)
}

/// Executes an operation by its number; the rows that its steps touched.
pub fn execute(session: &mut Client, op_no: &str) -> Result<i64, postgres::Error> {
    let rows = session.query("SELECT rows FROM steward.execute($1)", &[&op_no])?;
    Ok(rows.iter().map(|row| row.get::<_, Option<i64>>(0).unwrap_or(0)).sum())
}

/// One value.
#[track_caller]
pub fn ask<T: for<'a> postgres::types::FromSql<'a>>(session: &mut Client, query: &str) -> T {
    session.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

impl Deref for School {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl DerefMut for School {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.0
    }
}
