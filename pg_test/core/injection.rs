//! Injected SQL is suspected, and what applications write is not.

use crate::core::injection::Patterns;
use crate::core::redact::redact;

fn suspected(sql: &str) -> Vec<&'static str> {
    Patterns::of(&redact(sql, false)).names()
}

#[test]
fn injected_sql_is_suspected() {
    for (sql, pattern) in [
        ("SELECT * FROM app.student WHERE name = '' OR 1=1 --' AND pw = 'x'", "tautology"),
        ("SELECT * FROM app.student WHERE name = '' OR '1'='1'", "tautology"),
        ("SELECT * FROM app.student WHERE name = '' oR/**/1/**/=/**/1", "tautology"),
        ("SELECT * FROM app.student WHERE (name = '' OR ('a' LIKE 'a'))", "tautology"),
        ("SELECT * FROM app.student WHERE id = 7 OR 2 > 1 ORDER BY id", "tautology"),
        ("SELECT * FROM app.student WHERE id = 7 OR NOT (1 <> 1)", "tautology"),
        ("DELETE FROM app.student WHERE id = 7 OR true", "tautology"),
        ("UPDATE app.student SET note = '' WHERE id = 7 OR id = id", "tautology"),
        ("SELECT * FROM app.student WHERE id = 7 OR app.student.id = app.student.id;", "tautology"),
        ("SELECT * FROM app.student WHERE id = 7 OR 1 IN (1, 2)", "tautology"),
        ("SELECT * FROM app.student WHERE id = 7 OR 2 BETWEEN 1 AND 3", "tautology"),
        ("SELECT name FROM app.student WHERE id = 7 UNION SELECT usename FROM pg_user", "union"),
        (
            "SELECT a, b FROM app.student WHERE id = 7 UNION ALL SELECT table_name, NULL FROM information_schema.tables",
            "union",
        ),
        ("SELECT a FROM app.student UNION (SELECT c.relname FROM app.student, pg_catalog.pg_class c)", "union"),
        ("SELECT a, b, c FROM app.student WHERE id = 7 UNION SELECT NULL, NULL, NULL --", "union"),
        ("SELECT name FROM app.student WHERE phone = (SELECT passwd FROM pg_shadow LIMIT 1)", "secrets"),
        (r#"SELECT s.name FROM app.student s JOIN "pg_catalog"."pg_authid" a ON true"#, "secrets"),
    ] {
        assert_eq!(suspected(sql), [pattern], "{sql}");
    }
}

/// As Django, SQLAlchemy, Hibernate, MyBatis, Prisma, Rails and psql send them; and what reports do.
#[test]
fn what_applications_write_is_not_suspected() {
    for sql in [
        r#"SELECT "app_student"."id", "app_student"."name" FROM "app_student" WHERE ("app_student"."name" = 'x' OR NOT ("app_student"."grade" = 3)) ORDER BY 1 LIMIT 21"#,
        r#"SELECT (1) AS "a" FROM "app_student" WHERE "app_student"."id" = 7 LIMIT 1"#,
        "SELECT student.id AS student_id FROM student WHERE 1 = 1 AND student.id = %(id_1)s OR student.name IS NULL",
        "SELECT student.id FROM student WHERE false OR student.id IN (1, 2, 3)",
        "SELECT student.id FROM student WHERE student.id IN (SELECT CAST(NULL AS INTEGER) WHERE 1!=1)",
        "select s1_0.id from student s1_0 where (s1_0.name=$1 or $2 is null) and 1=1",
        "SELECT id FROM student WHERE 1=1 AND (name LIKE '%a%' OR phone LIKE '%a%') LIMIT 10 OFFSET 0",
        r#"SELECT "public"."Student"."id" FROM "public"."Student" WHERE ("public"."Student"."a" = $1 OR "public"."Student"."b" = $2) AND 1=1 OFFSET $3"#,
        r#"SELECT 1 AS one FROM "students" WHERE "students"."id" = $1 OR "students"."parent_id" = "students"."id" LIMIT $2"#,
        "SELECT id FROM student WHERE a = 1 OR 5 = ANY(grades)",
        "SELECT id FROM student WHERE a = 1 OR 5 = grade",
        "SELECT id FROM student WHERE a = 1 OR '2026-01-01' < created_at",
        "SELECT id FROM student WHERE a = 1 OR 'x' IS NULL",
        "SELECT id FROM student WHERE a = 1 OR 1 = 1 + grade",
        "SELECT id FROM student WHERE a = 1 OR 'x' = 'x' || name",
        "SELECT id FROM student WHERE a = 1 OR s.id = t.id",
        "SELECT id FROM student WHERE a = 1 OR id = id_of_twin",
        "SELECT id FROM student WHERE data ? 'a' OR data ?| array['b']",
        "SELECT id, name FROM student UNION ALL SELECT id, name FROM student_2025 ORDER BY 1",
        "SELECT id, name FROM student UNION SELECT 0, 'all of them'",
        "SELECT 'sum', NULL FROM student UNION ALL SELECT 'n', count(*) FROM student",
        "SELECT c.relname FROM pg_class c UNION SELECT i.relname FROM pg_class i",
        "SELECT rolname FROM pg_authid UNION SELECT NULL",
        "SELECT count(*), pg_relation_size('app.student') FROM app.student",
        "SELECT * FROM app.student WHERE name = 'OR 1=1' -- or 1=1",
        "CREATE OR REPLACE VIEW app.v AS SELECT 1 = 1 AS one FROM app.student",
        "",
        "OR",
        "UNION",
        "\"",
        "SELECT 'unterminated OR 1=1",
    ] {
        assert!(suspected(sql).is_empty(), "{:?}: {sql}", suspected(sql));
    }
}

/// Whoever writes the text waits for nobody; the sequencer, which reads it, has others to wait for it.
#[test]
fn no_text_makes_the_search_long() {
    let texts = [
        "from a,".repeat(300) + &"union ".repeat(300),
        "union from a,".repeat(320),
        "from from.".repeat(400),
        "or (".repeat(1000),
        "or a.".repeat(800) + "=" + &"a.".repeat(40),
        "from x union ".to_owned() + &"union null,".repeat(370),
        "from app.t ".to_owned() + &"union select null,".repeat(230),
        "join only only.".repeat(270),
        "\"".repeat(4096) + " union",
    ];
    for text in texts {
        let (_, steps) = Patterns::measured(&text);
        assert!(steps <= 8 * text.len() + 64, "{steps} steps for {} bytes: {:.40}", text.len(), text);
    }
    // Ten times the text is ten times the steps, until no more is looked at.
    let steps = |times: usize| Patterns::measured(&"union from a,".repeat(times)).1;
    assert!(steps(1000) <= 11 * steps(100), "{} after {}", steps(1000), steps(100));
    assert_eq!(steps(100_000), steps(10_000));
    assert_eq!(
        suspected(&("SELECT 1 FROM a,".to_owned() + &"b,".repeat(900) + "c WHERE x = 1 OR 1 = 1")),
        ["tautology"]
    );
}
