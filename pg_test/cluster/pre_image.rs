//! No pre-image, no execution: what inherits, what lies inside types, and what goes along with something else.

use postgres::error::SqlState;

use crate::expect::{db_error, expect_message, expect_refused};
use crate::restore::{content, restored};
use crate::school::{School, execute};

tests! {
    a_table_that_inherits_later_keeps_images_of_its_own,
    a_table_that_inherits_without_the_trigger_is_not_changed,
    altered_columns_are_copied_in_the_whole_tree,
    a_partitioned_table_is_emptied_and_filled_again,
    emptying_only_the_parent_leaves_the_children_alone,
    dropped_parents_come_back_before_what_inherits,
    dropping_an_attribute_of_a_type_is_structure,
    a_lost_attribute_is_kept_as_text,
    a_typed_table_is_copied_before_its_type_changes,
    composite_values_come_back_from_their_text,
    what_takes_columns_along_does_not_run_without_a_copy,
    a_copy_is_good_for_its_own_command_only,
}

const CHILD: &str = "CREATE TABLE app.exchange (country text) INHERITS (app.student)";
const CHILDREN: &str = "INSERT INTO app.exchange SELECT n, 1, 'guest ' || n, 'X' || n, '13900000000', '', 'FR' FROM generate_series(1001, 1060) n";

/// Set up and active.
fn school_with(set_up: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(set_up).expect("set-up");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

/// Files a script, has it approved, runs it: it must fail, and change nothing.
#[track_caller]
fn fails(school: &School, script: &str) -> postgres::error::DbError {
    let op_no = school.request("postgres", script);
    school.release(&op_no);
    let failed = db_error(execute(&mut school.superuser(), &op_no));
    assert_ne!(school.status(&op_no), "executed", "{script}");
    failed
}

/// Such a failure for want of a copy of this table.
#[track_caller]
fn needs_copy(school: &School, script: &str, table: &str) {
    let failed = fails(school, script);
    assert_eq!(failed.message(), format!("{table} would lose data that has no pre-image"), "{script}: {failed:?}");
}

fn a_table_that_inherits_later_keeps_images_of_its_own() {
    let school = School::active();
    school.operate("postgres", CHILD);
    let late = "CREATE TABLE app.late (LIKE app.student INCLUDING ALL, country text)";
    school.superuser().batch_execute(late).expect("not protected");
    school.operate("postgres", "ALTER TABLE app.late INHERIT app.student");
    school.operate("postgres", CHILDREN);
    school.operate(
        "postgres",
        &CHILDREN.replace("app.exchange", "app.late").replace('X', "L").replace("1001, 1060", "2001, 2060"),
    );
    let before = (content(&school, "app.exchange"), content(&school, "app.late"));
    let op_no = school.operate("postgres", "UPDATE app.student SET note = 'moved'");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'moved'"), 320);
    assert_eq!(restored(&school, &op_no).1, 320);
    assert_eq!((content(&school, "app.exchange"), content(&school, "app.late")), before);
    // A child of a child, as a part of CREATE SCHEMA.
    school.operate("postgres", "CREATE SCHEMA abroad CREATE TABLE abroad.far () INHERITS (app.exchange)");
    let armed = "SELECT tgenabled = 'A' FROM pg_trigger WHERE tgrelid = 'abroad.far'::regclass AND tgname = 'RI_steward_row_image'";
    assert!(school.ask::<bool>(armed));
}

fn a_table_that_inherits_without_the_trigger_is_not_changed() {
    for without in ["DROP TRIGGER", "DISABLE TRIGGER"] {
        let attack = match without {
            "DROP TRIGGER" => "DROP TRIGGER \"RI_steward_row_image\" ON app.exchange",
            _ => "ALTER TABLE app.exchange DISABLE TRIGGER \"RI_steward_row_image\"",
        };
        let school = school_with(&format!("{CHILD}; {CHILDREN}; {attack}"));
        let change = "UPDATE app.student SET note = 'moved'";
        let failed = fails(&school, change);
        assert_eq!(failed.message(), "no pre-image can be kept of app.exchange", "{without}: {failed:?}");
        assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'moved'"), 0, "{without}");
        school.operate("postgres", "SELECT steward.protect('app.student')");
        school.operate("postgres", change);
        assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.row_image"), 260, "{without}");
    }
}

fn altered_columns_are_copied_in_the_whole_tree() {
    let school = school_with(&format!("{CHILD}; {CHILDREN}"));
    let copied = |op_no: &str| {
        school.ask::<Vec<String>>(&format!(
            "SELECT array_agg(table_name || ' ' || coalesce(rows::text, '-') ORDER BY table_name) FROM steward.table_image WHERE op_no = '{op_no}'"
        ))
    };
    let op_no =
        school.operate("postgres", "ALTER TABLE app.student ALTER COLUMN name TYPE varchar(3) USING left(name, 3)");
    assert_eq!(copied(&op_no), ["app.exchange 60", "app.student 200"]);
    let copy: String = school
        .ask(&format!("SELECT copy FROM steward.table_image WHERE op_no = '{op_no}' AND table_name = 'app.exchange'"));
    assert_eq!(school.ask::<i64>(&format!("SELECT count(*) FROM {copy} WHERE name = 'guest ' || id")), 60);
    let op_no = school.operate("postgres", "ALTER TABLE app.student DROP COLUMN note");
    assert_eq!(copied(&op_no), ["app.exchange 60", "app.student 200"]);
    let op_no = school.operate("postgres", "ALTER TABLE app.card_transaction ALTER COLUMN amount TYPE int");
    let partitions = ["app.card_transaction -", "app.card_transaction_2026_10 ", "app.card_transaction_2026_11 "];
    let found = copied(&op_no);
    assert!(
        found.len() == 3 && found.iter().zip(partitions).all(|(found, wanted)| found.starts_with(wanted)),
        "{found:?}"
    );
    assert_eq!(
        school.ask::<i64>(&format!("SELECT sum(rows)::int8 FROM steward.table_image WHERE op_no = '{op_no}'")),
        200
    );
}

fn a_partitioned_table_is_emptied_and_filled_again() {
    let school = School::active();
    let before = content(&school, "app.card_transaction");
    let op_no = school.operate("postgres", "TRUNCATE app.card_transaction");
    assert_eq!(content(&school, "app.card_transaction"), "");
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (200, 0));
    assert_eq!(content(&school, "app.card_transaction"), before);
}

fn emptying_only_the_parent_leaves_the_children_alone() {
    let school = school_with(
        "CREATE TABLE app.paper (n int); INSERT INTO app.paper SELECT generate_series(1, 60); SELECT steward.protect('app.paper');
        CREATE TABLE app.note () INHERITS (app.paper); INSERT INTO app.note SELECT generate_series(101, 160)",
    );
    let before = content(&school, "app.paper");
    for (script, rows) in [("TRUNCATE ONLY app.paper", 60), ("TRUNCATE app.paper", 120)] {
        let op_no = school.operate("postgres", script);
        assert_eq!(restored(&school, &op_no).1, rows, "{script}");
        // Without a key nothing would keep rows from coming twice.
        assert_eq!(content(&school, "app.paper"), before, "{script}");
    }
}

fn dropped_parents_come_back_before_what_inherits() {
    let school =
        school_with(&format!("{CHILD}; {CHILDREN}; SELECT steward.unprotect('app.guardian'); DROP TABLE app.guardian"));
    let before = content(&school, "app.student");
    for script in [
        "DROP TABLE app.student CASCADE",
        "DROP TABLE app.student, app.exchange",
        "DROP TABLE app.exchange, app.student",
    ] {
        let op_no = school.operate("postgres", script);
        assert_eq!(restored(&school, &op_no).1, 260, "{script}");
        assert_eq!(content(&school, "app.student"), before, "{script}");
    }
    school.operate("postgres", "UPDATE app.student SET note = 'armed again'");
}

const TYPES: &str = "CREATE TYPE app.pair AS (x int, y text); CREATE DOMAIN app.sound AS app.pair CHECK ((VALUE).x > 0);
    CREATE TYPE app.outer AS (inside app.pair);
    CREATE TABLE app.plain (id int PRIMARY KEY, p app.pair); CREATE TABLE app.deep (id int, a app.pair[], o app.outer, d app.sound);
    INSERT INTO app.plain SELECT n, ROW(n, 'secret')::app.pair FROM generate_series(1, 60) n; INSERT INTO app.plain VALUES (61, NULL);
    INSERT INTO app.deep VALUES (1, ARRAY[ROW(1, 'secret')::app.pair], ROW(ROW(2, 'secret')::app.pair), ROW(3, 'secret')::app.pair);
    ALTER TYPE app.pair OWNER TO region_chen; GRANT USAGE, CREATE ON SCHEMA app TO region_chen;";

fn dropping_an_attribute_of_a_type_is_structure() {
    for protected in ["app.plain", "app.deep"] {
        let school = school_with(&format!("{TYPES} SELECT steward.protect('{protected}')"));
        for who in ["postgres", "region_chen"] {
            for attack in
                ["DROP ATTRIBUTE y", "DROP ATTRIBUTE y CASCADE", "ADD ATTRIBUTE z int", "RENAME ATTRIBUTE y TO z"]
            {
                expect_refused(school.session(who).batch_execute(&format!("ALTER TYPE app.pair {attack}")));
            }
            expect_refused(school.session(who).batch_execute("DROP TYPE app.pair CASCADE"));
        }
        assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.plain WHERE (p).y = 'secret'"), 60);
    }
    let free = school_with(TYPES);
    free.session("region_chen")
        .batch_execute("ALTER TYPE app.pair DROP ATTRIBUTE y")
        .expect("nothing protected has it");
}

fn a_lost_attribute_is_kept_as_text() {
    let school =
        school_with(&format!("{TYPES} SELECT steward.protect('app.plain'); SELECT steward.protect('app.deep')"));
    let op_no = school.operate("postgres", "ALTER TYPE app.pair DROP ATTRIBUTE y");
    let copy = |table: &str| {
        school.ask::<String>(&format!(
            "SELECT copy FROM steward.table_image WHERE op_no = '{op_no}' AND table_name = '{table}'"
        ))
    };
    let plain = format!("SELECT count(*) FROM {} WHERE p = format('(%s,secret)', id)", copy("app.plain"));
    assert_eq!(school.ask::<i64>(&plain), 60);
    assert_eq!(school.ask::<i64>(&format!("SELECT count(*) FROM {} WHERE p IS NULL", copy("app.plain"))), 1);
    let deep = format!("SELECT format('%s %s %s', a, o, d) FROM {}", copy("app.deep"));
    assert_eq!(school.ask::<String>(&deep), "{\"(1,secret)\"} (\"(2,secret)\") (3,secret)");
    // The copies do not hang on the type any more.
    school.operate("postgres", "ALTER TABLE app.plain DROP COLUMN p; ALTER TABLE app.deep DROP COLUMN a, DROP COLUMN o, DROP COLUMN d; DROP TYPE app.outer, app.pair CASCADE");
    assert_eq!(school.ask::<i64>(&plain), 60);
}

fn a_typed_table_is_copied_before_its_type_changes() {
    let set_up = "CREATE TYPE app.row AS (id int, code text); CREATE TABLE app.typed OF app.row; CREATE TABLE app.twin OF app.row;
        INSERT INTO app.typed SELECT n, 'code ' || n FROM generate_series(1, 60) n; INSERT INTO app.twin VALUES (1, 'twin');
        SELECT steward.protect('app.typed'); SELECT steward.protect('app.twin');
        ALTER TYPE app.row OWNER TO region_chen; GRANT USAGE, CREATE ON SCHEMA app TO region_chen";
    for change in ["ALTER ATTRIBUTE code TYPE name CASCADE", "DROP ATTRIBUTE code CASCADE"] {
        let school = school_with(set_up);
        let alter = format!("ALTER TYPE app.row {change}");
        for who in ["postgres", "region_chen"] {
            expect_refused(school.session(who).batch_execute(&alter));
        }
        let op_no = school.operate("postgres", &alter);
        let copies =
            format!("SELECT array_agg(copy ORDER BY table_name) FROM steward.table_image WHERE op_no = '{op_no}'");
        let copies: Vec<String> = school.ask(&copies);
        assert_eq!(copies.len(), 2, "{change}");
        assert_eq!(
            school.ask::<i64>(&format!("SELECT count(*) FROM {} WHERE code = 'code ' || id", copies[1])),
            60,
            "{change}"
        );
        assert_eq!(school.ask::<String>(&format!("SELECT code FROM {}", copies[0])), "twin", "{change}");
    }
}

fn composite_values_come_back_from_their_text() {
    let school =
        school_with(&format!("{TYPES} SELECT steward.protect('app.plain'); SELECT steward.protect('app.deep')"));
    let before = (content(&school, "app.plain"), content(&school, "app.deep"));
    for script in ["TRUNCATE app.plain, app.deep", "DROP TABLE app.plain, app.deep"] {
        let op_no = school.operate("postgres", script);
        assert_eq!(restored(&school, &op_no).1, 62, "{script}");
        assert_eq!((content(&school, "app.plain"), content(&school, "app.deep")), before, "{script}");
    }
}

fn what_takes_columns_along_does_not_run_without_a_copy() {
    let school = school_with(
        "CREATE SCHEMA old; CREATE TYPE old.kind AS ENUM ('a'); CREATE DOMAIN old.mark AS int; CREATE TYPE old.span AS RANGE (subtype = int4);
        CREATE COLLATION old.plain FROM \"C\"; CREATE TYPE old.pair AS (x int, y text);
        CREATE FUNCTION old.double(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2';
        CREATE TABLE app.mixed (id int, k old.kind, m old.mark, s old.span, c text COLLATE old.plain, p old.pair,
            g int GENERATED ALWAYS AS (old.double(id)) STORED);
        INSERT INTO app.mixed SELECT n, 'a', n, '[1,2)', 'c', ROW(n, 'y')::old.pair FROM generate_series(1, 60) n; SELECT steward.protect('app.mixed');
        CREATE ROLE painter; ALTER TYPE old.kind OWNER TO painter",
    );
    let before = content(&school, "app.mixed");
    for script in [
        "DROP TYPE old.kind CASCADE",
        "DROP DOMAIN old.mark CASCADE",
        "DROP TYPE old.span CASCADE",
        "DROP COLLATION old.plain CASCADE",
        "DROP TYPE old.pair CASCADE",
        "DROP FUNCTION old.double CASCADE",
        "DROP SCHEMA old CASCADE",
        "DROP OWNED BY painter CASCADE",
    ] {
        // Nothing foresees what goes along, so something else makes the operation critical.
        needs_copy(&school, &format!("ALTER TABLE app.mixed SET (fillfactor = 90); {script}"), "app.mixed");
        assert_eq!(content(&school, "app.mixed"), before, "{script}");
    }
    let op_no = school.operate("postgres", "ALTER TABLE app.mixed DROP COLUMN k; DROP TYPE old.kind CASCADE");
    let copy: String = school.ask(&format!("SELECT copy FROM steward.table_image WHERE op_no = '{op_no}'"));
    assert_eq!(school.ask::<i64>(&format!("SELECT count(*) FROM {copy} WHERE m = id::text")), 60);
}

fn a_copy_is_good_for_its_own_command_only() {
    let school = school_with(
        "CREATE SCHEMA old; CREATE TABLE old.paper (id int PRIMARY KEY, n int); SELECT steward.protect('old.paper');
        INSERT INTO old.paper SELECT n, n FROM generate_series(1, 60) n; CREATE TYPE app.kind AS ENUM ('a');
        CREATE TABLE app.mixed (id int, k app.kind); SELECT steward.protect('app.mixed');
        INSERT INTO app.mixed SELECT n, 'a' FROM generate_series(1, 60) n",
    );
    // The table was emptied, not dropped: nothing would bring back what it was.
    needs_copy(&school, "TRUNCATE old.paper; DROP SCHEMA old CASCADE", "old.paper");
    // Rows that came after the copy are not in it.
    let later = "ALTER TABLE app.mixed DROP COLUMN id; INSERT INTO app.mixed VALUES ('a'); DROP TYPE app.kind CASCADE";
    needs_copy(&school, later, "app.mixed");
    school.operate("postgres", "DROP TABLE old.paper; DROP SCHEMA old CASCADE");
    let frozen = fails(&school, "DROP TABLE app.card_transaction");
    assert_eq!(frozen.code(), &SqlState::FEATURE_NOT_SUPPORTED);
    let gone = school.superuser().batch_execute("SELECT * FROM old.paper");
    expect_message(gone, &SqlState::UNDEFINED_TABLE, "relation \"old.paper\" does not exist");
}
