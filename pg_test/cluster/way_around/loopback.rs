//! Foreign tables whose server is this very server: what is written through them is written by another session, which is
//! decided like any other. The login that it uses stands in its record.

use super::attack::{Allowed, BULK_UPDATE, ROLES, Refused, Said, attack, attack_as, watch};
use crate::expect::expect_error;
use crate::school::School;
use postgres::error::SqlState;
use std::io::Write;

tests! {
    a_foreign_table_of_the_same_database,
    rows_copied_into_a_foreign_table_of_the_same_database,
    a_vote_through_a_foreign_table,
    foreign_servers_after_the_activation,
}

const BULK_INSERT: Said = ["INSERT", "app.guardian", "critical", "bulk_write"];

/// Both roles may write foreign tables of the protected ones, each in a session of their own login.
fn school() -> School {
    let school = School::inactive();
    let socket = school.file("");
    // The session that imports it does not see what is not committed.
    let vote = "CREATE VIEW app.vote AS SELECT op_no, steward.approve(op_no, digest) IS NULL AS voted
            FROM (SELECT o.op_no, s.digest FROM steward.operation o, LATERAL steward.show(o.op_no) s OFFSET 0) all_of_them;
        GRANT SELECT ON app.vote TO PUBLIC";
    school.superuser().batch_execute(vote).expect("a view");
    let set_up = format!(
        "CREATE EXTENSION postgres_fdw; CREATE SCHEMA far;
         CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (host '{}', port '5432', dbname 'school', fetch_size '100', batch_size '100');
         CREATE USER MAPPING FOR teacher_wang SERVER self OPTIONS (user 'teacher_wang', password_required 'false');
         CREATE USER MAPPING FOR region_chen SERVER self OPTIONS (user 'reviewer_sun', password_required 'false');
         CREATE USER MAPPING FOR postgres SERVER self OPTIONS (user 'postgres', password_required 'false');
         IMPORT FOREIGN SCHEMA app LIMIT TO (student, guardian, vote) FROM SERVER self INTO far;
         GRANT USAGE ON SCHEMA far TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA far TO teacher_wang, region_chen;
         GRANT TRUNCATE ON app.guardian TO teacher_wang;
         SELECT steward.activate()",
        socket.display()
    );
    school.superuser().batch_execute(&set_up).expect("postgres_fdw is installed");
    school
}

fn a_foreign_table_of_the_same_database() {
    let school = school();
    // One remote statement.
    attack(&school, "UPDATE far.student SET note = 'x' WHERE id <= 60", Refused, BULK_UPDATE);
    attack(
        &school,
        "DELETE FROM far.guardian WHERE id <= 60",
        Refused,
        ["DELETE", "app.guardian", "critical", "bulk_write"],
    );
    // A remote statement for each row, in one remote transaction.
    let one_by_one = "UPDATE far.student SET note = 'x' WHERE id <= 60 AND random() >= 0";
    attack(&school, one_by_one, Refused, BULK_UPDATE);
    let insert = "INSERT INTO far.guardian SELECT n, 1, 'far' FROM generate_series(1001, 1060) n";
    attack(&school, insert, Refused, BULK_INSERT);
    attack(&school, "TRUNCATE far.guardian", Refused, ["TRUNCATE TABLE", "app.guardian", "critical", "structure"]);
    for who in ROLES {
        let few = "UPDATE far.student SET note = 'x' WHERE id = 1";
        attack_as(&school, who, few, Allowed, ["UPDATE", "app.student", "normal", "write"]);
        let copy = "CREATE TEMP TABLE loot AS SELECT phone FROM far.student";
        attack_as(&school, who, copy, Allowed, ["SELECT", "app.student", "normal", "read"]);
    }
}

fn rows_copied_into_a_foreign_table_of_the_same_database() {
    let school = school();
    for who in ROLES {
        let mut session = school.session(who);
        watch(&school, who, Refused, BULK_INSERT, || {
            let mut writer = session.copy_in("COPY far.guardian FROM STDIN")?;
            let lines: String = (1001..=1060).map(|id| format!("{id}\t1\tfar\n")).collect();
            writer.write_all(lines.as_bytes()).expect("lines");
            writer.finish().map(drop)
        });
    }
}

/// The administrator lets an applicant's foreign tables log in as an approver: that is the approver's login, and no vote.
fn a_vote_through_a_foreign_table() {
    let school = school();
    let op_no = school.request("region_chen", super::attack::SIXTY);
    for who in ["region_chen", "postgres"] {
        let vote = school.session(who).batch_execute("SELECT * FROM far.vote");
        expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
        assert_eq!(school.status(&op_no), "submitted", "{who}");
    }
    let denied = "operation_type = 'APPROVE' AND result = 'DENIED'";
    for login in ["reviewer_sun", "postgres"] {
        assert_eq!(school.records(&format!("user_id = '{login}' AND {denied}")), 1, "{login}");
    }
}

fn foreign_servers_after_the_activation() {
    let school = school();
    for (statement, operation) in [
        ("CREATE SERVER more FOREIGN DATA WRAPPER postgres_fdw", "CREATE SERVER"),
        ("ALTER SERVER self OPTIONS (SET dbname 'postgres')", "ALTER SERVER"),
        ("CREATE USER MAPPING FOR PUBLIC SERVER self", "CREATE USER MAPPING"),
        ("ALTER USER MAPPING FOR teacher_wang SERVER self OPTIONS (SET user 'reviewer_sun')", "ALTER USER MAPPING"),
        ("CREATE FOREIGN TABLE far.more (id int) SERVER self", "CREATE FOREIGN TABLE"),
        ("IMPORT FOREIGN SCHEMA steward FROM SERVER self INTO far", "IMPORT FOREIGN SCHEMA"),
        ("CREATE FOREIGN DATA WRAPPER more", "CREATE FOREIGN DATA WRAPPER"),
    ] {
        attack(&school, statement, Refused, [operation, "", "critical", "config"]);
    }
}
