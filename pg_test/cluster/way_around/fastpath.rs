//! The fastpath protocol: a function call without any statement, seen by one hook only.

use super::attack::ROLES;
use super::wire::Wire;
use crate::school::{HOME, School};

tests! {
    a_file_on_the_fastpath,
    large_objects_on_the_fastpath,
    a_vote_on_the_fastpath,
    an_execution_on_the_fastpath_is_an_execution,
}

fn connect(school: &School, user: &str) -> Wire {
    Wire::connect(school, user, HOME, &[]).expect("connection")
}

/// The oid of a function.
fn oid(school: &School, signature: &str) -> u32 {
    school.ask(&format!("SELECT '{signature}'::regprocedure::oid"))
}

fn a_file_on_the_fastpath() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "GRANT EXECUTE ON FUNCTION pg_read_file(text), lo_import(text) TO teacher_wang;
             GRANT pg_read_server_files TO teacher_wang; SELECT steward.activate()",
        )
        .expect("set-up");
    for who in ROLES {
        let mut wire = connect(&school, who);
        for (signature, argument, symbol) in [
            ("pg_read_file(text)", "postgresql.conf", "pg_read_file_all"),
            ("lo_import(text)", "/etc/passwd", "be_lo_import"),
        ] {
            let refused = wire.call(oid(&school, signature), &[argument]).expect_err("refused");
            assert!(refused.starts_with("42501 critical statement refused"), "{refused}");
            let record = format!(
                "user_id = '{who}' AND result = 'DENIED' AND operation_type = '{symbol}' AND rule = 'server_access'"
            );
            assert_eq!(school.records(&record), 1, "{who}: {symbol}");
        }
    }
}

fn large_objects_on_the_fastpath() {
    let school = School::active();
    for who in ROLES {
        let mut wire = connect(&school, who);
        let made = wire.call(oid(&school, "lo_create(oid)"), &["4711"]).expect("a large object");
        assert_eq!(made, "4711");
        let gone = wire.call(oid(&school, "lo_unlink(oid)"), &["4711"]).expect("its owner");
        assert_eq!(gone, "1");
        for symbol in ["be_lo_create", "be_lo_unlink"] {
            let record = format!("user_id = '{who}' AND operation_type = '{symbol}' AND result = 'SUCCESS'");
            assert_eq!(school.records(&record), 1, "{who}: {symbol}");
        }
    }
}

/// A vote is what a person types and can read in the log: a function number is not.
fn a_vote_on_the_fastpath() {
    let school = School::active();
    let op_no = school.request("region_chen", super::attack::SIXTY);
    let digest = school.digest(&op_no);
    let signature: String =
        school.ask("SELECT oid::regprocedure::text FROM pg_proc WHERE oid::regproc::text = 'steward.approve'");
    let arguments = [op_no.as_str(), digest.as_str(), ""];
    let count: i16 = school.ask(&format!("SELECT pronargs FROM pg_proc WHERE oid = '{signature}'::regprocedure"));
    let vote = connect(&school, "reviewer_sun").call(oid(&school, &signature), &arguments[..count as usize]);
    assert!(vote.expect_err("no vote").starts_with("42501"));
    assert_eq!(school.status(&op_no), "submitted");
}

fn an_execution_on_the_fastpath_is_an_execution() {
    let school = School::active();
    let execute = oid(&school, "steward.execute(text)");
    for who in ["region_chen", "postgres"] {
        let op_no = school.request(who, super::attack::SIXTY);
        school.release(&op_no);
        let before = school.status(&op_no);
        // A set-returning function cannot be called there at all.
        connect(&school, who).call(execute, &[&op_no]).expect_err("no execution");
        assert_eq!(school.status(&op_no), before, "{who}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}
