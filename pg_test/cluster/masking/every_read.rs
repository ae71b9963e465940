//! The cases of reading, each in every protocol (cases 1 to 7, 9, 11, 14, 20 to 22, 24, 25, 29, 32, 34, 36, 39, 41).

use super::desk_with;
use super::protocol::Must::{Fail, Mask, Refuse, Show};
use super::protocol::{Case, everywhere, hold, wire};
use crate::school::School;

tests! {
    what_is_read,
    what_is_made_of_what_is_read,
    what_other_servers_and_extensions_read,
}

/// What the owner has put on top of the students, and what the clerk has.
pub const AROUND: &str = r#"
    CREATE EXTENSION hstore SCHEMA desk;
    SET ROLE app_owner;
    CREATE FUNCTION desk.phone_of(int) RETURNS text LANGUAGE plpgsql STABLE AS
        'BEGIN RETURN (SELECT phone FROM desk.student WHERE id = $1); END';
    CREATE FUNCTION desk.one(int) RETURNS text BEGIN ATOMIC SELECT phone FROM desk.student WHERE id = $1; END;
    CREATE FUNCTION desk.parsed(int) RETURNS SETOF desk.student STABLE
        BEGIN ATOMIC SELECT * FROM desk.student WHERE id = $1; END;
    CREATE FUNCTION desk.text(int) RETURNS SETOF desk.student LANGUAGE sql STABLE AS 'SELECT * FROM desk.student WHERE id = $1';
    CREATE TABLE desk.seen (phone text);
    CREATE FUNCTION desk.look() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.phone := (SELECT phone FROM desk.student WHERE id = 7); RETURN NEW; END';
    CREATE TRIGGER look BEFORE INSERT ON desk.seen FOR EACH ROW EXECUTE FUNCTION desk.look();
    CREATE VIEW desk.plain AS SELECT id, phone FROM desk.student;
    CREATE VIEW desk.invoker WITH (security_invoker) AS SELECT id, phone FROM desk.student;
    CREATE VIEW desk.barrier WITH (security_barrier) AS SELECT id, phone FROM desk.student WHERE score >= 0;
    CREATE VIEW desk.nested AS SELECT id, upper(phone) AS phone FROM desk.plain;
    CREATE VIEW desk.ruled AS SELECT 1 AS id, ''::text AS phone;
    CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO desk.ruled DO INSTEAD SELECT id, phone FROM desk.student;
    CREATE MATERIALIZED VIEW desk.picture AS SELECT id, phone FROM desk.student;
    CREATE TABLE desk.call (id int, phone text, day date) PARTITION BY RANGE (day);
    CREATE TABLE desk.call_1 PARTITION OF desk.call FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO desk.call VALUES (7, '13800000007', '2026-03-01');
    CREATE TABLE desk.child (more text) INHERITS (desk.student);
    INSERT INTO desk.child (id, school_id, name, phone) VALUES (500, 1, 'x', '13800000007');
    CREATE TABLE desk."odd ""one" ("col""x" text, gone int, "身份证号" text, " 1st" text);
    ALTER TABLE desk."odd ""one" DROP COLUMN gone;
    INSERT INTO desk."odd ""one" VALUES ('13800000007', '13800000007', '13800000007');
    CREATE STATISTICS desk.both (mcv) ON phone, score FROM desk.student;
    GRANT SELECT ON ALL TABLES IN SCHEMA desk TO cs, teacher; GRANT INSERT ON desk.seen TO cs, teacher;
    RESET ROLE;
    ANALYZE desk.student;
    SECURITY LABEL FOR pg_steward ON COLUMN desk.picture.phone IS 'phone';
    SECURITY LABEL FOR pg_steward ON COLUMN desk.call.phone IS 'phone';
    SECURITY LABEL FOR pg_steward ON COLUMN desk."odd ""one"."col""x" IS 'phone';
    SECURITY LABEL FOR pg_steward ON COLUMN desk."odd ""one"."身份证号" IS 'phone';
    SECURITY LABEL FOR pg_steward ON COLUMN desk."odd ""one"." 1st" IS 'phone';
    SET ROLE cs;
    CREATE FUNCTION desk.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
        'BEGIN RAISE NOTICE ''% told %'', current_user, $1; RETURN true; END';
    CREATE FUNCTION desk.leak_two(text, text) RETURNS boolean LANGUAGE sql COST 0.0000001 AS 'SELECT desk.leak($1)';
    CREATE OPERATOR desk.<<< (FUNCTION = desk.leak_two, LEFTARG = text, RIGHTARG = text);
    CREATE FUNCTION desk.leak_state(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1 || desk.leak($2)';
    CREATE AGGREGATE desk.leak_all(text) (SFUNC = desk.leak_state, STYPE = text, INITCOND = '');
    CREATE DOMAIN desk.told AS text CHECK (desk.leak(VALUE));
    CREATE DOMAIN desk.digits AS text CHECK (VALUE ~ '^[0-9]*$');
    CREATE TYPE desk.box AS (t text);
    CREATE FUNCTION desk.boxed(text) RETURNS desk.box LANGUAGE plpgsql AS 'BEGIN PERFORM desk.leak($1); RETURN ROW($1); END';
    CREATE CAST (text AS desk.box) WITH FUNCTION desk.boxed(text);
    RESET ROLE;"#;

/// Those of a student, by number: the owner sees the value where the clerk sees the mask.
pub const BY_NUMBER: &[Case<'_>] = &[
    // 1, 2, 3
    ("SELECT phone FROM desk.student WHERE id = $1", &["7"], Mask),
    ("SELECT desk.phone_of($1)", &["7"], Mask),
    ("SELECT desk.one($1)", &["7"], Mask),
    ("SELECT phone FROM desk.parsed($1)", &["7"], Mask),
    ("SELECT phone FROM desk.text($1)", &["7"], Mask),
    ("SELECT s.phone FROM (VALUES ($1::int)) v(id), LATERAL desk.text(v.id) s", &["7"], Mask),
    // 4, 32
    ("SELECT phone FROM desk.plain WHERE id = $1", &["7"], Mask),
    ("SELECT phone FROM desk.invoker WHERE id = $1", &["7"], Mask),
    ("SELECT phone FROM desk.barrier WHERE id = $1", &["7"], Mask),
    ("SELECT phone FROM desk.nested WHERE id = $1", &["7"], Mask),
    ("SELECT phone FROM desk.ruled WHERE id = $1", &["7"], Mask),
    ("SELECT phone FROM desk.picture WHERE id = $1", &["7"], Mask),
    // 20
    ("SELECT s FROM desk.student s WHERE id = $1", &["7"], Mask),
    ("SELECT s.*::text FROM desk.student s WHERE id = $1", &["7"], Mask),
    ("SELECT to_jsonb(s), row_to_json(s), (s).phone FROM desk.student s WHERE id = $1", &["7"], Mask),
    ("SELECT desk.hstore(s) FROM desk.student s WHERE id = $1", &["7"], Mask),
    ("SELECT (desk.each(desk.hstore(s))).value FROM desk.student s WHERE id = $1", &["7"], Mask),
    ("SELECT desk.populate_record(s, desk.hstore('note', $2)) FROM desk.student s WHERE id = $1", &["7", "x"], Mask),
    ("SELECT ctid, xmin <> '0', tableoid::regclass, phone FROM desk.student WHERE id = $1", &["7"], Mask),
    ("SELECT * FROM desk.student a NATURAL JOIN desk.student b WHERE a.id = $1", &["7"], Mask),
    ("SELECT phone FROM desk.student a FULL JOIN desk.student b USING (phone) WHERE a.id = $1", &["7"], Mask),
    // 21
    ("SELECT query_to_xml('SELECT phone FROM desk.student WHERE id = ' || $1::int, true, false, '')", &["7"], Mask),
    // 25
    ("SELECT phone FROM desk.call WHERE id = $1", &["7"], Mask),
    ("SELECT t FROM desk.call_1 t WHERE id = $1", &["7"], Mask),
    ("SELECT phone FROM desk.child WHERE id = $1", &["500"], Mask),
    ("SELECT phone FROM ONLY desk.student WHERE id = $1", &["7"], Mask),
];

/// What has no number, or no value that anybody sees clear.
const OTHERWISE: &[Case<'_>] = &[
    // 2
    ("DO $$ BEGIN RAISE NOTICE '%', (SELECT phone FROM desk.student WHERE id = 7); END $$", &[], Mask),
    ("INSERT INTO desk.seen DEFAULT VALUES RETURNING phone", &[], Show("138****0007")),
    // 7
    ("COPY desk.student TO STDOUT", &[], Mask),
    ("COPY desk.student (phone, id) TO STDOUT (FORMAT csv, HEADER)", &[], Mask),
    ("COPY (SELECT * FROM desk.student) TO STDOUT", &[], Mask),
    (r#"COPY desk."odd ""one" ("col""x", "身份证号") TO STDOUT"#, &[], Show("138****0007\t138****0007")),
    ("COPY desk.student TO PROGRAM 'cat'", &[], Fail("42501")),
    // 9
    ("SELECT count(*) FROM pg_stats WHERE tablename = $1", &["student"], Show("0")),
    ("SELECT count(*) FROM pg_stats_ext WHERE tablename = $1", &["student"], Show("0")),
    ("SELECT count(*) FROM pg_stats_ext_exprs WHERE tablename = $1", &["student"], Show("0")),
    ("SELECT stavalues1 FROM pg_statistic", &[], Fail("42501")),
    ("SELECT * FROM pg_statistic_ext_data", &[], Fail("42501")),
    // 11
    ("SELECT phone::int8 FROM desk.student WHERE id = $1", &["7"], Fail("22P02")),
    ("SELECT phone::date FROM desk.student WHERE id = $1", &["7"], Fail("22007")),
    ("SELECT id_card::json FROM desk.student WHERE id = $1", &["7"], Fail("22P02")),
    ("SELECT name::int FROM desk.student WHERE id = $1", &["7"], Fail("22P02")),
    ("SELECT 1 / (length(phone) - $2::int) FROM desk.student WHERE id = $1", &["7", "11"], Fail("22012")),
    ("SELECT phone::desk.digits FROM desk.student WHERE id = $1", &["7"], Fail("23514")),
    // 14
    ("SELECT count(*) FROM desk.student WHERE desk.leak(phone) AND id = $1", &["7"], Mask),
    ("SELECT count(*) FROM desk.student a JOIN desk.student b ON desk.leak(a.phone) AND a.id = b.id", &[], Mask),
    ("SELECT desk.leak(phone) FROM desk.student WHERE id = $1", &["7"], Mask),
    ("SELECT count(*) FROM desk.student WHERE phone OPERATOR(desk.<<<) $1", &["7"], Mask),
    ("SELECT desk.leak_all(phone) FROM desk.student WHERE id <= $1", &["7"], Mask),
    ("SELECT phone::desk.told FROM desk.student WHERE id = $1", &["7"], Mask),
    ("SELECT phone::desk.box FROM desk.student WHERE id = $1", &["7"], Mask),
    // 21
    ("SELECT table_to_xml('desk.student', true, false, '')", &[], Mask),
    (
        "SELECT count(*) FROM ts_stat('SELECT to_tsvector(''simple'', phone) FROM desk.student') WHERE word ~ $1",
        &["0000"],
        Show("0"),
    ),
    // 22
    (
        "SELECT count(*) FROM generate_series(1, $1) g LEFT JOIN desk.student s ON s.id = g WHERE s.name IS NULL",
        &["200"],
        Show("100"),
    ),
    (
        "SELECT count(*) FROM generate_series(1, $1) g FULL JOIN ONLY desk.student s ON s.id = g WHERE coalesce(s.name, '') = ''",
        &["200"],
        Show("100"),
    ),
    // 36
    (r#"SELECT "col""x", o FROM desk."odd ""one" o WHERE "身份证号" LIKE $1"#, &["138%"], Mask),
    (r#"SELECT " 1st" FROM desk."odd ""one""#, &[], Show("138****0007")),
];

fn what_is_read() {
    let school = desk_with(AROUND);
    let mut clerk = wire(&school, "cs");
    hold(&mut clerk, BY_NUMBER);
    hold(&mut clerk, OTHERWISE);
    // 24
    let explained = "EXPLAIN (VERBOSE) SELECT phone FROM desk.student WHERE phone LIKE $1 ORDER BY phone";
    everywhere(&mut clerk, explained, &["138%"], &mut |_, how, reply| {
        let told = format!("{how}: {reply:?}");
        assert!(reply.code.is_none() && reply.rows.contains("_mask") && !super::tells(&reply.rows), "{told}");
    });
    hold(
        &mut clerk,
        &[("EXPLAIN ANALYZE SELECT id FROM desk.student WHERE phone LIKE $1", &["138%"], Refuse("EXPLAIN ANALYZE"))],
    );
    // 14: nobody else's rights.
    everywhere(&mut clerk, "SELECT desk.leak(phone) FROM desk.plain WHERE id = $1", &["7"], &mut |_, how, reply| {
        assert!(reply.notices.contains("cs told 138****0007"), "{how}: {reply:?}");
    });
    // 29
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE ROLE desk_group IN ROLE cs; CREATE ROLE nested LOGIN IN ROLE desk_group;
             CREATE ROLE aloof LOGIN NOINHERIT IN ROLE cs; CREATE ROLE double LOGIN IN ROLE cs, teacher;
             GRANT SELECT ON desk.student TO aloof; GRANT USAGE ON SCHEMA desk TO aloof;
             CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA desk TO reader;
             GRANT SELECT (id, school_id, score, note) ON desk.student TO reader;
             SELECT steward.set_mask('reader', 'phone'), steward.set_mask('reader', 'name', 'hide')",
        )
        .expect("members");
    for login in ["nested", "aloof", "double", "reader"] {
        hold(&mut wire(&school, login), &BY_NUMBER[..1]);
    }
    // 41: of a role without the privilege, which the standard's view asks for; the server's own catalog lists all.
    let listed = "SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = $1::text";
    let stored = "SELECT count(*) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0";
    hold(
        &mut wire(&school, "reader"),
        &[(listed, &["student"], Show("id,school_id,score,note")), (stored, &["desk.student"], Show("7"))],
    );
}

/// What is stored or held open, asked for afterwards: cases 5, 6, 34.
fn what_is_made_of_what_is_read() {
    let school = desk_with("");
    let mut clerk = wire(&school, "cs");
    let phone = "SELECT phone FROM desk.student WHERE id = $1";
    for (make, ask) in [
        (format!("CREATE TEMP TABLE made AS {phone}"), "TABLE made"),
        (format!("CREATE TABLE desk.made AS {phone}"), "TABLE desk.made"),
        ("SELECT * INTO TEMP made FROM desk.student WHERE id = $1".to_owned(), "TABLE made"),
        (format!("DECLARE c CURSOR FOR {phone}"), "FETCH c"),
        (format!("DECLARE c SCROLL CURSOR WITH HOLD FOR {phone}"), "FETCH c; MOVE BACKWARD ALL IN c; FETCH ALL c"),
        (format!("DECLARE c CURSOR FOR {phone}"), "SELECT cursor_to_xml('c', 9, true, false, '')"),
    ] {
        everywhere(&mut clerk, &make, &["7"], &mut |session, how, made| {
            assert!(made.code.is_none(), "{how}: {make}: {made:?}");
            Mask.judge(how, &make, &session.simple(ask));
        });
    }
    for make in [
        "CREATE MATERIALIZED VIEW desk.made AS SELECT phone FROM desk.student",
        "CREATE TEMP TABLE made (LIKE desk.student)",
    ] {
        everywhere(&mut clerk, make, &[], &mut |session, how, made| {
            assert!(made.code.is_none(), "{how}: {make}: {made:?}");
            let ask = if make.contains("LIKE") {
                "INSERT INTO made SELECT * FROM desk.student; TABLE made"
            } else {
                "TABLE desk.made"
            };
            Mask.judge(how, make, &session.simple(ask));
        });
    }
    for command in
        ["SET row_security = off", "DISCARD PLANS", "SET search_path = pg_temp, desk", "SET enable_seqscan = off"]
    {
        everywhere(&mut clerk, command, &[], &mut |session, how, _| {
            let reply = session.simple("SELECT phone FROM desk.student WHERE id = 7");
            assert!(reply.code.is_some() || reply.rows == "138****0007\n", "{how}: {command}: {reply:?}");
            assert!(!super::tells(&reply.text()), "{how}: {command}: {reply:?}");
        });
    }
}

/// Connections from the server to itself, in other rights: a foreign server whose login sees clear, and one that does not.
fn loops(school: &School) -> String {
    let place = format!("host '{}', port '5432', dbname '{}'", school.file("").display(), crate::school::HOME);
    format!(
        "CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink SCHEMA desk;
         CREATE SERVER clear FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({place});
         CREATE SERVER same FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({place});
         CREATE USER MAPPING FOR cs SERVER clear OPTIONS (user 'teacher', password_required 'false');
         CREATE USER MAPPING FOR cs SERVER same OPTIONS (user 'cs', password_required 'false');
         CREATE TABLE desk.wide (id int, phone text) PARTITION BY RANGE (id);
         CREATE FOREIGN TABLE desk.wide_far PARTITION OF desk.wide FOR VALUES FROM (0) TO (1000) SERVER clear
            OPTIONS (schema_name 'desk', table_name 'student');
         SECURITY LABEL FOR pg_steward ON COLUMN desk.wide.phone IS 'phone';
         CREATE FOREIGN TABLE desk.same (id int, phone text) SERVER same OPTIONS (schema_name 'desk', table_name 'student');
         CREATE FOREIGN TABLE desk.forgotten (id int, phone text) SERVER clear OPTIONS (schema_name 'desk', table_name 'student');
         GRANT SELECT, UPDATE ON desk.wide, desk.wide_far, desk.same, desk.forgotten TO cs;
         GRANT EXECUTE ON FUNCTION desk.dblink_connect_u(text, text) TO cs"
    )
}

/// Cases 21, 39: what comes over a connection of the server's to itself.
fn what_other_servers_and_extensions_read() {
    let school = desk_with("");
    let mut superuser = school.superuser();
    superuser.batch_execute(&loops(&school)).expect("foreign servers");
    let mut clerk = wire(&school, "cs");
    let here = format!("host={} port=5432 dbname={} user=cs", school.file("").display(), crate::school::HOME);
    let far = "SELECT p FROM desk.dblink($1, 'SELECT phone FROM desk.student WHERE id = 7') t(p text)";
    hold(
        &mut clerk,
        &[
            // No password was asked for, so nobody but a superuser may.
            (far, &[&here], Fail("2F003")),
            ("SELECT phone FROM desk.wide WHERE id = $1", &["7"], Show("138****0007")),
            ("SELECT w FROM desk.wide_far w WHERE id = $1", &["7"], Show("(7,138****0007)")),
            ("SELECT count(*) FROM desk.wide WHERE phone = $1", &["13800000007"], Show("0")),
            ("SELECT max(phone) FROM desk.wide_far WHERE phone LIKE $1", &["138%"], Show("138****0100")),
            ("UPDATE desk.wide_far SET phone = phone || $1", &["x"], Refuse("would store a mask")),
            ("SELECT phone FROM desk.same WHERE id = $1", &["7"], Show("138****0007")),
            ("SELECT count(*) FROM desk.same WHERE phone = $1", &["13800000007"], Show("0")),
        ],
    );
    clerk.command(&format!("SELECT desk.dblink_connect_u('here', '{here}')"));
    hold(&mut clerk, &[(far, &["here"], Show("138****0007"))]);
    // What nobody has classified is another server's, and named.
    let named = "SELECT command FROM steward.lint() WHERE kind = 'foreign_table' AND object = 'desk.forgotten.phone'";
    let command = super::shown(&mut superuser, named);
    superuser.batch_execute(&command).expect("the command of the list");
    hold(&mut clerk, &[("SELECT phone FROM desk.forgotten WHERE id = $1", &["7"], Show("138****0007"))]);
}
