//! What each command is judged as: the table of interface.md, one line per command.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::core::tier::Tier::{self, Critical, Important, Normal};
    use crate::pg_test::fixture::school;
    use crate::watch::dry_run::{Step, examine};
    use pgrx::prelude::*;

    fn judged(script: &str) -> Step {
        let Ok(mut steps) = examine(script) else { panic!("{script} is not examined") };
        assert_eq!(steps.len(), 1, "{script}");
        steps.remove(0)
    }

    fn expect(cases: &[(&str, Tier, &str)]) {
        for (script, tier, rule) in cases {
            let step = judged(script);
            assert_eq!((step.tier, step.rule.as_str()), (*tier, *rule), "{script}: {}", step.reason);
        }
    }

    #[pg_test]
    fn reads_are_normal_and_exports_important() {
        school();
        expect(&[
            ("SELECT * FROM app.student", Normal, "read"),
            ("SELECT * FROM app.names", Normal, "read"),
            ("TABLE app.payment_01", Normal, "read"),
            ("SELECT * FROM app.scratch", Normal, "none"),
            ("COPY app.student TO STDOUT", Important, "export"),
            ("INSERT INTO app.scratch SELECT id FROM app.student", Important, "export"),
            ("COPY app.student TO '/tmp/x'", Critical, "config"),
        ]);
    }

    #[pg_test]
    fn writes_are_normal_until_they_touch_a_sensitive_column() {
        school();
        expect(&[
            ("UPDATE app.student SET phone = '1' WHERE id = 1", Normal, "write"),
            ("UPDATE app.student SET address = '1' WHERE id = 1", Important, "sensitive_column"),
            ("INSERT INTO app.student (id, name) VALUES (1, 'x')", Normal, "write"),
            ("INSERT INTO app.student (id, id_card) VALUES (1, 'x')", Important, "sensitive_column"),
            ("COPY app.student (id, name) FROM STDIN", Normal, "write"),
            ("COPY app.student FROM STDIN", Important, "sensitive_column"),
            ("UPDATE app.names SET name = 'x'", Normal, "write"),
            ("WITH d AS (DELETE FROM app.student RETURNING id) SELECT * FROM d", Normal, "write"),
            (
                "MERGE INTO app.student s USING app.scratch c ON s.id = c.id WHEN MATCHED THEN UPDATE SET address = 'x'",
                Important,
                "sensitive_column",
            ),
            (
                "INSERT INTO app.student VALUES (1) ON CONFLICT (id) DO UPDATE SET id_card = 'x'",
                Important,
                "sensitive_column",
            ),
        ]);
    }

    #[pg_test]
    fn fifty_rows_of_any_write_are_critical() {
        school();
        for script in [
            "UPDATE app.student SET phone = ''",
            "DELETE FROM app.payment",
            "DELETE FROM app.payment_01",
            "COPY app.guardian FROM STDIN",
        ] {
            let rules = judged(script).row_rules;
            let rules: Vec<_> = rules.iter().map(|limit| (limit.rows, limit.tier, limit.rule.as_str())).collect();
            assert_eq!(rules, [(50, Critical, "bulk_write")], "{script}");
        }
    }

    #[pg_test]
    fn structure_of_protected_tables_is_critical_by_every_command() {
        school();
        let commands = [
            "TRUNCATE app.student CASCADE",
            "TRUNCATE app.payment_01",
            "DROP TABLE app.student",
            "DROP TABLE app.payment_01",
            "DROP SCHEMA app CASCADE",
            "ALTER SCHEMA app RENAME TO appl",
            "ALTER TABLE app.student DISABLE TRIGGER ALL",
            "ALTER TABLE app.student RENAME TO pupil",
            "ALTER TABLE app.student RENAME COLUMN name TO n",
            "ALTER TABLE app.student SET SCHEMA public",
            "ALTER INDEX app.student_pkey RENAME TO k",
            "ALTER TABLE app.payment DETACH PARTITION app.payment_01",
            "DROP INDEX app.student_pkey",
            "CREATE TRIGGER t BEFORE UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE RULE r AS ON DELETE TO app.student DO INSTEAD NOTHING",
            "CLUSTER app.student USING student_pkey",
            "CLUSTER",
            "VACUUM FULL app.student",
            "VACUUM (FULL true) app.student",
            "VACUUM FULL",
            "CREATE TABLE app.child () INHERITS (app.student)",
        ];
        for script in commands {
            expect(&[(script, Critical, "structure")]);
        }
    }

    #[pg_test]
    fn upkeep_is_normal_and_a_new_partition_important() {
        school();
        expect(&[
            ("VACUUM app.student", Normal, "upkeep"),
            ("VACUUM (FULL false) app.student", Normal, "upkeep"),
            ("ANALYZE app.student", Normal, "upkeep"),
            ("REINDEX TABLE app.student", Normal, "upkeep"),
            ("CREATE INDEX ON app.student (phone)", Normal, "upkeep"),
            ("COMMENT ON TABLE app.student IS 'x'", Normal, "upkeep"),
            ("LOCK app.student", Normal, "upkeep"),
            (
                "CREATE TABLE app.payment_02 PARTITION OF app.payment FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
                Important,
                "partition",
            ),
        ]);
    }

    #[pg_test]
    fn privileges_and_configuration_are_critical() {
        school();
        let privilege = [
            "GRANT SELECT ON app.student TO PUBLIC",
            "GRANT SELECT ON app.scratch TO postgres",
            "REVOKE ALL ON SCHEMA app FROM postgres",
            "GRANT pg_read_all_data TO postgres",
            "CREATE ROLE mallory",
            "CREATE ROLE mallory LOGIN SUPERUSER",
            "DROP ROLE mallory",
            "ALTER ROLE postgres NOSUPERUSER",
            "ALTER ROLE postgres RENAME TO p",
            "ALTER TABLE app.student OWNER TO postgres",
            "ALTER FUNCTION app.touch() OWNER TO postgres",
            "CREATE POLICY p ON app.student USING (true)",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            "REASSIGN OWNED BY postgres TO postgres",
            "DROP OWNED BY postgres",
            "SECURITY LABEL FOR pg_steward ON COLUMN app.student.id_card IS NULL",
        ];
        for script in privilege {
            let step = judged(script);
            assert_eq!(step.tier, Critical, "{script}");
            assert!(["privilege", "structure"].contains(&step.rule.as_str()), "{script}: {}", step.rule);
        }
        let config = [
            "ALTER SYSTEM SET work_mem = '1MB'",
            "ALTER DATABASE pgrx_tests SET work_mem = '1MB'",
            "ALTER ROLE postgres SET work_mem = '1MB'",
            "CREATE EXTENSION hstore",
            "DROP EXTENSION plpgsql",
            "LOAD 'auto_explain'",
            "CREATE FUNCTION app.f() RETURNS int LANGUAGE c AS 'x', 'y'",
            "CREATE FUNCTION app.f() RETURNS int LANGUAGE internal AS 'now'",
            "COPY app.scratch TO PROGRAM 'cat'",
            "COPY app.scratch FROM '/etc/passwd'",
            "CREATE DATABASE other",
            "CREATE PUBLICATION p FOR ALL TABLES",
            "UPDATE pg_authid SET rolsuper = true",
            "DELETE FROM pg_trigger",
        ];
        for script in config {
            expect(&[(script, Critical, "config")]);
        }
    }

    #[pg_test]
    fn functions_are_judged_by_symbol_wherever_a_query_calls_them() {
        school();
        expect(&[
            ("SELECT pg_read_file('x')", Critical, "server_access"),
            ("SELECT 1 WHERE EXISTS (SELECT FROM pg_ls_dir('.'))", Critical, "server_access"),
            (
                "WITH f AS (SELECT lo_import('x')) UPDATE app.student SET phone = '' WHERE id = (SELECT 1 FROM f)",
                Critical,
                "server_access",
            ),
            ("INSERT INTO app.scratch VALUES (length(pg_read_file('x')))", Critical, "server_access"),
            ("SELECT pg_terminate_backend(1)", Important, "server_control"),
            ("SELECT pg_reload_conf()", Critical, "config"),
            ("SELECT lo_create(0)", Normal, "write"),
            ("SELECT pg_switch_wal()", Normal, "upkeep"),
            ("SELECT lower('X'), now()", Normal, "none"),
        ]);
    }

    #[pg_test]
    fn what_touches_nothing_protected_is_nobodys_business() {
        school();
        let free = [
            "CREATE TABLE app.other (id int)",
            "DROP TABLE app.scratch",
            "CREATE VIEW app.v AS SELECT 1",
            "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "UPDATE app.scratch SET id = 1",
            "VACUUM",
            "BEGIN",
            "SET work_mem = '1MB'",
        ];
        for script in free {
            expect(&[(script, Normal, "none")]);
        }
    }

    #[pg_test]
    fn own_objects_are_refused_whatever_covers_them() {
        let own = [
            "DELETE FROM steward.rule",
            "INSERT INTO steward.chain VALUES (1, '', '', '')",
            "UPDATE steward.person SET post = 'auditor'",
            "TRUNCATE steward.rule",
            "ALTER TABLE steward.rule ADD x int",
            "DROP TABLE steward.rule",
            "LOCK steward.rule",
            "GRANT ALL ON steward.rule TO PUBLIC",
            "DROP FUNCTION steward.protect(regclass, boolean)",
            "CREATE OR REPLACE FUNCTION steward.protect(relation regclass, row_images boolean DEFAULT false) RETURNS void LANGUAGE sql AS 'SELECT'",
            "ALTER FUNCTION steward.protect(regclass, boolean) SECURITY DEFINER",
            "CREATE TABLE steward.mine (id int)",
            "DROP SCHEMA steward CASCADE",
            "ALTER SCHEMA steward RENAME TO s",
            "COPY steward.rule FROM STDIN",
            "ALTER EXTENSION pg_steward DROP TABLE steward.rule",
            "CREATE TRIGGER t BEFORE INSERT ON steward.rule EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ];
        for script in own {
            let step = judged(script);
            assert_eq!((step.decision.as_str(), step.rule.as_str()), ("refuse", "audit"), "{script}");
            assert!(step.runnable.is_err(), "{script}");
        }
    }

    #[pg_test]
    fn what_cannot_be_seen_from_outside_is_said_to_be_opaque() {
        school();
        for script in ["DO 'BEGIN END'", "SELECT app.touch()", "SELECT steward.unprotect('app.student')"] {
            assert!(judged(script).opaque, "{script}");
        }
        assert!(!judged("SELECT lower(name) FROM app.student").opaque);
    }

    #[pg_test]
    fn what_cannot_run_inside_a_function_says_why() {
        school();
        for script in [
            "VACUUM app.student",
            "BEGIN",
            "COMMIT",
            "ALTER SYSTEM SET work_mem = '1MB'",
            "CREATE INDEX CONCURRENTLY ON app.student (name)",
            "COPY app.student FROM STDIN",
        ] {
            assert!(judged(script).runnable.is_err(), "{script}");
        }
        assert!(judged("UPDATE app.student SET phone = ''").runnable.is_ok());
    }

    #[pg_test]
    fn a_step_keeps_its_own_bytes() {
        let steps = examine("SELECT 1;  SELECT 2 ;\n-- note\nSELECT 3").unwrap_or_default();
        let texts: Vec<&str> = steps.iter().map(|step| step.statement.as_str()).collect();
        assert_eq!(texts, ["SELECT 1", "SELECT 2", "-- note\nSELECT 3"]);
    }
}
