//! `steward.lint`: every way around the policy that exists is found, and its command closes it.

use super::set_up;
use crate::school::School;

tests! {
    a_healthy_school_has_few_findings,
    every_way_around_is_found_and_its_command_closes_it,
    functions_whose_names_are_fixed_are_no_way_around,
    values_that_look_like_a_class_are_found_in_any_column,
    an_identity_number_that_a_birth_date_completes_is_found,
    a_floor_with_a_hole_is_found,
}

/// The command of the finding of this kind on this object, if there is one.
fn finding(school: &School, kind: &str, object: &str, role: &str) -> Option<String> {
    school
        .superuser()
        .query(
            "SELECT command FROM steward.lint() WHERE kind = $1 AND object LIKE $2 AND coalesce(role_id, '') LIKE $3",
            &[&kind, &object, &role],
        )
        .expect("lint")
        .first()
        .map(|row| row.get(0))
}

fn labelled() -> School {
    let school = School::inactive();
    set_up(
        &school,
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN app.student.name IS 'name';
         INSERT INTO steward.mask_rule (role, class, mask) VALUES ('clerk_zhao', 'phone', 'partial');
         SELECT count(*) FROM steward.apply()",
    );
    school
}

fn a_healthy_school_has_few_findings() {
    let school = labelled();
    let kinds: Vec<String> = school
        .superuser()
        .query("SELECT kind || ' ' || object FROM steward.lint()", &[])
        .expect("lint")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(kinds, ["copy app.school.name", "look_alike app.guardian.name", "superuser role postgres"]);
}

fn every_way_around_is_found_and_its_command_closes_it() {
    let school = labelled();
    let ways = [
        (
            "CREATE VIEW app.seen AS SELECT phone FROM app.student; GRANT SELECT ON app.seen TO clerk_zhao",
            "owner_view",
            "app.seen",
            "postgres",
        ),
        (
            "CREATE VIEW app.deep AS SELECT * FROM app.seen; GRANT SELECT ON app.deep TO PUBLIC",
            "owner_view",
            "app.deep",
            "postgres",
        ),
        (
            "CREATE FUNCTION app.f() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT max(phone) FROM app.student'",
            "definer_function",
            "app.f()",
            "postgres",
        ),
        (
            "CREATE PROCEDURE app.p() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; ALTER PROCEDURE app.p() OWNER TO teacher_wang",
            "definer_function",
            "app.p()",
            "teacher_wang",
        ),
        (
            "CREATE MATERIALIZED VIEW app.kept AS SELECT phone FROM app.student; GRANT SELECT ON app.kept TO clerk_zhao",
            "materialized_view",
            "app.kept",
            "postgres",
        ),
        ("CREATE TABLE app.left_behind AS SELECT phone FROM app.student", "copy", "app.left_behind.phone", ""),
        ("ALTER TABLE app.student ADD guardian_phone text", "look_alike", "app.student.guardian_phone", ""),
        ("ALTER TABLE app.guardian ADD \"家庭 住址\" text", "look_alike", "app.guardian.\"家庭 住址\"", ""),
        ("GRANT TRIGGER ON app.student TO clerk_zhao", "privilege", "app.student", "clerk_zhao"),
        ("GRANT TRUNCATE ON app.guardian TO PUBLIC", "privilege", "app.guardian", "PUBLIC"),
        ("ALTER ROLE clerk_zhao BYPASSRLS", "bypass_rls", "%", "clerk_zhao"),
        ("ALTER ROLE clerk_zhao REPLICATION", "replication", "%", "clerk_zhao"),
        ("CREATE ROLE root LOGIN SUPERUSER", "superuser", "%", "root"),
        (
            "CREATE ROLE chief SUPERUSER; CREATE ROLE between; GRANT chief TO between; GRANT between TO teacher_wang",
            "superuser",
            "role chief",
            "teacher_wang",
        ),
        ("GRANT pg_read_all_data TO reviewer_sun", "predefined_role", "role pg_read_all_data", "reviewer_sun"),
        ("GRANT pg_read_server_files TO clerk_zhao", "predefined_role", "role pg_read_server_files", "clerk_zhao"),
        (
            "GRANT pg_execute_server_program TO clerk_zhao",
            "predefined_role",
            "role pg_execute_server_program",
            "clerk_zhao",
        ),
        (
            "CREATE ROLE pool LOGIN NOINHERIT; GRANT SELECT ON app.student TO pool; GRANT clerk_zhao TO pool",
            "reset_role",
            "role clerk_zhao",
            "pool",
        ),
        (
            "CREATE ROLE staff; GRANT SELECT ON app.student TO staff; ALTER ROLE clerk_zhao NOINHERIT; GRANT staff TO clerk_zhao",
            "set_role",
            "role staff",
            "clerk_zhao",
        ),
        (
            "CREATE ROLE keeper NOLOGIN; CREATE ROLE dba LOGIN; GRANT keeper TO dba; ALTER TABLE app.student OWNER TO keeper",
            "owner_login",
            "app.student",
            "dba",
        ),
        ("CREATE PUBLICATION feed FOR TABLE app.student", "publication", "app.student", "postgres"),
        ("CREATE PUBLICATION everything FOR ALL TABLES", "publication", "app.student", "postgres"),
        (
            "CREATE FUNCTION app.notice() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER notice BEFORE UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION app.notice()",
            "unpinned_function",
            "app.notice()",
            "",
        ),
        (
            "CREATE FUNCTION app.plausible(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT $1 <> '0'$$;
             ALTER TABLE app.student ADD CONSTRAINT plausible CHECK (app.plausible(phone)) NOT VALID",
            "unpinned_function",
            "app.plausible(text)",
            "",
        ),
        (
            "CREATE FUNCTION app.shown(text) RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN true; END';
             CREATE POLICY shown ON app.student USING (app.shown(phone))",
            "unpinned_function",
            "app.shown(text)",
            "",
        ),
        (
            "CREATE FUNCTION app.short(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
             CREATE DOMAIN app.short_text AS text CHECK (app.short(VALUE)); ALTER TABLE app.student ADD remark app.short_text",
            "unpinned_function",
            "app.short(text)",
            "",
        ),
    ];
    for (way, kind, object, role) in ways {
        set_up(&school, way);
        let command = finding(&school, kind, object, role).unwrap_or_else(|| panic!("{way}: no {kind}"));
        set_up(&school, &command);
        assert_eq!(finding(&school, kind, object, role), None, "{way}: {command} does not close it");
        if kind == "owner_view" {
            // The next one is a view on this one.
            set_up(&school, "ALTER VIEW app.seen SET (security_invoker = true)");
        }
    }
}

/// Their names were looked up when they were written, or nobody is masked there.
fn functions_whose_names_are_fixed_are_no_way_around() {
    let school = labelled();
    set_up(
        &school,
        "CREATE FUNCTION app.fixed(text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1 <> '0';
         ALTER TABLE app.student ADD CONSTRAINT fixed CHECK (app.fixed(phone)) NOT VALID;
         CREATE FUNCTION app.notice() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER notice BEFORE UPDATE ON app.school FOR EACH ROW EXECUTE FUNCTION app.notice()",
    );
    assert_eq!(finding(&school, "unpinned_function", "%", "%"), None);
}

fn values_that_look_like_a_class_are_found_in_any_column() {
    let school = labelled();
    set_up(
        &school,
        "UPDATE app.scratch SET note = ''; INSERT INTO app.scratch SELECT n, '+86 139' || lpad(n::text, 8, '0') FROM generate_series(1, 40) n",
    );
    let looks = "SELECT command FROM steward.lint(sample => true) WHERE kind = 'look_alike_values' AND object = 'app.scratch.note'";
    assert_eq!(school.ask::<String>(looks), "SECURITY LABEL FOR pg_steward ON COLUMN app.scratch.note IS 'phone'");
    assert_eq!(
        school.ask::<i64>("SELECT count(*) FROM steward.lint() WHERE kind = 'look_alike_values'"),
        0,
        "only when asked"
    );
}

fn an_identity_number_that_a_birth_date_completes_is_found() {
    let school = labelled();
    set_up(
        &school,
        "ALTER TABLE app.student ADD birth_date date;
         INSERT INTO steward.mask_rule (role, class, mask, prefix, suffix) VALUES ('clerk_zhao', 'id_card', 'partial', 6, 4)",
    );
    let found = |school: &School| finding(school, "id_card_with_birth_date", "app.student.id_card", "clerk_zhao");
    assert_eq!(
        found(&school).as_deref(),
        Some("SELECT steward.set_mask('clerk_zhao', 'id_card', prefix => 6, suffix => 0)")
    );
    set_up(
        &school,
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.birth_date IS 'birth_date';
         INSERT INTO steward.mask_rule (role, class, mask) VALUES ('clerk_zhao', 'birth_date', 'generalize')",
    );
    assert_eq!(found(&school), None);
}

fn a_floor_with_a_hole_is_found() {
    let school = labelled();
    set_up(&school, "CREATE ROLE staff; GRANT SELECT ON app.student TO staff; GRANT staff TO clerk_zhao");
    let command = finding(&school, "floor", "app.student.phone", "clerk_zhao").expect("inherits");
    assert_eq!(command, "REVOKE staff FROM clerk_zhao");
    set_up(&school, &command);
    assert_eq!(finding(&school, "floor", "%", "%"), None);
    set_up(&school, "GRANT SELECT ON app.student TO clerk_zhao; ALTER TABLE app.student DISABLE ROW LEVEL SECURITY");
    assert_eq!(finding(&school, "floor", "%", "clerk_zhao").as_deref(), Some("SELECT * FROM steward.apply()"));
    set_up(&school, &finding(&school, "row_security", "app.student", "%").expect("row security"));
    assert_eq!(finding(&school, "floor", "%", "%"), None);
    assert_eq!(finding(&school, "row_security", "%", "%"), None);
}
