//! Rows of others and rows that leave in number, each in every protocol (cases 33, 38, 44).

use super::protocol::Must::{Fail, Refuse, Show};
use super::protocol::{everywhere, hold, wire};
use crate::scope;

tests! {
    rows_of_others_and_rows_that_leave_in_number,
}

/// Wang sees school 1; the phone numbers of other schools must not appear, those of school 1 are Wang's to see.
fn rows_of_others_and_rows_that_leave_in_number() {
    let school = scope::active(
        "SELECT steward.set_scope('teacher', 'app.guardian', 'student_id', via => 'app.student', via_column => 'id');
         SELECT steward.set_export_limit('teacher_li', 20, NULL)",
    );
    // 44
    let mut wang = wire(&school, "teacher_wang");
    let away = Refuse("row-level security");
    hold(
        &mut wang,
        &[
            ("SELECT min(school_id), max(school_id), count(*) FROM app.student WHERE id > $1", &["0"], Show("1|1|50")),
            ("SELECT count(*) FROM app.student WHERE school_id <> $1", &["1"], Show("0")),
            (
                "SELECT count(*) FROM app.student s WHERE EXISTS (SELECT FROM app.student o WHERE o.school_id = $1 AND o.id > s.id)",
                &["2"],
                Show("0"),
            ),
            (
                "SELECT count(*) FROM app.guardian g LEFT JOIN app.student s ON s.id = g.student_id WHERE s.school_id IS DISTINCT FROM $1",
                &["1"],
                Show("0"),
            ),
            ("SELECT count(*) FROM app.student WHERE id = $1 AND id_card = 'ID' || $1::text", &["1"], Show("0")),
            ("UPDATE app.student SET school_id = $2 WHERE id = $1", &["4", "2"], away),
            ("INSERT INTO app.student VALUES ($1, $2, 'new', 'ID1000', '13900001111')", &["1000", "2"], away),
            (
                "INSERT INTO app.student VALUES ($1, 1, 'x', 'ID4', '13900001111') ON CONFLICT (id) DO UPDATE SET school_id = $2",
                &["4", "2"],
                away,
            ),
            (
                "MERGE INTO app.student s USING (VALUES ($1::int)) v(id) ON s.id = v.id WHEN MATCHED THEN UPDATE SET school_id = $2",
                &["4", "2"],
                away,
            ),
            ("UPDATE app.student SET note = 'x' WHERE id = $1 RETURNING id", &["1"], Show("")),
            ("DELETE FROM app.student WHERE id = $1 RETURNING id", &["1"], Show("")),
            ("SELECT id FROM app.student WHERE id IN (1, $1) FOR UPDATE", &["4"], Show("4")),
            // One that is there, elsewhere, and one that is not: the same.
            ("INSERT INTO app.guardian VALUES (900, $1, 'x')", &["1"], away),
            ("INSERT INTO app.guardian VALUES (900, $1, 'x')", &["5000"], away),
            ("TRUNCATE app.student", &[], Fail("42501")),
        ],
    );
    // 33
    for setting in ["SELECT set_config('app.school_id', $1, true)", "SELECT set_config('steward.person', $1, true)"] {
        everywhere(&mut wang, setting, &["2"], &mut |session, how, _| {
            session.simple("ROLLBACK; BEGIN; SET LOCAL app.school_id = 2");
            Show("50").judge(how, setting, &session.unnamed("SELECT count(*) FROM app.student", &[]));
        });
    }
    // 38: rows read, not rows returned.
    let many = Refuse("20 rows");
    hold(
        &mut wire(&school, "teacher_li"),
        &[
            ("SELECT length(string_agg(phone, ',')) FROM app.student WHERE id > $1", &["0"], many),
            ("SELECT json_array_length(json_agg(s)) FROM app.student s WHERE id > $1", &["0"], many),
            ("SELECT cardinality(array_agg(phone)) FROM app.student WHERE id > $1", &["0"], many),
            ("SELECT id FROM app.student WHERE id > $1 ORDER BY phone LIMIT 1 OFFSET 30", &["0"], many),
            (
                "SELECT sum((SELECT count(*) FROM app.student WHERE id = n AND phone LIKE $1)) FROM generate_series(1, 200) n",
                &["1%"],
                many,
            ),
            ("SELECT count(note) FROM app.student WHERE id <= $1", &["20"], Show("5")),
        ],
    );
}
