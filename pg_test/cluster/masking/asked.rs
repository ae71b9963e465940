//! What somebody else asks in a user's statement: row security and the checks of views see what their owner sees, and no
//! table or view of one's own lets one ask in another's name.

use super::{desk_with, refused, shown, shown_prepared, tells};
use crate::expect::db_error;

tests! {
    a_policy_that_reads_a_labelled_table,
    a_policy_of_one_s_own_reads_masks,
    a_view_of_one_s_own_checks_masks,
}

/// Calls may be seen where their number is that of a student of school 4: student 7, not student 8.
const CALLS: &str = "SET ROLE app_owner;
    CREATE TABLE desk.call (id int, phone text, note text);
    INSERT INTO desk.call VALUES (1, '13800000007'), (2, '13800000008'), (3, '138****0007');
    ALTER TABLE desk.call ENABLE ROW LEVEL SECURITY;
    CREATE POLICY ours ON desk.call USING (EXISTS (SELECT FROM desk.student s WHERE s.phone = call.phone AND s.school_id = 4));
    GRANT SELECT, INSERT, UPDATE, DELETE ON desk.call TO cs, teacher;
    RESET ROLE;";

fn a_policy_that_reads_a_labelled_table() {
    let school = desk_with(CALLS);
    for floor in
        ["", "REVOKE SELECT ON desk.student FROM cs; GRANT SELECT (id, school_id, score) ON desk.student TO cs"]
    {
        school.superuser().batch_execute(floor).expect("floor");
        let mut clerk = school.session("cs");
        assert_eq!(shown(&mut clerk, "SELECT id FROM desk.call"), "1");
        assert_eq!(shown_prepared(&mut clerk, "SELECT id FROM desk.call ORDER BY id"), "1");
        // There, and only there.
        let both = "SELECT c.id, s.phone FROM desk.call c JOIN desk.student s ON s.id = 7";
        assert_eq!(shown(&mut clerk, both), "1|138****0007");
        let asked =
            "SELECT count(*) FROM desk.call c WHERE EXISTS (SELECT FROM desk.student s WHERE s.phone = c.phone)";
        assert_eq!(shown(&mut clerk, asked), "0");
        assert_eq!(shown(&mut clerk, "UPDATE desk.call SET note = 'x' RETURNING id"), "1");
        shown(&mut clerk, "INSERT INTO desk.call VALUES (4, '13800000011')");
        for other in ["13800000012", "138****0011"] {
            let error = db_error(clerk.simple_query(&format!("UPDATE desk.call SET phone = '{other}' WHERE id = 4")));
            assert!(error.message().contains("row-level security"), "{error:?}");
        }
        assert_eq!(shown(&mut clerk, "DELETE FROM desk.call WHERE id = 4 RETURNING id"), "4");
    }
    assert_eq!(shown(&mut school.session("teacher"), "SELECT id FROM desk.call"), "1");
    school
        .superuser()
        .batch_execute("REVOKE ALL ON desk.student FROM cs; REVOKE ALL (id, school_id, score) ON desk.student FROM cs")
        .expect("revoked");
    refused(&mut school.session("cs"), "SELECT id FROM desk.call", "permission denied");
}

/// A table of the clerk's, and one of somebody who is masked nowhere and may not read students at all.
fn a_policy_of_one_s_own_reads_masks() {
    let school = desk_with(
        "CREATE ROLE dev LOGIN; GRANT USAGE, CREATE ON SCHEMA desk TO dev;
         CREATE FUNCTION desk.tell(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS 'BEGIN RAISE EXCEPTION ''told %'', $1; END'",
    );
    for owner in ["cs", "dev"] {
        let mut session = school.session(owner);
        session
            .batch_execute(&format!(
                "CREATE TABLE desk.{owner}_guess (guess text); INSERT INTO desk.{owner}_guess VALUES ('13800000007'), ('138****0007');
                 ALTER TABLE desk.{owner}_guess ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                 CREATE POLICY p ON desk.{owner}_guess USING (EXISTS (SELECT FROM desk.student s WHERE s.phone = guess)) WITH CHECK (true);
                 CREATE TABLE desk.{owner}_trap (); INSERT INTO desk.{owner}_trap DEFAULT VALUES;
                 ALTER TABLE desk.{owner}_trap ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                 CREATE POLICY p ON desk.{owner}_trap USING (EXISTS (SELECT FROM desk.student s WHERE desk.tell(s.phone)))
                    WITH CHECK (EXISTS (SELECT FROM desk.student s WHERE desk.tell(s.phone)));
                 GRANT ALL ON desk.{owner}_guess, desk.{owner}_trap TO cs"
            ))
            .expect("tables");
        let mut clerk = school.session("cs");
        assert_eq!(shown(&mut clerk, &format!("SELECT guess FROM desk.{owner}_guess")), "138****0007");
        for statement in ["SELECT FROM desk.{}_trap", "INSERT INTO desk.{}_trap DEFAULT VALUES"] {
            let told = db_error(clerk.simple_query(&statement.replace("{}", owner)));
            assert!(told.message().contains("138****") && !tells(&format!("{told:?}")), "{owner}: {told:?}");
        }
    }
}

fn a_view_of_one_s_own_checks_masks() {
    let school = desk_with(&format!(
        "{CALLS} SET ROLE app_owner;
         CREATE VIEW desk.theirs WITH (security_barrier) AS SELECT * FROM desk.student WHERE phone <> '13800000008' WITH CHECK OPTION;
         GRANT SELECT, UPDATE ON desk.theirs TO cs; RESET ROLE;
         CREATE FUNCTION desk.tell(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS 'BEGIN RAISE EXCEPTION ''told %'', $1; END'",
    ));
    let mut clerk = school.session("cs");
    clerk
        .batch_execute(
            "CREATE VIEW desk.checked AS SELECT * FROM desk.student WHERE phone IN ('138****0007', '138****0008', '13800000007') WITH CHECK OPTION;
             CREATE VIEW desk.guarded WITH (security_barrier) AS SELECT * FROM desk.student WHERE phone = '13800000007';
             CREATE VIEW desk.told WITH (security_barrier) AS SELECT * FROM desk.student WHERE desk.tell(phone);
             CREATE VIEW desk.among WITH (security_barrier) AS
                SELECT * FROM desk.student WHERE id IN (SELECT id FROM desk.student o WHERE o.phone = '13800000007');
             CREATE VIEW desk.borrowed WITH (security_barrier) AS
                SELECT * FROM desk.call c WHERE EXISTS (SELECT FROM desk.student o WHERE o.phone = c.phone AND desk.tell(o.id_card));
             CREATE VIEW desk.calls AS SELECT * FROM desk.call WHERE id < 3;
             CREATE VIEW desk.plain WITH (security_barrier) AS SELECT * FROM desk.student WHERE score > 1",
        )
        .expect("views");
    // A number that is there and one that is not are answered alike.
    for id in [7, 8] {
        assert_eq!(
            shown(&mut clerk, &format!("UPDATE desk.checked SET note = 'x' WHERE id = {id} RETURNING id")),
            id.to_string()
        );
    }
    for write in [
        "UPDATE desk.guarded SET note = 'x'",
        "DELETE FROM desk.guarded",
        "UPDATE desk.told SET note = 'x'",
        "DELETE FROM desk.told WHERE id = 7",
        "DELETE FROM desk.among",
        // The table's owner has a policy that reads students, the view is another's.
        "DELETE FROM desk.borrowed",
    ] {
        refused(&mut clerk, write, "security_barrier");
    }
    assert_eq!(shown(&mut clerk, "UPDATE desk.plain SET note = 'x' WHERE id = 7 RETURNING phone"), "138****0007");
    assert_eq!(shown(&mut clerk, "UPDATE desk.calls SET note = 'x' RETURNING id"), "1");
    // Whoever sees clear may say what is written through their view.
    assert_eq!(shown(&mut clerk, "UPDATE desk.theirs SET note = 'y' WHERE id IN (7, 8) RETURNING id"), "7");
    let error = db_error(clerk.simple_query("UPDATE desk.theirs SET phone = '13800000008x' WHERE id = 7; UPDATE desk.theirs SET phone = '13800000008' WHERE id = 9"));
    assert!(!tells(&format!("{:?}", error.detail())), "{error:?}");
    assert_eq!(shown(&mut school.superuser(), "SELECT count(*) FROM desk.student"), "100");
}
