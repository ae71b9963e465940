//! `steward.restore` where others went on meanwhile: roles and tables that are gone, rows that refer to what was inserted,
//! triggers and rules that would do again what is undone already, and rights that are lent for a moment.

use crate::restore::{content, restored};
use crate::school::{School, request};

tests! {
    roles_and_tables_that_are_gone_are_left_out,
    triggers_of_the_application_do_not_fire_again,
    a_balance_kept_by_a_trigger_is_restored_once,
    triggers_that_fire_always_see_a_restore,
    rules_do_not_do_again_what_is_undone,
    an_inserted_row_that_others_refer_to_stays,
    rows_inserted_together_go_together,
    a_row_put_in_the_place_of_another_gives_it_back_with_its_children,
    deleted_rows_return_to_a_table_with_deferrable_keys,
    deleted_rows_return_to_a_table_with_rules,
    rights_lent_to_a_failing_restore_are_given_back,
}

/// Set up and active.
fn school_with(set_up: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(set_up).expect("set-up");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn roles_and_tables_that_are_gone_are_left_out() {
    let school = school_with(
        "CREATE ROLE visitor; CREATE ROLE \"Odd, one\"; CREATE TABLE app.paper (id int PRIMARY KEY, n int);
        INSERT INTO app.paper SELECT n, n FROM generate_series(1, 60) n;
        GRANT SELECT, UPDATE (n) ON app.paper TO visitor, teacher_wang, \"Odd, one\"; GRANT DELETE ON app.paper TO PUBLIC;
        CREATE POLICY theirs ON app.paper TO visitor USING (true);
        CREATE POLICY several ON app.paper FOR SELECT TO visitor, teacher_wang, \"Odd, one\" USING (n > 0);
        CREATE POLICY everybody ON app.paper FOR DELETE USING (n > 1); ALTER TABLE app.paper ENABLE ROW LEVEL SECURITY;
        CREATE TABLE app.page (paper int REFERENCES app.paper); CREATE TABLE app.stays (paper int REFERENCES app.paper);
        SELECT steward.protect('app.paper')",
    );
    let op_no = school.operate("postgres", "DROP TABLE app.paper CASCADE");
    school.operate("postgres", "DROP ROLE visitor");
    school.superuser().batch_execute("DROP TABLE app.page").expect("not protected");
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (60, 0));
    let policies = "SELECT array_agg(concat_ws(' ', policyname, roles, cmd, qual) ORDER BY policyname)
        FROM pg_policies WHERE tablename = 'paper'";
    assert_eq!(
        school.ask::<Vec<String>>(policies),
        ["everybody {public} DELETE (n > 1)", "several {\"Odd, one\",teacher_wang} SELECT (n > 0)"]
    );
    let rights =
        "SELECT array_agg(DISTINCT coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC') || ' ' || privilege_type)
        FROM pg_class, aclexplode(relacl) WHERE oid = 'app.paper'::regclass AND grantee <> relowner";
    assert_eq!(school.ask::<Vec<String>>(rights), ["\"Odd, one\" SELECT", "PUBLIC DELETE", "teacher_wang SELECT"]);
    let column = "SELECT has_column_privilege('teacher_wang', 'app.paper', 'n', 'UPDATE')";
    assert!(school.ask::<bool>(column));
    let keys = "SELECT array_agg(conrelid::regclass::text) FROM pg_constraint WHERE confrelid = 'app.paper'::regclass";
    assert_eq!(school.ask::<Vec<String>>(keys), ["app.stays"]);
}

/// A table that counts what its triggers do to students.
const COUNTED: &str = "CREATE TABLE app.seen (what text, fired text); GRANT ALL ON app.seen TO PUBLIC;
    CREATE FUNCTION app.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO app.seen VALUES (TG_OP || ' ' || TG_WHEN || ' ' || TG_LEVEL, TG_NAME); RETURN coalesce(NEW, OLD); END $$;
    CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := NEW.note || '+'; RETURN NEW; END $$;";

fn triggers_of_the_application_do_not_fire_again() {
    let school = school_with(&format!(
        "{COUNTED}
        CREATE TRIGGER row_before BEFORE INSERT OR UPDATE OR DELETE ON app.student FOR EACH ROW EXECUTE FUNCTION app.see();
        CREATE TRIGGER row_after AFTER INSERT OR UPDATE OR DELETE ON app.student FOR EACH ROW EXECUTE FUNCTION app.see();
        CREATE TRIGGER once AFTER INSERT OR UPDATE OR DELETE ON app.student EXECUTE FUNCTION app.see();
        CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE OR DELETE ON app.student DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION app.see();
        CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION app.stamp();
        CREATE TRIGGER guardian AFTER INSERT ON app.guardian FOR EACH ROW EXECUTE FUNCTION app.see();"
    ));
    let before = (content(&school, "app.student"), content(&school, "app.guardian"));
    for script in [
        "UPDATE app.student SET note = 'moved' WHERE id <= 60",
        "DELETE FROM app.student WHERE id > 100",
        "INSERT INTO app.student SELECT n, 1, 'n', 'X' || n, '13900000000' FROM generate_series(500, 560) n",
        "TRUNCATE app.student, app.guardian",
    ] {
        let op_no = school.operate("postgres", script);
        school.superuser().batch_execute("TRUNCATE app.seen").expect("none");
        assert_eq!(restored(&school, &op_no).2, 0, "{script}");
        assert_eq!(content(&school, "app.seen"), "", "{script}");
        assert_eq!((content(&school, "app.student"), content(&school, "app.guardian")), before, "{script}");
    }
    // Only the statements of a restore are quiet, not those around it.
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id = 1").expect("update");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.seen"), 4);
}

fn a_balance_kept_by_a_trigger_is_restored_once() {
    let school = school_with(
        "CREATE TABLE app.account (id int PRIMARY KEY, balance int NOT NULL); INSERT INTO app.account VALUES (1, 100), (2, 100);
        CREATE TABLE app.booking (id int PRIMARY KEY, account int REFERENCES app.account, amount int);
        CREATE FUNCTION app.book() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE app.account SET balance = balance + coalesce(NEW.amount, 0) - coalesce(OLD.amount, 0)
                WHERE id = coalesce(NEW.account, OLD.account); RETURN NULL; END $$;
        CREATE TRIGGER book AFTER INSERT OR UPDATE OR DELETE ON app.booking FOR EACH ROW EXECUTE FUNCTION app.book();
        SELECT steward.protect('app.account'); SELECT steward.protect('app.booking')",
    );
    let op_no =
        school.operate("postgres", "INSERT INTO app.booking SELECT n, 1 + n % 2, -1 FROM generate_series(1, 60) n");
    assert_eq!(content(&school, "app.account"), "(1,70)\n(2,70)");
    restored(&school, &op_no);
    assert_eq!(
        (content(&school, "app.account"), content(&school, "app.booking")),
        ("(1,100)\n(2,100)".into(), "".into())
    );
}

fn triggers_that_fire_always_see_a_restore() {
    let school = school_with(&format!(
        "{COUNTED} CREATE TRIGGER always AFTER UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION app.see();
        ALTER TABLE app.student ENABLE ALWAYS TRIGGER always"
    ));
    let op_no = school.operate("postgres", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    restored(&school, &op_no);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.seen WHERE fired = 'always'"), 120);
}

fn rules_do_not_do_again_what_is_undone() {
    let school = school_with(&format!(
        "{COUNTED}
        CREATE RULE inserted AS ON INSERT TO app.guardian DO ALSO INSERT INTO app.seen VALUES ('INSERT', 'rule');
        CREATE RULE updated AS ON UPDATE TO app.guardian DO ALSO INSERT INTO app.seen VALUES ('UPDATE', 'rule');
        CREATE RULE deleted AS ON DELETE TO app.guardian DO ALSO INSERT INTO app.seen VALUES ('DELETE', 'rule');"
    ));
    let before = content(&school, "app.guardian");
    for script in [
        "UPDATE app.guardian SET name = 'moved' WHERE id <= 60",
        "DELETE FROM app.guardian WHERE id <= 60",
        "INSERT INTO app.guardian SELECT n, 1, 'n' FROM generate_series(500, 560) n",
        "TRUNCATE app.guardian",
    ] {
        let op_no = school.operate("postgres", script);
        school.superuser().batch_execute("TRUNCATE app.seen").expect("none");
        assert_eq!(restored(&school, &op_no).2, 0, "{script}");
        assert_eq!(content(&school, "app.seen"), "", "{script}");
        assert_eq!(content(&school, "app.guardian"), before, "{script}");
    }
}

fn an_inserted_row_that_others_refer_to_stays() {
    for action in ["CASCADE", "SET NULL", "NO ACTION", "RESTRICT"] {
        let school = school_with(&format!(
            "ALTER TABLE app.guardian ALTER student_id DROP NOT NULL, DROP CONSTRAINT guardian_student_id_fkey;
            ALTER TABLE app.guardian ADD FOREIGN KEY (student_id) REFERENCES app.student ON DELETE {action};
            CREATE TABLE app.visit (student int REFERENCES app.student ON DELETE CASCADE, day date NOT NULL) PARTITION BY RANGE (day);
            CREATE TABLE app.visit_all PARTITION OF app.visit DEFAULT; GRANT ALL ON app.visit TO teacher_wang"
        ));
        let insert =
            "INSERT INTO app.student SELECT n, 1, 'n', 'X' || n, '13900000000' FROM generate_series(500, 559) n";
        let op_no = school.operate("postgres", insert);
        school
            .session("teacher_wang")
            .batch_execute(
                "INSERT INTO app.guardian VALUES (900, 500, 'mine'); INSERT INTO app.visit VALUES (510, '2026-11-22')",
            )
            .expect("colleague");
        let (_, back, kept) = restored(&school, &op_no);
        assert_eq!((back, kept), (58, 2), "{action}");
        assert_eq!(
            school.ask::<Vec<i32>>("SELECT array_agg(id ORDER BY id) FROM app.student WHERE id >= 500"),
            [500, 510]
        );
        assert_eq!(school.ask::<i32>("SELECT student_id FROM app.guardian WHERE id = 900"), 500, "{action}");
        assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.visit"), 1, "{action}");
    }
}

fn rows_inserted_together_go_together() {
    let school = school_with(
        "CREATE TABLE app.post (id int PRIMARY KEY, above int REFERENCES app.post, self int REFERENCES app.post ON DELETE CASCADE);
        SELECT steward.protect('app.post')",
    );
    let before = (content(&school, "app.student"), content(&school, "app.guardian"));
    let script = "INSERT INTO app.student SELECT n, 1, 'n', 'X' || n, '13900000000' FROM generate_series(500, 559) n;
        INSERT INTO app.guardian SELECT n, n, 'n' FROM generate_series(500, 559) n;
        INSERT INTO app.post SELECT n, nullif(n - 1, 0), n FROM generate_series(1, 60) n;
        INSERT INTO app.post SELECT n, CASE WHEN n < 160 THEN n + 1 END, n FROM generate_series(101, 160) n";
    let op_no = school.operate("postgres", script);
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (240, 0));
    assert_eq!((content(&school, "app.student"), content(&school, "app.guardian")), before);
    assert_eq!(content(&school, "app.post"), "");
}

fn a_row_put_in_the_place_of_another_gives_it_back_with_its_children() {
    let school = School::active();
    let before = (content(&school, "app.student"), content(&school, "app.guardian"));
    let script = "DELETE FROM app.student WHERE id BETWEEN 61 AND 160;
        INSERT INTO app.student SELECT n, 1, 'n', 'X' || n, '13900000000' FROM generate_series(61, 160) n";
    let op_no = school.operate("postgres", script);
    let (_, back, kept) = restored(&school, &op_no);
    assert_eq!((back, kept), (300, 0));
    assert_eq!((content(&school, "app.student"), content(&school, "app.guardian")), before);
}

fn deleted_rows_return_to_a_table_with_deferrable_keys() {
    let school = school_with(
        "CREATE TABLE app.seat (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, place int UNIQUE DEFERRABLE, code text UNIQUE, free int UNIQUE,
            who point);
        INSERT INTO app.seat SELECT n, n, 'c' || n, NULL, point(n, n) FROM generate_series(1, 60) n; SELECT steward.protect('app.seat');
        GRANT ALL ON app.seat TO teacher_wang",
    );
    for script in ["DELETE FROM app.seat", "TRUNCATE app.seat"] {
        let before = content(&school, "app.seat");
        let op_no = school.operate("postgres", script);
        let mut wang = school.session("teacher_wang");
        wang.batch_execute("INSERT INTO app.seat VALUES (1, 101, 'x1'), (102, 2, 'x2'), (103, 103, 'c3')")
            .expect("colleague");
        let (_, back, kept) = restored(&school, &op_no);
        assert_eq!((back, kept), (57, 3), "{script}");
        let taken = "SELECT count(*) FROM app.seat WHERE id IN (1, 102, 103)";
        assert_eq!(school.ask::<i64>(taken), 3, "{script}");
        wang.batch_execute(
            "DELETE FROM app.seat WHERE id IN (1, 102, 103); INSERT INTO app.seat
            SELECT n, n, 'c' || n, NULL, point(n, n) FROM generate_series(1, 3) n",
        )
        .expect("as before");
        assert_eq!(content(&school, "app.seat"), before, "{script}");
    }
}

fn deleted_rows_return_to_a_table_with_rules() {
    let school = school_with(
        "CREATE TABLE app.memo (id int PRIMARY KEY, t text); INSERT INTO app.memo SELECT n, 't' FROM generate_series(1, 60) n;
        CREATE RULE closed AS ON INSERT TO app.memo DO INSTEAD NOTHING;
        CREATE RULE fixed AS ON UPDATE TO app.memo DO INSTEAD NOTHING; SELECT steward.protect('app.memo')",
    );
    let before = content(&school, "app.memo");
    for script in ["DELETE FROM app.memo", "TRUNCATE app.memo"] {
        let op_no = school.operate("postgres", script);
        assert_eq!(restored(&school, &op_no).1, 60, "{script}");
        assert_eq!(content(&school, "app.memo"), before, "{script}");
    }
}

fn rights_lent_to_a_failing_restore_are_given_back() {
    let school = school_with(
        "GRANT USAGE, CREATE ON SCHEMA app TO region_chen; CREATE FUNCTION app.number() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE TABLE app.paper (id int DEFAULT app.number(), n int); INSERT INTO app.paper SELECT n, n FROM generate_series(1, 60) n;
        ALTER TABLE app.paper OWNER TO region_chen; REVOKE CREATE ON SCHEMA app FROM region_chen; SELECT steward.protect('app.paper')",
    );
    let op_no = school.operate("postgres", "DROP TABLE app.paper");
    // What its default calls is gone: the table cannot be made again.
    school.superuser().batch_execute("DROP FUNCTION app.number").expect("drop");
    let left = "SELECT has_schema_privilege('region_chen', 'app', 'CREATE') OR EXISTS (SELECT FROM pg_class
        WHERE relname ~ '^image_[0-9]+$' AND has_table_privilege('region_chen', oid, 'SELECT'))";
    let swallowing = format!(
        "DO $$ BEGIN PERFORM steward.restore('{op_no}'); RAISE 'it must fail'; EXCEPTION WHEN undefined_function THEN NULL; END $$;
        DO $$ BEGIN ASSERT current_user = 'postgres' AND NOT ({left}); END $$"
    );
    for script in [format!("SELECT steward.restore('{op_no}')"), swallowing] {
        let mut applicant = school.superuser();
        let by = request(&mut applicant, &script, ", approvals => 2");
        school.release(&by);
        let run = crate::school::execute(&mut applicant, &by);
        assert_eq!(run.is_ok(), script.starts_with("DO"), "{script}: {run:?}");
        assert!(!school.ask::<bool>(left), "{script}: rights that were lent stay");
        assert_eq!(school.ask::<Option<String>>("SELECT to_regclass('app.paper')::text"), None, "{script}");
    }
    school
        .superuser()
        .batch_execute("CREATE FUNCTION app.number() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        .expect("again");
    assert_eq!(restored(&school, &op_no).1, 60);
    assert!(!school.ask::<bool>(left));
}
