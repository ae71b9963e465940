//! Masks and writing: they are neither stored nor written back, and no write returns more than a read (cases 10, 15 to 19).

use super::{desk, desk_with, refused, shown, tells};

tests! {
    what_a_write_returns,
    a_mask_is_not_stored,
    an_upsert,
    a_row_that_is_written_back_whole,
    what_is_not_given_stays,
    a_row_lock_is_taken,
    an_error_shows_no_other_column,
}

/// Case 15.
fn what_a_write_returns() {
    let school = desk();
    let mut clerk = school.session("cs");
    for write in [
        "UPDATE desk.student SET note = 'x' WHERE id = 7 RETURNING phone, *",
        "UPDATE desk.student s SET note = 'x' WHERE id = 7 RETURNING s, to_jsonb(s)",
        "UPDATE desk.student s SET note = o.note FROM desk.student o WHERE o.id = s.id AND s.id = 7 RETURNING s.phone, o.phone",
        "WITH x AS (UPDATE desk.student SET note = 'x' WHERE id = 7 RETURNING *) SELECT phone FROM x",
        "INSERT INTO desk.student VALUES (101, 1, 'new', 'x', '13800000101', 1) RETURNING phone",
        "DELETE FROM desk.student WHERE id = 8 RETURNING phone, student",
    ] {
        let rows = shown(&mut clerk, write);
        assert!(!tells(&rows) && rows.contains("138****"), "{write}: {rows}");
    }
}

/// Case 16.
fn a_mask_is_not_stored() {
    let school = desk_with("SELECT steward.protect('desk.student')");
    let mut clerk = school.session("cs");
    for write in [
        "UPDATE desk.student SET note = phone",
        "UPDATE desk.student SET phone = phone",
        "UPDATE desk.student SET note = upper('x' || phone) WHERE id = 7",
        "UPDATE desk.student SET note = o.phone FROM desk.student o WHERE o.id = student.id",
        "UPDATE desk.student s SET note = s::text",
        "UPDATE desk.student SET (note, score) = (SELECT phone, 1 FROM desk.student WHERE id = 8)",
        "UPDATE desk.student SET note = (SELECT max(phone) FROM desk.student)",
        "INSERT INTO desk.student VALUES (7, 1, 'x') ON CONFLICT (id) DO UPDATE SET note = student.phone",
        "MERGE INTO desk.student t USING generate_series(7, 7) g ON t.id = g WHEN MATCHED THEN UPDATE SET note = t.phone",
        "MERGE INTO desk.student t USING desk.student s ON t.id = s.id + 1000 WHEN NOT MATCHED THEN INSERT (id, school_id, name, note) VALUES (s.id + 1000, 1, 'x', s.phone)",
    ] {
        refused(&mut clerk, write, "would store a mask");
    }
    assert_eq!(
        shown(
            &mut school.superuser(),
            "SELECT count(*) FROM desk.student WHERE note <> '' OR phone !~ '^138[0-9]{8}$'"
        ),
        "0"
    );
    assert!(
        school.records("user_id = 'cs' AND result = 'DENIED' AND rule = 'mask' AND table_name = 'desk.student'") >= 10
    );
    // Conditions are no values; and who sees clear writes.
    shown(&mut clerk, "UPDATE desk.student SET note = 'found' WHERE phone LIKE '138%' AND id = 7");
    shown(&mut school.session("teacher"), "UPDATE desk.student SET note = phone WHERE id = 7");
    assert_eq!(shown(&mut school.superuser(), "SELECT note FROM desk.student WHERE id = 7"), "13800000007");
}

/// Case 17.
fn an_upsert() {
    let school = desk_with(
        "REVOKE SELECT ON desk.student FROM cs; GRANT SELECT (id, school_id, score, note) ON desk.student TO cs",
    );
    let mut clerk = school.session("cs");
    let row = "INSERT INTO desk.student VALUES (7, 1, 'renamed', 'x', '13900000007', 1)";
    let by_id =
        format!("{row} ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, phone = EXCLUDED.phone RETURNING id");
    assert_eq!(shown(&mut clerk, &by_id), "7");
    let row = "INSERT INTO desk.student VALUES (200, 1, 'again', 'y', '13900000007', 1)";
    for target in ["(phone)", "ON CONSTRAINT student_phone"] {
        let upsert = format!("{row} ON CONFLICT {target} DO UPDATE SET note = EXCLUDED.name RETURNING id, note, phone");
        assert_eq!(shown(&mut clerk, &upsert), "7|again|139****0007", "{target}");
    }
    assert_eq!(shown(&mut clerk, &format!("{row} ON CONFLICT DO NOTHING RETURNING id")), "");
    let stored = "SELECT name, phone, note FROM desk.student WHERE id = 7";
    assert_eq!(shown(&mut school.superuser(), stored), "renamed|13900000007|again");
}

/// Case 18: an application reads a row and writes all of it back with one change.
fn a_row_that_is_written_back_whole() {
    let school = desk();
    let mut clerk = school.session("cs");
    let read = "SELECT name, id_card, phone FROM desk.student WHERE id = 7";
    let row = clerk.query_one(read, &[]).expect("read");
    let (name, card, phone): (String, Option<String>, String) = (row.get(0), row.get(1), row.get(2));
    let stored = "SELECT name, id_card, phone, score FROM desk.student WHERE id = 7";
    let write = "UPDATE desk.student SET name = $1, id_card = $2, phone = $3, score = 5 WHERE id = 7";
    assert_eq!(clerk.execute(write, &[&name, &card, &phone]).expect("write"), 1);
    assert_eq!(shown(&mut school.superuser(), stored), "student 7|110101201001010007|13800000007|5");
    let literal = format!("UPDATE desk.student SET phone = '{phone}', score = 6 WHERE id = 7 RETURNING phone");
    assert_eq!(shown(&mut clerk, &literal), "138****0007");
    let upsert = format!(
        "INSERT INTO desk.student VALUES (7, 1, '{name}', 'x', '{phone}', 7) ON CONFLICT (id)
         DO UPDATE SET name = EXCLUDED.name, phone = EXCLUDED.phone, score = EXCLUDED.score"
    );
    shown(&mut clerk, &upsert);
    let merge = format!(
        "MERGE INTO desk.student t USING (VALUES (7, '{phone}')) s(id, phone) ON t.id = s.id
         WHEN MATCHED THEN UPDATE SET phone = s.phone, score = 8"
    );
    shown(&mut clerk, &merge);
    assert_eq!(shown(&mut school.superuser(), stored), "student 7|110101201001010007|13800000007|8");
    // A new value is a value, and NULL is one.
    clerk
        .execute("UPDATE desk.student SET phone = $1, id_card = NULL WHERE id = 7", &[&"13900000007"])
        .expect("a new number");
    assert_eq!(shown(&mut school.superuser(), stored), "student 7|NULL|13900000007|8");
}

/// Applications say `coalesce($1, phone)` for what they may have nothing new for.
fn what_is_not_given_stays() {
    let school = desk_with(
        "CREATE DOMAIN desk.number AS text CHECK (VALUE <> ''); ALTER TABLE desk.student ADD other desk.number DEFAULT '13800000007';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.student.other IS 'phone'",
    );
    let mut clerk = school.session("cs");
    let stored = "SELECT name, id_card, phone FROM desk.student WHERE id = 7";
    let whole = "student 7|110101201001010007|13800000007";
    let update = "UPDATE desk.student SET phone = coalesce($1, phone), id_card = coalesce($2, id_card),
        name = CASE WHEN $3 THEN 'renamed' ELSE name END WHERE id = 7";
    let card: Option<String> = None;
    for phone in [None, Some("138****0007")] {
        assert_eq!(clerk.execute(update, &[&phone, &card, &false]).expect("nothing new"), 1);
        assert_eq!(shown(&mut school.superuser(), stored), whole, "{phone:?}");
    }
    for same in [
        "UPDATE desk.student SET phone = CASE WHEN random() > 2 THEN 'x' ELSE phone END WHERE id = 7",
        "UPDATE desk.student SET phone = CASE score WHEN 7 THEN coalesce(NULL, phone) END WHERE id = 7",
        "UPDATE desk.student SET phone = coalesce(o.note, student.phone) FROM (SELECT NULL AS note) o WHERE id = 7",
        "INSERT INTO desk.student VALUES (7, 1, 'x', '', '') ON CONFLICT (id) DO UPDATE
            SET phone = coalesce(nullif(EXCLUDED.phone, ''), student.phone), id_card = coalesce(nullif(EXCLUDED.id_card, ''), student.id_card)",
        "MERGE INTO desk.student t USING (VALUES (7, NULL)) s(id, phone) ON t.id = s.id WHEN MATCHED THEN UPDATE SET phone = coalesce(s.phone, t.phone)",
    ] {
        shown(&mut clerk, same);
        assert_eq!(shown(&mut school.superuser(), stored), whole, "{same}");
    }
    let given = "UPDATE desk.student SET phone = coalesce('13900000007', phone) WHERE id = 7 RETURNING phone";
    assert_eq!(shown(&mut clerk, given), "139****0007");
    shown(&mut clerk, "UPDATE desk.student SET other = coalesce(NULL, other)");
    assert_eq!(shown(&mut school.superuser(), "SELECT DISTINCT other FROM desk.student"), "13800000007");
    clerk
        .batch_execute(
            "CREATE FUNCTION desk.tell(text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''told %'', $1; END';
             CREATE DOMAIN desk.told AS text CHECK (desk.tell(VALUE))",
        )
        .expect("a domain that tells");
    // What looks at the value, or stores it elsewhere, gets the mask, and that is not stored.
    for write in [
        "UPDATE desk.student SET note = coalesce(NULL, phone)",
        "UPDATE desk.student SET phone = coalesce(NULL, upper(phone))",
        "UPDATE desk.student SET phone = coalesce(NULL, id_card)",
        "UPDATE desk.student SET phone = coalesce(NULL, phone::desk.told)",
        "UPDATE desk.student SET phone = coalesce(NULL, phone::varchar(3))",
        "UPDATE desk.student SET phone = greatest(phone, '1')",
        "UPDATE desk.student SET phone = CASE WHEN phone = '13900000007' THEN '1' ELSE phone END",
        "UPDATE desk.student SET phone = nullif(phone, '13900000007')",
        "UPDATE desk.student SET phone = coalesce(NULL, o.phone) FROM desk.student o WHERE o.id = student.id + 1",
        "UPDATE desk.student SET phone = coalesce(NULL, (SELECT o.phone FROM desk.student o WHERE o.id = 8))",
        "INSERT INTO desk.student (id, school_id, name, phone) SELECT 300, 1, 'x', coalesce(NULL, phone) FROM desk.student WHERE id = 7",
    ] {
        refused(&mut clerk, write, "would store a mask");
    }
}

/// Case 19.
fn a_row_lock_is_taken() {
    let school = desk();
    let mut one = school.session("cs");
    assert_eq!(shown(&mut one, "BEGIN; SELECT phone FROM desk.student WHERE id = 7 FOR UPDATE"), "138****0007");
    let mut other = school.session("cs");
    let skipped = "SELECT phone FROM desk.student WHERE id IN (7, 8) FOR SHARE SKIP LOCKED";
    assert_eq!(shown(&mut other, skipped).lines().count(), 1);
    let error =
        crate::expect::db_error(other.simple_query("SELECT phone FROM desk.student WHERE id = 7 FOR UPDATE NOWAIT"));
    assert_eq!(error.code(), &postgres::error::SqlState::LOCK_NOT_AVAILABLE);
    let plan = shown(&mut other, "EXPLAIN SELECT phone FROM desk.student WHERE id = 7 FOR UPDATE");
    assert!(plan.starts_with("LockRows"), "{plan}");
}

/// Case 10: with row security by the server, without it (the owner) by this extension.
fn an_error_shows_no_other_column() {
    let school = desk_with("SELECT steward.set_mask('app_owner', '*'), steward.protect('desk.student')");
    for login in ["cs", "app_owner"] {
        let mut session = school.session(login);
        for write in [
            "UPDATE desk.student SET score = -1 WHERE id = 7",
            "UPDATE desk.student SET name = NULL WHERE id = 7",
            "UPDATE desk.student SET id = 8 WHERE id = 7",
            "INSERT INTO desk.student (id, phone) VALUES (300, '13800000300')",
        ] {
            let error = format!("{:?}", crate::expect::db_error(session.simple_query(write)));
            assert!(!tells(&error), "{login}: {write}: {error}");
        }
    }
}
