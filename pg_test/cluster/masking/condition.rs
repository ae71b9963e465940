//! Conditions: what a mask hides cannot be asked for either (cases 12, 13, 23).

use super::{desk, desk_with, refused, shown, tells};
use crate::expect::db_error;

tests! {
    every_question_is_answered_by_the_mask,
    two_masked_columns_join_by_their_masks,
    an_equality_with_a_constant,
    what_is_more_than_an_equality_sees_the_mask,
    an_equality_is_on_record,
    a_denied_condition,
}

/// Case 12: the answers are those of a table that holds the masks.
fn every_question_is_answered_by_the_mask() {
    let school = desk_with(
        "CREATE TABLE desk.copy AS SELECT id, steward.mask_value('phone', phone) AS phone FROM desk.student; GRANT SELECT ON desk.copy TO cs",
    );
    let mut clerk = school.session("cs");
    for question in [
        "count(*) FROM {} WHERE phone = '13800000007'",
        "count(*) FROM {} WHERE phone LIKE '1380000000%'",
        "count(*) FROM {} WHERE phone BETWEEN '13800000000' AND '13800000050'",
        "count(*) FROM {} WHERE substr(phone, 4, 1) = '0'",
        "count(*) FROM {} WHERE phone ~ '0000'",
        "count(*) FROM {} WHERE phone = ANY (ARRAY['13800000007', '13800000008'])",
        "count(*) FROM {} WHERE phone IN (SELECT '13800000007')",
        "count(*) FROM {} WHERE (phone, 1) = ('13800000007', 1)",
        "count(*) FROM {} WHERE NOT phone <> '13800000007'",
        "count(*) FROM {} WHERE phone IS NOT DISTINCT FROM '13800000007'",
        "min(phone), max(phone), count(DISTINCT phone) FROM {}",
        "substr(phone, 4, 4), count(*) FROM {} GROUP BY substr(phone, 4, 4)",
        "count(*) FROM (SELECT rank() OVER (ORDER BY phone) r FROM {}) x WHERE r = 1",
        "count(*) FROM {} HAVING max(phone) > '13800000050'",
        "count(*) FROM generate_series(1, 3) g JOIN {} s ON s.phone = '1380000000' || g",
        "count(*) FROM {} WHERE CASE WHEN phone = '13800000007' THEN true ELSE false END",
        "count(phone = '13800000007' OR NULL) FROM {}",
    ] {
        let ask = |table: &str| format!("SELECT {}", question.replace("{}", table));
        let (real, copy) = (shown(&mut clerk, &ask("desk.student")), shown(&mut clerk, &ask("desk.copy")));
        assert_eq!(real, copy, "{question}");
    }
}

/// Case 23.
fn two_masked_columns_join_by_their_masks() {
    let school = desk();
    let join = "SELECT count(*) FROM desk.student a JOIN desk.student b ON a.id_card = b.id_card";
    assert_eq!(shown(&mut school.session("teacher"), join), "100");
    assert_eq!(shown(&mut school.session("cs"), join), "10000");
}

/// Case 13.
fn an_equality_with_a_constant() {
    let school = desk_with("SELECT steward.set_mask('cs', 'phone', predicate => 'equal'); ANALYZE desk.student");
    let mut clerk = school.session("cs");
    for find in ["phone = '13800000007'", "'13800000007' = phone AND score >= 0", "phone = '13800000007'::text"] {
        assert_eq!(
            shown(&mut clerk, &format!("SELECT id, phone FROM desk.student WHERE {find}")),
            "7|138****0007",
            "{find}"
        );
    }
    let row = clerk.query_one("SELECT id, phone FROM desk.student WHERE phone = $1", &[&"13800000007"]).expect("query");
    assert_eq!((row.get::<_, i32>(0), row.get::<_, String>(1)), (7, "138****0007".to_owned()));
    let join = "SELECT b.id FROM desk.student a JOIN desk.student b ON b.phone = '13800000007' AND a.id = b.id";
    assert_eq!(shown(&mut clerk, join), "7");
    let update = "UPDATE desk.student SET note = 'called' WHERE phone = '13800000007' RETURNING id, phone";
    assert_eq!(shown(&mut clerk, update), "7|138****0007");
    clerk.batch_execute("SET enable_seqscan = off").expect("setting");
    let plan = shown(&mut clerk, "EXPLAIN SELECT id FROM desk.student WHERE phone = '13800000007'");
    assert!(plan.contains("student_phone"), "{plan}");
    // The other columns have their own rules.
    assert_eq!(shown(&mut clerk, "SELECT count(*) FROM desk.student WHERE name = 'student 7'"), "0");
}

/// Case 13.
fn what_is_more_than_an_equality_sees_the_mask() {
    let school = desk_with("SELECT steward.set_mask('cs', 'phone', predicate => 'equal')");
    let mut clerk = school.session("cs");
    for find in [
        "phone = ANY (ARRAY['13800000007'])",
        "phone IN ('13800000007', '13800000008')",
        "phone = (SELECT '13800000007')",
        "phone = o.number",
        "phone > '13800000006'",
        "phone || '' = '13800000007'",
        "phone LIKE '13800000007'",
        "phone = '13800000007' OR phone = '13800000008'",
        "NOT (phone <> '13800000007')",
        "(phone = '13800000007') IS TRUE",
        "phone = upper(o.number)",
        "phone OPERATOR(pg_catalog.~~) '13800000007'",
    ] {
        let query = format!("SELECT count(*) FROM desk.student, (VALUES ('13800000007')) o(number) WHERE {find}");
        assert_eq!(shown(&mut clerk, &query), "0", "{find}");
    }
    let told = shown(
        &mut clerk,
        "SELECT string_agg((phone = '1380000' || lpad(id::text, 4, '0'))::text, ',') FROM desk.student",
    );
    assert!(!told.contains("true"), "a result is no condition: {told}");
}

/// Case 13: on a protected table.
fn an_equality_is_on_record() {
    let school = desk_with(
        "SELECT steward.set_mask('cs', 'phone', predicate => 'equal'); SELECT steward.protect('desk.student')",
    );
    let mut clerk = school.session("cs");
    shown(
        &mut clerk,
        "SELECT id FROM desk.student WHERE phone = '13800000007'; SELECT id FROM desk.student WHERE id = 7",
    );
    let compared = "user_id = 'cs' AND details::jsonb @> '{\"compared_unmasked\": [\"desk.student.phone\"]}'";
    assert_eq!(school.records(compared), 1);
}

/// Sorting and grouping are conditions too.
fn a_denied_condition() {
    let school = desk_with(
        "SELECT steward.set_mask('cs', 'phone', predicate => 'deny'); SELECT steward.protect('desk.student')",
    );
    let mut clerk = school.session("cs");
    for query in [
        "SELECT id FROM desk.student WHERE phone = '13800000007'",
        "SELECT id FROM desk.student WHERE score > 1 AND (phone || '') LIKE '%7'",
        "SELECT a.id FROM desk.student a JOIN desk.student b USING (phone)",
        "SELECT id FROM desk.student ORDER BY phone",
        "SELECT count(*) FROM desk.student GROUP BY phone",
        "SELECT DISTINCT phone FROM desk.student",
        "SELECT count(*) FROM desk.student HAVING max(phone) > ''",
        "UPDATE desk.student SET note = '' WHERE phone = '13800000007'",
        "DELETE FROM desk.student WHERE phone = '13800000007'",
        "SELECT (SELECT count(*) FROM generate_series(1, 2) g WHERE s.phone = '13800000007') FROM desk.student s",
    ] {
        refused(&mut clerk, query, "a masked column in a condition");
    }
    assert_eq!(shown(&mut clerk, "SELECT phone FROM desk.student WHERE id = 7"), "138****0007");
    assert_eq!(shown(&mut school.session("teacher"), "SELECT id FROM desk.student WHERE phone = '13800000007'"), "7");
    let error = db_error(clerk.simple_query("SELECT id FROM desk.student WHERE phone = '13800000007'"));
    assert!(error.detail().unwrap_or("").contains("desk.student.phone"), "{error:?}");
    assert!(!tells(&format!("{error:?}")), "{error:?}");
    assert!(school.records("user_id = 'cs' AND result = 'DENIED' AND rule = 'mask'") >= 10);
}
