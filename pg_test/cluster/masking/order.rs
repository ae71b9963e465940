//! Rows that come in an order tell of what they are ordered by; and classes that an owner takes off.

use super::{REFUSED, desk_with, shown};
use crate::expect::expect_error;

tests! {
    an_index_that_holds_a_masked_column_orders_nothing,
    an_index_of_a_partition_orders_nothing,
    an_index_on_what_is_clear_orders_as_ever,
    whoever_sees_clear_has_the_servers_own_plans,
    a_masked_owner_takes_no_class_off,
}

/// Phones fall while the rows lie as their ids rise.
const FALLING: &str = "SET ROLE app_owner;
    CREATE TABLE desk.caller (id int PRIMARY KEY, school_id int, phone text, parts text);
    INSERT INTO desk.caller SELECT n, 1, '1380000' || lpad((100 - n)::text, 4, '0'), '' FROM generate_series(1, 50) n;
    CREATE INDEX by_school ON desk.caller (school_id, phone);
    CREATE INDEX by_phone ON desk.caller (phone) INCLUDE (id);
    CREATE INDEX by_end ON desk.caller (right(phone, 4));
    CREATE TABLE desk.parted (id int, school_id int, phone text) PARTITION BY LIST (school_id);
    CREATE TABLE desk.part (phone text, school_id int, id int);
    ALTER TABLE desk.parted ATTACH PARTITION desk.part FOR VALUES IN (1);
    INSERT INTO desk.parted SELECT id, 1, phone FROM desk.caller;
    CREATE INDEX ON desk.parted (school_id, phone);
    GRANT SELECT, INSERT ON desk.caller, desk.parted, desk.part TO cs, teacher; ANALYZE desk.caller, desk.parted; RESET ROLE;
    SECURITY LABEL FOR pg_steward ON COLUMN desk.caller.phone IS 'phone';
    SECURITY LABEL FOR pg_steward ON COLUMN desk.parted.phone IS 'phone';";

const INDEXES_ONLY: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;";

/// The ids as they come, with nothing but scans of indexes allowed: as they lie.
#[track_caller]
fn come_as_they_lie(query: &str) {
    let school = desk_with(FALLING);
    let mut clerk = school.session("cs");
    clerk.batch_execute(INDEXES_ONLY).expect("settings");
    let ids: Vec<i32> = shown(&mut clerk, query).lines().map(|id| id.parse().expect("an id")).collect();
    assert_eq!(ids, (1..=50).collect::<Vec<i32>>(), "{query}");
}

fn an_index_that_holds_a_masked_column_orders_nothing() {
    come_as_they_lie("SELECT id FROM desk.caller WHERE school_id = 1");
    come_as_they_lie("SELECT id FROM desk.caller WHERE school_id >= 1");
    come_as_they_lie(
        "WITH c AS MATERIALIZED (SELECT id, school_id FROM desk.caller) SELECT id FROM c WHERE school_id = 1",
    );
}

fn an_index_of_a_partition_orders_nothing() {
    come_as_they_lie("SELECT id FROM desk.parted WHERE school_id = 1");
    come_as_they_lie("SELECT id FROM desk.part WHERE school_id = 1");
}

fn an_index_on_what_is_clear_orders_as_ever() {
    let school = desk_with(FALLING);
    let mut clerk = school.session("cs");
    clerk.batch_execute(INDEXES_ONLY).expect("settings");
    let plan = shown(&mut clerk, "EXPLAIN (COSTS off) SELECT id FROM desk.student WHERE id = 7");
    assert!(plan.contains("using student_pkey"), "{plan}");
}

fn whoever_sees_clear_has_the_servers_own_plans() {
    let school = desk_with(FALLING);
    let mut teacher = school.session("teacher");
    teacher.batch_execute(INDEXES_ONLY).expect("settings");
    let first = shown(&mut teacher, "SELECT id FROM desk.caller WHERE school_id = 1 LIMIT 1");
    assert_eq!(first, "50", "by phone");
    let plan = shown(&mut teacher, "EXPLAIN (COSTS off) SELECT id FROM desk.caller WHERE phone < '2' ORDER BY phone");
    assert!(plan.contains("Index Only Scan using by_phone"), "{plan}");
}

fn a_masked_owner_takes_no_class_off() {
    let school = desk_with("SELECT steward.set_mask('app_owner', 'phone')");
    let mut owner = school.session("app_owner");
    for label in ["NULL", "'note'"] {
        let label = format!("SECURITY LABEL FOR pg_steward ON COLUMN desk.student.phone IS {label}");
        expect_error(owner.batch_execute(&label), REFUSED, "Role app_owner sees a mask", "steward.access");
    }
    assert_eq!(shown(&mut owner, "SELECT phone FROM desk.student WHERE id = 7"), "138****0007");
    owner
        .batch_execute("SECURITY LABEL FOR pg_steward ON COLUMN desk.student.note IS 'note'")
        .expect("one that it sees");
}
