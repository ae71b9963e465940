//! The structure below the statements: catalogs written by hand, triggers, functions, types and what hangs on protected
//! tables; and the extension's own objects, in every form of DROP.

use super::attack::{Allowed, ROLES, Refused, Said, attack, attack_as, watch};
use crate::school::School;

tests! {
    the_catalog_written_by_hand,
    triggers_switched_off,
    a_new_trigger_rule_policy_or_child,
    the_function_of_a_trigger_replaced,
    functions_of_defaults_checks_and_indexes_replaced,
    the_checks_of_a_domain,
    an_event_trigger,
    code_in_untrusted_languages,
    the_extension_dropped_in_any_form,
    the_extension_altered,
    own_tables_as_parents_and_children,
    own_tables_in_any_statement,
    everything_a_role_owns_dropped,
    native_functions_created,
    the_home_database_renamed_or_closed,
    persons_rules_and_activation_by_hand,
    rights_on_the_catalog,
    the_long_values_of_a_protected_table,
    the_long_values_of_the_trail_images_and_secrets,
    locks_on_the_catalog,
    how_an_index_compares,
}

const CONFIG: [&str; 2] = ["critical", "config"];

fn said(operation: &'static str, relation: &'static str, [tier, rule]: [&'static str; 2]) -> Said {
    [operation, relation, tier, rule]
}

fn school_with(set_up: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(set_up).expect("set-up");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn the_catalog_written_by_hand() {
    let school = School::active();
    for (statement, operation) in [
        ("UPDATE pg_authid SET rolsuper = true WHERE rolname = 'teacher_wang'", "UPDATE"),
        ("DELETE FROM pg_trigger", "DELETE"),
        ("UPDATE pg_proc SET prosrc = 'pg_read_file_all' WHERE proname = 'lower'", "UPDATE"),
        ("UPDATE pg_class SET relowner = 1 WHERE relname = 'student'", "UPDATE"),
        ("INSERT INTO pg_auth_members VALUES (10, 10, 10, true)", "INSERT"),
        (
            "MERGE INTO pg_language l USING (SELECT 1) x ON true WHEN MATCHED THEN UPDATE SET lanpltrusted = true",
            "MERGE",
        ),
        ("WITH x AS (DELETE FROM pg_depend RETURNING 1) SELECT * FROM x", "SELECT"),
    ] {
        attack(&school, statement, Refused, said(operation, "", CONFIG));
    }
}

const STRUCTURE: [&str; 2] = super::attack::STRUCTURE;

fn triggers_switched_off() {
    let school = School::active();
    for statement in [
        "ALTER TABLE app.student DISABLE TRIGGER ALL",
        "ALTER TABLE app.student DISABLE TRIGGER USER",
        "ALTER TABLE app.guardian DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE ONLY app.card_transaction_2026_10 DISABLE TRIGGER ALL",
    ] {
        let table = statement.split("app.").nth(1).and_then(|rest| rest.split([' ', '_']).next()).unwrap_or_default();
        let relation = ["app.student", "app.guardian", "app.card_transaction"]
            .into_iter()
            .find(|name| name.ends_with(table) || name.contains(&format!(".{table}_")))
            .expect("a protected table");
        attack(&school, statement, Refused, said("ALTER TABLE", relation, STRUCTURE));
    }
}

fn a_new_trigger_rule_policy_or_child() {
    let school = school_with(
        "GRANT ALL ON SCHEMA app TO teacher_wang; ALTER TABLE app.guardian OWNER TO teacher_wang;
        CREATE TABLE app.kid (LIKE app.guardian); ALTER TABLE app.kid OWNER TO teacher_wang",
    );
    for (statement, operation) in [
        (
            "CREATE TRIGGER t BEFORE UPDATE ON app.guardian FOR EACH ROW
            EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE TRIGGER",
        ),
        ("CREATE RULE r AS ON DELETE TO app.guardian DO INSTEAD NOTHING", "CREATE RULE"),
        ("CREATE TABLE app.child () INHERITS (app.guardian)", "CREATE TABLE"),
        ("ALTER TABLE app.kid INHERIT app.guardian", "ALTER TABLE"),
        ("ALTER TABLE app.guardian RENAME TO hidden", "ALTER TABLE"),
    ] {
        attack(&school, statement, Refused, said(operation, "app.guardian", STRUCTURE));
    }
    let policy = "CREATE POLICY p ON app.guardian USING (false)";
    attack(&school, policy, Refused, said("CREATE POLICY", "app.guardian", ["critical", "privilege"]));
}

/// Whoever owns the function of a trigger owns what the trigger does.
fn the_function_of_a_trigger_replaced() {
    let school = school_with(
        "GRANT ALL ON SCHEMA app TO teacher_wang;
         CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         ALTER FUNCTION app.touch() OWNER TO teacher_wang;
         CREATE TRIGGER touch BEFORE UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION app.touch()",
    );
    let forge = "CREATE OR REPLACE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN NEW.id_card = ''forged''; RETURN NEW; END'";
    attack(&school, forge, Refused, said("ALTER", "app.student", STRUCTURE));
    let definer = "ALTER FUNCTION app.touch() SECURITY DEFINER";
    attack(&school, definer, Refused, said("ALTER", "app.student", STRUCTURE));
    let other = "CREATE FUNCTION app.of_no_table() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    school.session("teacher_wang").batch_execute(other).expect("a function of no protected table");
}

fn functions_of_defaults_checks_and_indexes_replaced() {
    let school = school_with(
        "GRANT ALL ON SCHEMA app TO teacher_wang;
         CREATE FUNCTION app.usual() RETURNS text LANGUAGE sql AS 'SELECT ''''::text';
         CREATE FUNCTION app.good(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE FUNCTION app.sorted(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
         ALTER FUNCTION app.usual() OWNER TO teacher_wang; ALTER FUNCTION app.good(text) OWNER TO teacher_wang;
         ALTER FUNCTION app.sorted(text) OWNER TO teacher_wang;
         ALTER TABLE app.student ALTER note SET DEFAULT app.usual();
         ALTER TABLE app.student ADD CONSTRAINT good CHECK (app.good(note));
         CREATE INDEX sorted ON app.student (app.sorted(name))",
    );
    for replaced in [
        "CREATE OR REPLACE FUNCTION app.usual() RETURNS text LANGUAGE sql AS 'SELECT ''x''::text'",
        "CREATE OR REPLACE FUNCTION app.good(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 = ''x'''",
        "CREATE OR REPLACE FUNCTION app.sorted(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''x''::text'",
    ] {
        attack(&school, replaced, Refused, said("ALTER", "app.student", STRUCTURE));
    }
}

fn the_checks_of_a_domain() {
    let school = school_with(
        "GRANT ALL ON SCHEMA app TO teacher_wang;
         CREATE DOMAIN app.short AS text CONSTRAINT short CHECK (length(VALUE) < 100);
         CREATE DOMAIN app.shorter AS app.short; CREATE DOMAIN app.free AS text;
         ALTER DOMAIN app.short OWNER TO teacher_wang;
         ALTER TABLE app.student ADD mood app.shorter DEFAULT ''",
    );
    for altered in [
        "ALTER DOMAIN app.short DROP CONSTRAINT short",
        "ALTER DOMAIN app.short ADD CONSTRAINT other CHECK (VALUE <> 'x')",
        "ALTER DOMAIN app.short SET DEFAULT 'x'",
        "ALTER DOMAIN app.short SET NOT NULL",
    ] {
        attack(&school, altered, Refused, said("ALTER", "app.student", STRUCTURE));
    }
    school.superuser().batch_execute("ALTER DOMAIN app.free ADD CHECK (VALUE <> 'x')").expect("of no protected table");
}

fn an_event_trigger() {
    let school = school_with("CREATE FUNCTION app.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'");
    let create = "CREATE EVENT TRIGGER w ON ddl_command_end EXECUTE FUNCTION app.watch()";
    attack(&school, create, Refused, said("CREATE EVENT TRIGGER", "", CONFIG));
}

/// An untrusted language can reach the server's files; here one that is made of PL/pgSQL's handlers.
fn code_in_untrusted_languages() {
    let school = school_with(
        "CREATE LANGUAGE wild HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler VALIDATOR plpgsql_validator;
         CREATE FUNCTION app.old() RETURNS int LANGUAGE wild AS 'BEGIN RETURN 1; END'",
    );
    attack(&school, "DO LANGUAGE wild 'BEGIN END'", Refused, said("DO", "", CONFIG));
    let create = "CREATE FUNCTION app.new() RETURNS int LANGUAGE wild AS 'BEGIN RETURN 1; END'";
    attack(&school, create, Refused, said("CREATE FUNCTION", "", CONFIG));
    let more = "CREATE LANGUAGE more HANDLER plpgsql_call_handler";
    attack(&school, more, Refused, said("CREATE LANGUAGE", "", CONFIG));
    school.superuser().batch_execute("SELECT app.old(); DO 'BEGIN END'").expect("what was there, and what is trusted");
    // Nor from another database, where the same server is.
    let mut elsewhere = school.connect("postgres", "postgres");
    crate::expect::expect_refused(elsewhere.batch_execute("DO LANGUAGE c ''"));
}

fn native_functions_created() {
    let school = School::active();
    for language in ["c", "internal"] {
        let create = format!("CREATE FUNCTION public.f() RETURNS int LANGUAGE {language} AS 'x', 'y'");
        attack(&school, &create, Refused, said("CREATE FUNCTION", "", CONFIG));
    }
}

const AUDIT: [&str; 2] = ["critical", "audit"];

fn the_extension_dropped_in_any_form() {
    let school = School::active();
    for (statement, operation, relation, why) in [
        ("DROP EXTENSION pg_steward CASCADE", "DROP EXTENSION", "", ["critical", "privilege"]),
        ("DROP SCHEMA steward CASCADE", "DROP SCHEMA", "schema steward", AUDIT),
        ("DROP TYPE steward.tier CASCADE", "DROP TYPE", "steward.tier", AUDIT),
        ("DROP TABLE steward.rule CASCADE", "DROP TABLE", "steward.rule", AUDIT),
        ("DROP FUNCTION steward.classify(text) CASCADE", "DROP FUNCTION", "steward.classify", AUDIT),
        ("DROP VIEW steward.audit_log CASCADE", "DROP VIEW", "steward.audit_log", AUDIT),
        ("DROP LANGUAGE plpgsql CASCADE", "DROP LANGUAGE", "", CONFIG),
    ] {
        attack(&school, statement, Refused, said(operation, relation, why));
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_extension WHERE extname = 'pg_steward'"), 1);
}

fn the_extension_altered() {
    let school = School::active();
    for (statement, operation, relation, why) in [
        ("ALTER EXTENSION pg_steward DROP TABLE steward.chain", "ALTER EXTENSION", "extension pg_steward", AUDIT),
        ("ALTER EXTENSION pg_steward UPDATE", "ALTER EXTENSION", "", CONFIG),
        ("ALTER SCHEMA steward RENAME TO s", "ALTER SCHEMA", "schema steward", AUDIT),
        ("ALTER TABLE steward.rule DISABLE TRIGGER ALL", "ALTER TABLE", "steward.rule", AUDIT),
        (
            "ALTER FUNCTION steward.protect(regclass, boolean) SECURITY DEFINER",
            "ALTER FUNCTION",
            "steward.protect",
            AUDIT,
        ),
        ("ALTER VIEW steward.audit_log RENAME TO old", "ALTER VIEW", "steward.audit_log", AUDIT),
        ("CREATE OR REPLACE VIEW steward.audit_log AS SELECT 1", "CREATE VIEW", "steward.audit_log", AUDIT),
    ] {
        attack(&school, statement, Refused, said(operation, relation, why));
    }
}

fn own_tables_as_parents_and_children() {
    let school = school_with(
        "GRANT ALL ON SCHEMA app TO teacher_wang; CREATE TABLE app.kid (LIKE steward.rule);
        CREATE TABLE app.ref (name text); ALTER TABLE app.kid OWNER TO teacher_wang;
        ALTER TABLE app.ref OWNER TO teacher_wang",
    );
    for (statement, operation) in [
        ("ALTER TABLE app.kid INHERIT steward.rule", "ALTER TABLE"),
        ("CREATE TABLE app.k2 () INHERITS (steward.rule)", "CREATE TABLE"),
    ] {
        attack(&school, statement, Refused, said(operation, "steward.rule", AUDIT));
    }
    let reference = "ALTER TABLE app.ref ADD FOREIGN KEY (name) REFERENCES steward.rule";
    attack_as(&school, "postgres", reference, Refused, said("ALTER TABLE", "steward.rule", AUDIT));
    // An ordinary role may not refer to it in the first place.
    let ordinary = school.session("teacher_wang").batch_execute(reference);
    crate::expect::expect_error(ordinary, &postgres::error::SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn own_tables_in_any_statement() {
    let school = School::active();
    for (statement, operation) in [
        ("SELECT * FROM steward.rule FOR UPDATE", "SELECT"),
        ("WITH x AS (UPDATE steward.rule SET tier = 'normal' RETURNING 1) SELECT * FROM x", "SELECT"),
        ("LOCK TABLE steward.rule IN SHARE MODE", "LOCK TABLE"),
        ("REINDEX TABLE steward.rule", "REINDEX"),
        ("CLUSTER steward.rule USING rule_pkey", "CLUSTER"),
        ("VACUUM FULL steward.rule", "VACUUM"),
        ("CREATE INDEX ON steward.rule (tier)", "CREATE INDEX"),
        ("TRUNCATE steward.rule", "TRUNCATE TABLE"),
        ("GRANT ALL ON steward.rule TO teacher_wang", "GRANT"),
        ("CREATE PUBLICATION p FOR TABLE steward.rule", "CREATE PUBLICATION"),
        ("EXPLAIN ANALYZE DELETE FROM steward.rule", "DELETE"),
    ] {
        attack(&school, statement, Refused, said(operation, "steward.rule", AUDIT));
    }
}

fn everything_a_role_owns_dropped() {
    let school = school_with("ALTER TABLE app.guardian OWNER TO teacher_wang");
    let privilege = ["critical", "privilege"];
    attack(&school, "DROP OWNED BY teacher_wang CASCADE", Refused, said("DROP OWNED", "", privilege));
    attack_as(&school, "postgres", "DROP OWNED BY postgres CASCADE", Refused, said("DROP OWNED", "", privilege));
    attack(&school, "REASSIGN OWNED BY teacher_wang TO clerk_zhao", Refused, said("REASSIGN OWNED", "", privilege));
}

fn the_home_database_renamed_or_closed() {
    let school = School::active();
    for statement in [
        "ALTER DATABASE school RENAME TO other",
        "ALTER DATABASE school ALLOW_CONNECTIONS false",
        "ALTER DATABASE school CONNECTION LIMIT 0",
        "DROP DATABASE school WITH (FORCE)",
        "CREATE DATABASE copy TEMPLATE school",
        "UPDATE pg_database SET datname = 'other' WHERE datname = 'school'",
    ] {
        for who in ROLES {
            crate::expect::expect_refused(school.connect(who, "postgres").batch_execute(statement));
        }
    }
    for who in ROLES {
        let denied = format!("result = 'DENIED' AND rule = 'home_database' AND user_id = '{who}'");
        assert_eq!(school.records(&denied), 6);
    }
    let there = "SELECT count(*) FROM pg_database WHERE datname = 'school' AND datallowconn AND datconnlimit = -1";
    assert_eq!(school.ask::<i64>(there), 1);
}

fn persons_rules_and_activation_by_hand() {
    let school = School::active();
    for (statement, operation, relation) in [
        ("UPDATE steward.person SET post = 'reviewer'", "UPDATE", "steward.person"),
        ("INSERT INTO steward.person_login VALUES ('clerk_zhao', 'Wang')", "INSERT", "steward.person_login"),
        ("DELETE FROM steward.activation", "DELETE", "steward.activation"),
        ("UPDATE steward.tier_policy SET approvals = 0", "UPDATE", "steward.tier_policy"),
        ("UPDATE steward._operation SET status = 'approved'", "UPDATE", "steward._operation"),
    ] {
        for who in ROLES {
            watch(&school, who, Refused, said(operation, relation, AUDIT), || {
                school.session(who).batch_execute(statement)
            });
        }
    }
    let free = "CREATE TABLE public.note (id int)";
    school.superuser().batch_execute(free).expect("a table of nobody's business");
    let read = ["SELECT", "app.student", "normal", "read"];
    attack(&school, "SELECT count(*) FROM app.student", Allowed, read);
}

fn rights_on_the_catalog() {
    let school = School::active();
    for grant in ["GRANT SELECT ON pg_authid TO teacher_wang", "GRANT UPDATE ON pg_proc TO clerk_zhao"] {
        attack(&school, grant, Refused, said("GRANT", "", ["critical", "privilege"]));
    }
}

/// Long values lie in a table of their own. Nobody writes it by SQL, and who reads it reads the table.
fn the_long_values_of_a_protected_table() {
    let school = school_with("GRANT pg_read_all_data TO teacher_wang");
    let toast = long_values(&school, "app.student");
    let read = ["SELECT", "app.student", "normal", "read"];
    attack(&school, &format!("SELECT chunk_data FROM {toast}"), Allowed, read);
    attack(&school, &format!("VACUUM FULL {toast}"), Refused, said("VACUUM", "app.student", STRUCTURE));
}

/// The table that holds the long values of another.
fn long_values(school: &School, table: &str) -> String {
    school.ask(&format!("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = '{table}'::regclass"))
}

/// Past the views, below the tables: the trail is read on record there too, images are exported, secrets read by nobody.
fn the_long_values_of_the_trail_images_and_secrets() {
    let school = school_with("GRANT pg_read_all_data TO teacher_wang");
    let trail: Vec<String> = school
        .superuser()
        .query(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'steward'::regnamespace AND relkind = 'r'
                AND relname ~ '^(chain|journal)_' AND reltoastrelid <> 0 ORDER BY 1",
            &[],
        )
        .expect("tables of the trail")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(trail.len() >= 4, "{trail:?}");
    for table in &trail {
        let toast = long_values(&school, table);
        for who in ROLES {
            let record = format!("user_id = '{who}' AND table_name = 'steward.audit_log' AND result = 'SUCCESS'");
            let before = school.records(&record);
            school
                .session(who)
                .batch_execute(&format!("SELECT chunk_data FROM {toast}"))
                .expect("one may read the trail");
            let own = i64::from(who == "postgres");
            assert!(school.records(&record) > before + own, "{who}: {table}");
        }
    }
    let toast = long_values(&school, "steward.row_image");
    attack(
        &school,
        &format!("SELECT chunk_data FROM {toast}"),
        Allowed,
        ["SELECT", "steward.row_image", "important", "export"],
    );
    for table in school.superuser().query(SECRETS, &[]).expect("secrets").iter().map(|row| row.get::<_, String>(0)) {
        let toast = long_values(&school, &table);
        for who in ROLES {
            let read = school.session(who).batch_execute(&format!("SELECT chunk_data FROM {toast}"));
            crate::expect::expect_refused(read);
            let denied = format!("user_id = '{who}' AND result = 'DENIED' AND table_name = '{toast}'");
            assert_eq!(school.records(&denied), 1, "{who}: {table}");
        }
    }
}

const SECRETS: &str = r"SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'steward'::regnamespace
    AND relname LIKE '\_second\_factor%' AND relkind = 'r' AND reltoastrelid <> 0";

/// Nobody has to lock the server's own tables, and who does so stops everybody: the policy, the chain, every login.
fn locks_on_the_catalog() {
    let school = School::active();
    for lock in [
        "BEGIN; LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE pg_authid IN EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE information_schema.sql_parts IN SHARE MODE",
    ] {
        attack(&school, lock, Refused, said("LOCK TABLE", "", CONFIG));
    }
    let read = "BEGIN; LOCK TABLE pg_class IN ACCESS SHARE MODE; COMMIT";
    school.superuser().batch_execute(read).expect("what every reader takes");
}

/// What a default operator class of a type compares with, runs in everybody's statements.
fn how_an_index_compares() {
    let school = school_with("CREATE OPERATOR FAMILY app.family USING btree");
    for (statement, operation) in [
        ("CREATE OPERATOR FAMILY app.other USING btree", "CREATE OPERATOR FAMILY"),
        (
            "ALTER OPERATOR FAMILY app.family USING btree ADD FUNCTION 1 (int4, int8) btint48cmp(int4, int8)",
            "ALTER OPERATOR FAMILY",
        ),
        (
            "CREATE OPERATOR CLASS app.mine FOR TYPE int4 USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int4, int4)",
            "CREATE OPERATOR CLASS",
        ),
    ] {
        attack(&school, statement, Refused, said(operation, "", CONFIG));
    }
}
