//! A rule for columns without a class: what nobody has looked at is not shown (case 26).

use super::{desk_with, refused, shown};

tests! {
    columns_without_a_class_are_hidden,
    the_floor_lies_beneath_it,
}

fn columns_without_a_class_are_hidden() {
    let school = desk_with(
        "SECURITY LABEL FOR pg_steward ON COLUMN desk.student.id IS 'plain'; CREATE TABLE desk.other (id int, note text);
         INSERT INTO desk.other VALUES (1, 'read'); GRANT SELECT ON desk.other TO cs; UPDATE desk.student SET note = 'secret'",
    );
    let mut clerk = school.session("cs");
    let row = "SELECT * FROM desk.student WHERE id = 7";
    assert!(shown(&mut clerk, row).contains("secret"), "there is no such rule");
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT steward.set_mask('cs', '-', 'hide', predicate => 'deny')").expect("rule");
    assert_eq!(shown(&mut clerk, row), "7|NULL|***|1101****|138****0007|NULL|***");
    superuser.batch_execute("ALTER TABLE desk.student ADD nickname text DEFAULT 'secret'").expect("column");
    assert_eq!(
        shown(&mut clerk, "SELECT s::text, nickname FROM desk.student s WHERE id = 7").matches("secret").count(),
        0
    );
    refused(&mut clerk, "SELECT id FROM desk.student WHERE note = 'secret'", "a masked column in a condition");
    assert_eq!(shown(&mut clerk, "SELECT * FROM desk.other"), "1|read", "nobody has said that it is to be protected");
    superuser.batch_execute("SELECT steward.protect('desk.other')").expect("protect");
    drop(clerk.simple_query("SELECT note FROM desk.other"));
    assert_eq!(shown(&mut clerk, "SELECT * FROM desk.other"), "NULL|***");
    assert!(shown(&mut school.session("teacher"), row).contains("secret"));
    // Every class does not mean none.
    superuser.batch_execute("SELECT steward.drop_mask('cs', '-'); SELECT steward.set_mask('cs', '*')").expect("rules");
    assert_eq!(shown(&mut clerk, "SELECT DISTINCT id, note FROM desk.student"), "NULL|secret");
}

fn the_floor_lies_beneath_it() {
    let school = desk_with("SELECT steward.set_mask('cs', '-', 'hide'); SELECT count(*) FROM steward.apply()");
    let readable = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'desk.student'::regclass AND attnum > 0
        AND has_column_privilege('cs', attrelid, attnum, 'SELECT')";
    assert_eq!(shown(&mut school.superuser(), readable), "0");
    let mut clerk = school.session("cs");
    assert_eq!(
        shown(&mut clerk, "SELECT ctid IS NULL, note, phone FROM desk.student WHERE phone = '138****0007'"),
        "f|***|138****0007"
    );
}
