//! The cases of writing and of locks, each in every protocol (cases 10, 15 to 19, 27).

use super::desk_with;
use super::protocol::Must::{Fail, Mask, Refuse, Show};
use super::protocol::{Must, everywhere, hold, wire};

tests! {
    what_a_write_returns_and_leaves,
    what_violates_a_constraint,
    what_takes_an_owner,
    what_an_owner_with_masks_defines,
    what_is_locked,
}

const STORED: Must = Refuse("would store a mask");
const DEFINED: &str = "what is defined on a table is given its values";

/// Cases 15 to 18.
fn what_a_write_returns_and_leaves() {
    let school = desk_with("CREATE TABLE desk.mine (phone text); GRANT ALL ON desk.mine TO cs");
    let mut clerk = wire(&school, "cs");
    let seven = &["7", "x"][..];
    hold(
        &mut clerk,
        &[
            // 15
            ("UPDATE desk.student SET note = $2 WHERE id = $1 RETURNING phone, *", seven, Mask),
            ("UPDATE desk.student s SET note = $2 WHERE id = $1 RETURNING s, to_jsonb(s)", seven, Mask),
            ("DELETE FROM desk.student WHERE id = $1 RETURNING phone, student", &["7"], Mask),
            (
                "INSERT INTO desk.student VALUES ($1, 1, 'new', 'x', $2) RETURNING phone",
                &["101", "13800000101"],
                Show("138****0101"),
            ),
            (
                "WITH x AS (UPDATE desk.student SET note = $2 WHERE id = $1 RETURNING *) SELECT phone FROM x",
                seven,
                Mask,
            ),
            // 16
            ("UPDATE desk.student SET note = phone WHERE id = $1", &["7"], STORED),
            ("UPDATE desk.student SET note = $2 || phone WHERE id = $1", seven, STORED),
            (
                "UPDATE desk.student s SET note = o.phone FROM desk.student o WHERE o.id = s.id AND s.id = $1",
                &["7"],
                STORED,
            ),
            (
                "UPDATE desk.student SET (note, score) = (SELECT phone, 1 FROM desk.student WHERE id = $1)",
                &["8"],
                STORED,
            ),
            (
                "INSERT INTO desk.student VALUES ($1, 1, $2) ON CONFLICT (id) DO UPDATE SET note = student.phone",
                seven,
                STORED,
            ),
            (
                "MERGE INTO desk.student t USING generate_series($1::int, 7) g ON t.id = g WHEN MATCHED THEN UPDATE SET note = t.phone",
                &["7"],
                STORED,
            ),
            ("INSERT INTO desk.mine SELECT phone FROM desk.student WHERE id = $1", &["7"], STORED),
            // 17
            (
                "INSERT INTO desk.student VALUES ($1, 1, $2) ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name RETURNING id",
                seven,
                Show("7"),
            ),
            (
                "INSERT INTO desk.student VALUES ($1, 1, 'again', 'y', $2) ON CONFLICT (phone) DO UPDATE SET note = EXCLUDED.name RETURNING id, note, phone",
                &["200", "13800000007"],
                Show("7|again|138****0007"),
            ),
            (
                "INSERT INTO desk.student VALUES ($1, 1, 'again', 'y', $2) ON CONFLICT ON CONSTRAINT student_phone DO UPDATE SET note = EXCLUDED.name RETURNING id",
                &["200", "13800000007"],
                Show("7"),
            ),
        ],
    );
    // 18: the transaction asks on as the superuser, and takes everything back.
    let mut session = wire(&school, "postgres");
    session.command("SET SESSION AUTHORIZATION cs");
    let ask = "RESET SESSION AUTHORIZATION; SELECT name, id_card, phone FROM desk.student WHERE id = 7";
    for (write, values) in [
        (
            "UPDATE desk.student SET name = $1, id_card = $2, phone = $3, score = 5 WHERE id = 7",
            &["***", "1101****", "138****0007"][..],
        ),
        ("UPDATE desk.student SET phone = coalesce($1, phone) WHERE id = 7", &["138****0007"]),
        ("UPDATE desk.student SET phone = CASE WHEN $1::int = 1 THEN 'x' ELSE phone END WHERE id = 7", &["2"]),
        (
            "INSERT INTO desk.student VALUES (7, 1, $1, 'x', $2) ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, phone = EXCLUDED.phone",
            &["***", "138****0007"],
        ),
        (
            "MERGE INTO desk.student t USING (VALUES (7, $1)) s(id, phone) ON t.id = s.id WHEN MATCHED THEN UPDATE SET phone = s.phone",
            &["138****0007"],
        ),
    ] {
        everywhere(&mut session, write, values, &mut |session, how, reply| {
            assert!(reply.code.is_none(), "{how}: {write}: {reply:?}");
            let stored = session.command(ask);
            assert_eq!(stored.rows, "student 7|110101201001010007|13800000007\n", "{how}: {write}");
        });
    }
}

/// Case 10: nobody with masks is told another value. That a value is there already is told by a key that refuses it.
fn what_violates_a_constraint() {
    let school = desk_with(
        "SELECT steward.set_mask('app_owner', '*'); SET ROLE app_owner;
         CREATE TABLE desk.caller (phone text REFERENCES desk.student (phone)); INSERT INTO desk.caller VALUES ('13800000007');
         CREATE TABLE desk.call (id int, phone text, day date) PARTITION BY RANGE (day);
         CREATE TABLE desk.call_1 PARTITION OF desk.call FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
         INSERT INTO desk.call VALUES (7, '13800000007', '2026-03-01');
         CREATE TABLE desk.shift (id int, phone text, kind int, EXCLUDE USING hash (phone WITH =), EXCLUDE USING btree (kind WITH =));
         INSERT INTO desk.shift VALUES (7, '13800000007', 1), (8, '13800000008', 2);
         GRANT ALL ON desk.caller, desk.call, desk.call_1, desk.shift TO cs; RESET ROLE;
         SECURITY LABEL FOR pg_steward ON COLUMN desk.caller.phone IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.call.phone IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.shift.phone IS 'phone'",
    );
    for login in ["cs", "app_owner"] {
        hold(
            &mut wire(&school, login),
            &[
                ("UPDATE desk.student SET score = $2 WHERE id = $1", &["7", "-1"], Fail("23514")),
                ("UPDATE desk.student SET name = NULL WHERE id = $1", &["7"], Fail("23502")),
                ("UPDATE desk.student SET id = $2 WHERE id = $1", &["7", "8"], Fail("23505")),
                ("UPDATE desk.student SET id_card = $2 WHERE id = $1", &["8", "110101201001010007"], Fail("23505")),
                ("INSERT INTO desk.student VALUES ($1, 1, 'x', $2)", &["300", "110101201001010007"], Fail("23505")),
                ("INSERT INTO desk.student (id, phone) VALUES ($1, $2)", &["300", "13800000300"], Fail("23502")),
                ("DELETE FROM desk.student WHERE id = $1", &["7"], Fail("23503")),
                ("INSERT INTO desk.caller VALUES ($1)", &["13800000700"], Fail("23503")),
                ("UPDATE desk.call SET day = $2 WHERE id = $1", &["7", "2030-01-01"], Fail("23514")),
                ("UPDATE desk.call_1 SET day = $2 WHERE id = $1", &["7", "2030-01-01"], Fail("23514")),
                ("UPDATE desk.shift SET kind = $2 WHERE id = $1", &["7", "2"], Fail("23P01")),
                ("INSERT INTO desk.shift VALUES ($1, $2)", &["9", "13800000007"], Fail("23P01")),
            ],
        );
    }
    // What a key tells by itself: yes or no for a value that is given whole, and who asks is on record by its rows.
    let mut clerk = wire(&school, "cs");
    let guess = "INSERT INTO desk.student VALUES ($1, 1, 'x', $2) ON CONFLICT (id_card) DO NOTHING RETURNING id";
    hold(
        &mut clerk,
        &[(guess, &["300", "110101201001010007"], Show("")), (guess, &["300", "110101201001019999"], Show("300"))],
    );
}

/// Case 27.
fn what_takes_an_owner() {
    let school = desk_with(
        "CREATE FUNCTION desk.tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', OLD.phone; RETURN NEW; END';
         CREATE FUNCTION desk.leak(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN $1; END';
         CREATE TABLE desk.call (id int, phone text) PARTITION BY RANGE (id); GRANT TRIGGER ON desk.student TO cs;
         SET ROLE cs; CREATE TABLE desk.own (id int, phone text); RESET ROLE",
    );
    let mut clerk = wire(&school, "cs");
    let refused: Vec<_> = [
        ("CREATE TRIGGER t BEFORE UPDATE ON desk.student FOR EACH ROW EXECUTE FUNCTION desk.tell()", DEFINED),
        ("CREATE TABLE desk.probe (phone text REFERENCES desk.student (phone))", "permission denied"),
        ("CREATE RULE r AS ON UPDATE TO desk.student DO ALSO INSERT INTO desk.own VALUES (1, OLD.phone)", DEFINED),
        ("CREATE INDEX ON desk.student (desk.leak(phone))", DEFINED),
        ("CREATE STATISTICS desk.s ON (desk.leak(phone)), id FROM desk.student", DEFINED),
        ("ALTER TABLE desk.student ADD CHECK (desk.leak(phone) <> '')", DEFINED),
        ("ALTER TABLE desk.student ALTER phone TYPE varchar(30) USING desk.leak(phone)", DEFINED),
        ("CREATE POLICY p ON desk.student USING (desk.leak(phone) <> '')", DEFINED),
        ("ALTER TABLE desk.own INHERIT desk.student", "must be owner"),
        ("CREATE TABLE desk.heir () INHERITS (desk.student)", "must be owner"),
        ("ALTER TABLE desk.call ATTACH PARTITION desk.own FOR VALUES FROM (1) TO (9)", "must be owner"),
        ("COMMENT ON COLUMN desk.student.phone IS 'x'", "must be owner"),
        ("TRUNCATE desk.student", "permission denied"),
        ("CLUSTER desk.student USING student_phone", "must be owner"),
    ]
    .map(|(command, words)| (command, &[][..], Refuse(words)))
    .into();
    hold(&mut clerk, &refused);
    // ANALYZE passes over it, with a warning.
    everywhere(&mut clerk, "ANALYZE desk.student", &[], &mut |session, how, reply| {
        assert!(reply.notices.contains("skipping"), "{how}: {reply:?}");
        Show("0").judge(
            how,
            "statistics",
            &session.simple("SELECT count(*) FROM pg_stats WHERE tablename = 'student'"),
        );
    });
    // A rule on a view of one's own runs with masks.
    clerk.command(
        "CREATE VIEW desk.seen AS SELECT id, phone FROM desk.student;
         CREATE RULE r AS ON UPDATE TO desk.seen DO INSTEAD INSERT INTO desk.own SELECT OLD.id, OLD.phone;
         CREATE RULE told AS ON DELETE TO desk.seen DO INSTEAD SELECT OLD.phone FROM desk.student LIMIT 1",
    );
    hold(&mut clerk, &[("UPDATE desk.seen SET id = 1 WHERE id = $1", &["7"], STORED)]);
    assert!(!super::tells(&clerk.simple("DELETE FROM desk.seen WHERE id = 7").text()));
}

/// Case 27: expressions over the rows of a table have no plan in which masks could stand.
fn what_an_owner_with_masks_defines() {
    let school = desk_with(
        "SELECT steward.set_mask('app_owner', '*');
         CREATE FUNCTION desk.leak(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN $1; END';
         CREATE FUNCTION desk.tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', OLD.phone; RETURN NEW; END';
         SET ROLE app_owner; CREATE TABLE desk.own (id int, phone text);
         CREATE TABLE desk.call (id int, phone text) PARTITION BY LIST (desk.leak(phone));
         CREATE TABLE desk.call_1 (id int, phone text); INSERT INTO desk.call_1 VALUES (7, '13800000007'); RESET ROLE;
         SECURITY LABEL FOR pg_steward ON COLUMN desk.call_1.phone IS 'phone'",
    );
    let mut owner = wire(&school, "app_owner");
    let refused: Vec<_> = [
        "CREATE INDEX ON desk.student (desk.leak(phone))",
        "CREATE INDEX ON desk.student (id) WHERE desk.leak(phone) <> ''",
        "CREATE STATISTICS desk.s ON (desk.leak(phone)), id FROM desk.student",
        "ALTER TABLE desk.student ADD CHECK (desk.leak(phone) <> '')",
        "ALTER TABLE desk.student ADD CHECK (desk.leak(phone) <> '') NOT VALID",
        "ALTER TABLE desk.student ADD EXCLUDE USING btree (desk.leak(phone) WITH =)",
        "ALTER TABLE desk.student ADD EXCLUDE USING btree (id WITH =) WHERE (desk.leak(phone) <> '')",
        "ALTER TABLE desk.student ADD told text GENERATED ALWAYS AS (desk.leak(phone)) STORED",
        "ALTER TABLE desk.student ADD more text CHECK (desk.leak(phone) <> '')",
        "ALTER TABLE desk.student ALTER note TYPE varchar USING desk.leak(phone)",
        "CREATE POLICY told ON desk.student USING (desk.leak(phone) <> '')",
        "ALTER POLICY everybody ON desk.student USING (desk.leak(phone) <> '')",
        "CREATE TRIGGER told BEFORE UPDATE ON desk.student FOR EACH ROW EXECUTE FUNCTION desk.tell()",
        "ALTER TABLE desk.call ATTACH PARTITION desk.call_1 FOR VALUES IN ('x')",
        "CREATE RULE told AS ON UPDATE TO desk.student DO ALSO INSERT INTO desk.own VALUES (OLD.id, OLD.phone)",
    ]
    .map(|command| (command, &[][..], Refuse(DEFINED)))
    .into();
    hold(&mut owner, &refused);
    assert!(school.records("user_id = 'app_owner' AND result = 'DENIED' AND rule = 'mask'") >= refused.len() as i64);
    // What computes nothing, and what is one's own without masks.
    for command in [
        "CREATE INDEX ON desk.student (score)",
        "ALTER TABLE desk.student ADD more text NOT NULL DEFAULT ''",
        "ALTER TABLE desk.student ADD UNIQUE (score, id)",
        "CREATE STATISTICS desk.s ON score, note FROM desk.student",
        "CREATE INDEX ON desk.own (desk.leak(phone))",
    ] {
        everywhere(&mut owner, command, &[], &mut |_, how, reply| assert!(reply.code.is_none(), "{how}: {reply:?}"));
    }
}

/// Case 19: another session waits for the row, or passes over it.
fn what_is_locked() {
    let school = desk_with("");
    let (mut clerk, mut other) = (wire(&school, "cs"), wire(&school, "cs"));
    for (strength, weaker) in
        [("UPDATE", "SHARE"), ("NO KEY UPDATE", "SHARE"), ("SHARE", "UPDATE"), ("KEY SHARE", "UPDATE")]
    {
        let lock = format!("SELECT phone FROM desk.student WHERE id = $1 FOR {strength}");
        everywhere(&mut clerk, &lock, &["7"], &mut |_, how, reply| {
            Show("138****0007").judge(how, &lock, reply);
            let ask = |more| format!("SELECT phone FROM desk.student WHERE id = 7 FOR {weaker} {more}");
            Fail("55P03").judge(how, &lock, &other.simple(&ask("NOWAIT")));
            Show("").judge(how, &lock, &other.unnamed(&ask("SKIP LOCKED"), &[]));
        });
    }
}
