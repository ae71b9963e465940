//! Masking views: what they show, to whom, and that there is no way through them to the table.

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask};

tests! {
    generated_columns_and_children_are_masked_too,
    a_view_s_column_has_no_class,
    a_masking_view_shows_masks_and_the_table_stays_closed,
    a_masking_view_keeps_types,
    odd_names_are_quoted,
    a_function_that_tells_sees_masks_only,
    nothing_is_written_through_a_masking_view,
    row_security_holds_for_the_view_s_owner,
    a_new_label_is_masked_after_another_call,
    only_own_views_are_replaced,
    an_owner_whom_people_can_put_on_is_refused,
    only_tables_have_masking_views,
    making_one_is_configuration,
    it_works_in_a_server_that_does_not_preload,
}

const CREATE: &str = "SELECT steward.create_masking_view('app.student')";
const LABELS: &str = "SECURITY LABEL FOR pg_steward ON COLUMN app.student.name IS 'name';
    SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'phone';
    CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA app TO reader;
    UPDATE app.student SET name = '张三', id_card = '320502201003071234' WHERE id = 7";

/// A school with labels, its masking view, and a reader of it who may read no table.
fn viewed() -> School {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute(LABELS).expect("labels");
    assert_eq!(ask::<String>(&mut superuser, CREATE), "app.student_public_view");
    superuser.batch_execute("GRANT SELECT ON app.student_public_view TO reader").expect("grant");
    school
}

fn a_masking_view_shows_masks_and_the_table_stays_closed() {
    let school = viewed();
    // The role that tests log in with may read no table.
    let mut reader = school.session("reader");
    let row = reader.query_one("SELECT id, name, id_card, phone FROM app.student_public_view WHERE id = 7", &[]);
    let row = row.expect("the view");
    let shown: (i32, &str, &str, &str) = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!(shown, (7, "张**", "3205****", "138****0007"));
    for column in ["phone", "id", "ctid", "student"] {
        let table = reader.query(&format!("SELECT {column} FROM app.student"), &[]);
        expect_error(table, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    let mut clerk = school.session("clerk_zhao");
    let ungranted = clerk.query("SELECT 1 FROM app.student_public_view", &[]);
    expect_error(ungranted, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    expect_error(clerk.batch_execute("SET ROLE steward_masking_view"), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn a_masking_view_keeps_types() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let table = "CREATE DOMAIN app.mobile AS text CHECK (VALUE ~ '^1');
        CREATE TABLE app.kinds (id_card char(18), phone varchar(5), mobile app.mobile, born date, seen timestamp,
            score numeric(5,1), contact jsonb, phones text[], \"no\" int, note text);
        INSERT INTO app.kinds VALUES ('320502201003071234', '13800', '13800000007', '2010-03-07', 'infinity', 85.5, '{}', '{x}', 7, 'n');
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.id_card IS 'id_card';
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.phone IS 'phone';
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.mobile IS 'phone';
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.born IS 'birth_date';
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.seen IS 'birth_date';
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.score IS 'score';
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.contact IS 'guardian';
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.phones IS 'phone';
        SECURITY LABEL FOR pg_steward ON COLUMN app.kinds.\"no\" IS 'student_no';
        SELECT steward.create_masking_view('app.kinds', name => 'kinds_masked')";
    superuser.batch_execute(table).expect("a view");
    let shown: String = ask(&mut superuser, "SELECT v::text FROM app.kinds_masked v");
    assert_eq!(shown, "(\"3205****          \",***,138****0007,2010-01-01,infinity,,,,,n)");
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = 'app.kinds_masked'::regclass AND attnum > 0";
    assert_eq!(
        ask::<String>(&mut superuser, types),
        "character(18), character varying(5), text, date, timestamp without time zone, numeric(5,1), jsonb, text[], integer, text"
    );
    // Columns of which nothing is shown are not read either.
    let granted = "SELECT string_agg(column_name, ' ' ORDER BY ordinal_position) FROM information_schema.columns c
        WHERE table_name = 'kinds' AND has_column_privilege('steward_masking_view', 'app.kinds', column_name, 'SELECT')";
    assert_eq!(ask::<String>(&mut superuser, granted), "id_card phone mobile born seen note");
}

fn odd_names_are_quoted() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let table = r#"CREATE SCHEMA "Sch ""ule";
        CREATE TABLE "Sch ""ule"."学生 ""x"" 'y'" ("身份证号" text, "col""x" text, "1 a" text, "select" text, gone text);
        ALTER TABLE "Sch ""ule"."学生 ""x"" 'y'" DROP gone;
        INSERT INTO "Sch ""ule"."学生 ""x"" 'y'" VALUES ('320502201003071234', '13800000007', 'b', 'c');
        SECURITY LABEL FOR pg_steward ON COLUMN "Sch ""ule"."学生 ""x"" 'y'"."身份证号" IS 'id_card';
        SECURITY LABEL FOR pg_steward ON COLUMN "Sch ""ule"."学生 ""x"" 'y'"."col""x" IS 'phone'"#;
    superuser.batch_execute(table).expect("table");
    let create = r#"SELECT steward.create_masking_view('"Sch ""ule"."学生 ""x"" ''y''"', $1)"#;
    for name in [None, Some("v\"; DROP TABLE app.student; --")] {
        let view: String = superuser.query_one(create, &[&name]).expect("a view").get(0);
        let shown: String = ask(&mut superuser, &format!("SELECT v::text FROM {view} v"));
        assert_eq!(shown, "(3205****,138****0007,b,c)");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student"), 200);
}

fn a_function_that_tells_sees_masks_only() {
    let school = viewed();
    let tell = "CREATE FUNCTION app.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
        BEGIN IF $1 ~ '^1\\d{10}$' OR $1 ~ '^ID' THEN RAISE 'a value: %', $1; END IF; RETURN true; END $$";
    school.superuser().batch_execute(tell).expect("function");
    assert!(school.superuser().batch_execute("SELECT app.tell(phone) FROM app.student").is_err(), "it does tell");
    let mut reader = school.session("reader");
    let asked = "SELECT count(*) FROM app.student_public_view WHERE app.tell(phone) AND app.tell(id_card)";
    assert_eq!(ask::<i64>(&mut reader, asked), 200);
}

fn nothing_is_written_through_a_masking_view() {
    let school = viewed();
    school.superuser().batch_execute("GRANT ALL ON app.student_public_view TO reader").expect("grant");
    let mut reader = school.session("reader");
    for write in [
        "UPDATE app.student_public_view SET note = 'x'",
        "DELETE FROM app.student_public_view",
        "INSERT INTO app.student_public_view (id, school_id) VALUES (999, 1)",
    ] {
        expect_error(reader.batch_execute(write), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
}

fn row_security_holds_for_the_view_s_owner() {
    let school = viewed();
    let mut reader = school.session("reader");
    assert_eq!(ask::<i64>(&mut reader, "SELECT count(*) FROM app.student_public_view"), 200);
    school.superuser().batch_execute("ALTER TABLE app.student ENABLE ROW LEVEL SECURITY").expect("row security");
    assert_eq!(ask::<i64>(&mut reader, "SELECT count(*) FROM app.student_public_view"), 0);
    let policy = "CREATE POLICY one ON app.student USING (id = 7)";
    school.superuser().batch_execute(policy).expect("policy");
    assert_eq!(ask::<i64>(&mut reader, "SELECT count(*) FROM app.student_public_view"), 1);
}

fn a_new_label_is_masked_after_another_call() {
    let school = viewed();
    let mut superuser = school.superuser();
    let label =
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.note IS 'remark'; ALTER TABLE app.student ADD grade int";
    superuser.batch_execute(label).expect("label");
    superuser.batch_execute(CREATE).expect("again");
    let row = school.session("reader").query_one("SELECT note, grade FROM app.student_public_view WHERE id = 7", &[]);
    let row = row.expect("still granted");
    assert_eq!((row.get::<_, String>(0), row.get::<_, Option<i32>>(1)), ("***".to_owned(), None));
}

fn only_own_views_are_replaced() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let others = "CREATE VIEW app.student_public_view AS SELECT 1 AS one; CREATE TABLE app.taken (id int)";
    superuser.batch_execute(others).expect("others");
    for call in [CREATE, "SELECT steward.create_masking_view('app.student', 'taken')"] {
        expect_error(superuser.batch_execute(call), &SqlState::WRONG_OBJECT_TYPE, "", "another_name");
    }
    assert_eq!(ask::<i32>(&mut superuser, "SELECT one FROM app.student_public_view"), 1);
}

fn an_owner_whom_people_can_put_on_is_refused() {
    for power in ["ALTER ROLE steward_masking_view LOGIN", "GRANT steward_masking_view TO clerk_zhao"] {
        let school = School::inactive();
        let mut superuser = school.superuser();
        superuser.batch_execute(&format!("CREATE ROLE steward_masking_view; {power}")).expect("a role");
        expect_error(superuser.batch_execute(CREATE), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "no members", "");
    }
}

fn only_tables_have_masking_views() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute("CREATE VIEW app.v AS SELECT 1 AS one; CREATE TEMP TABLE t (id int)").expect("others");
    for relation in ["app.v", "pg_class", "steward.rule", "pg_temp.t", "app.card_transaction_2026_10"] {
        let call = format!("SELECT steward.create_masking_view('{relation}')");
        expect_error(superuser.batch_execute(&call), &SqlState::WRONG_OBJECT_TYPE, "", "schema.table");
    }
    superuser.batch_execute("SELECT steward.create_masking_view('app.card_transaction')").expect("partitioned");
    let long = format!("SELECT steward.create_masking_view('app.student', '{}')", "v".repeat(64));
    expect_error(superuser.batch_execute(&long), &SqlState::INVALID_PARAMETER_VALUE, "", "");
}

fn making_one_is_configuration() {
    let school = School::active();
    expect_error(school.session("clerk_zhao").batch_execute(CREATE), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    expect_refused(school.superuser().batch_execute(CREATE));
    assert!(school.ask::<bool>("SELECT to_regclass('app.student_public_view') IS NULL"));
    school.operate("postgres", CREATE);
    assert!(school.ask::<bool>("SELECT to_regclass('app.student_public_view') IS NOT NULL"));
    assert_eq!(
        school.records("operation_type = 'create_masking_view' AND 'app.student_public_view' = ANY (relations)"),
        1
    );
}

fn it_works_in_a_server_that_does_not_preload() {
    let mut school = viewed();
    school.stop();
    school.configure(&["shared_preload_libraries = ''"]);
    school.start();
    let shown = "SELECT concat_ws(' ', name, id_card, phone) FROM app.student_public_view WHERE id = 7";
    assert_eq!(ask::<String>(&mut school.session("reader"), shown), "张** 3205**** 138****0007");
}

fn generated_columns_and_children_are_masked_too() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'phone';
            ALTER TABLE app.student ADD digits text GENERATED ALWAYS AS (replace(phone, '-', '')) STORED;
            CREATE TABLE app.former () INHERITS (app.student);
            INSERT INTO app.former SELECT id + 1000, school_id, name, id_card, phone, note FROM app.student WHERE id = 7;
            SELECT steward.create_masking_view('app.student'); SELECT steward.create_masking_view('app.former')",
        )
        .expect("views");
    for view in ["app.student_public_view WHERE id = 7", "app.former_public_view"] {
        let row = superuser.query_one(&format!("SELECT phone, digits FROM {view}"), &[]).expect("a row");
        let shown: (&str, &str) = (row.get(0), row.get(1));
        assert_eq!(shown, ("138****0007", "138****0007"), "{view}");
    }
}

fn a_view_s_column_has_no_class() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute("CREATE VIEW app.contact AS SELECT id, phone FROM app.student").expect("view");
    let label = superuser.batch_execute("SECURITY LABEL FOR pg_steward ON COLUMN app.contact.phone IS 'phone'");
    expect_error(label, &SqlState::WRONG_OBJECT_TYPE, "", "column of the table");
}
