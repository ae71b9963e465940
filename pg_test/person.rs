//! Persons, their logins and rights, and what must be there before the policy can be active.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::pg_test::fixture::{lines, school};
    use crate::pg_test::people::*;
    use pgrx::prelude::*;

    fn governed() {
        school();
        attempts();
        people();
    }

    #[pg_test]
    fn the_posts_are_those_of_the_manual() {
        let posts =
            lines("SELECT name, array_to_string(capabilities, ' ') FROM steward.post WHERE installed ORDER BY name");
        assert_eq!(
            posts,
            [
                "auditor|audit",
                "clerk|",
                "ops|apply witness break_glass never_alone",
                "parent|",
                "region_admin|apply witness never_alone",
                "reviewer|approve witness never_alone",
                "security_officer|apply approve configure",
                "service|apply",
                "teacher|apply",
            ]
        );
        let administrators = lines("SELECT name FROM steward.post WHERE administrator ORDER BY name");
        assert_eq!(administrators, ["auditor", "ops", "region_admin", "reviewer", "security_officer"]);
    }

    #[pg_test]
    fn null_keeps_and_infinity_removes_an_end() {
        governed();
        Spi::run("SELECT steward.register_person('Sun', NULL, department => 'east', supervisor => 'Han', valid_until => '2100-01-01')").unwrap();
        Spi::run("SELECT steward.register_person('Sun', NULL)").unwrap();
        let sun = "SELECT post, department, supervisor, extract(year FROM valid_until)::text FROM steward.person WHERE name = 'Sun'";
        assert_eq!(lines(sun), ["reviewer|east|Han|2100"]);
        Spi::run("SELECT steward.register_person('Sun', 'teacher', valid_until => 'infinity')").unwrap();
        assert_eq!(lines(sun), ["teacher|east|Han|"]);
        assert_eq!(lines("SELECT role::text FROM steward.person_login WHERE person = 'Sun'"), ["sun"]);
    }

    #[pg_test]
    fn a_login_belongs_to_one_person() {
        governed();
        refused("SELECT steward.register_person('Zhou', 'reviewer', '{zhou,sun}')", &["22023", "sun belongs to Sun"]);
        Spi::run("SELECT steward.register_person('Sun', 'reviewer', '{}')").unwrap();
        assert_eq!(attempt("SELECT steward.register_person('Zhou', 'reviewer', '{zhou,sun}')"), "ok");
        assert_eq!(
            lines("SELECT role::text FROM steward.person_login WHERE person = 'Zhou' ORDER BY 1"),
            ["sun", "zhou"]
        );
        refused("SELECT steward.register_person('Zhou', 'reviewer', '{999999}')", &["42704", "999999"]);
    }

    #[pg_test]
    fn bad_arguments_say_what_is_wrong() {
        governed();
        refused("SELECT steward.register_person('New', 'king')", &["42704", "king", "auditor clerk ops"]);
        refused("SELECT steward.register_person('New', NULL)", &["22023", "a new person needs a post"]);
        refused("SELECT steward.register_person(' ', 'clerk')", &["22023", "name must not be empty"]);
        refused("SELECT steward.register_person(E'S\\u200bun', 'clerk')", &["22023", "U+200B"]);
        refused("SELECT steward.register_person('New', 'clerk', supervisor => 'Nobody')", &["42704", "Nobody"]);
        refused("SELECT steward.register_person('Sun', NULL, supervisor => 'Sun')", &["22023", "supervisor"]);
        Spi::run("SELECT steward.register_person('Sun', NULL, supervisor => 'Zhou')").unwrap();
        refused("SELECT steward.register_person('Zhou', NULL, supervisor => 'Sun')", &["22023", "supervisor"]);
        refused("SELECT steward.suspend_person('Nobody', 'x')", &["42704", "Nobody"]);
        refused("SELECT steward.suspend_person('Sun', NULL)", &["22023", "reason"]);
    }

    #[pg_test]
    fn rights_on_functions_and_views_follow_the_post() {
        governed();
        let configures = |role: &str| {
            text(&format!(
                "SELECT string_agg(DISTINCT has_function_privilege('{role}', oid, 'EXECUTE')::text, ' ') FROM pg_proc
                 WHERE pronamespace = 'steward'::regnamespace AND proname IN ('protect', 'unprotect', 'set_rule', 'drop_rule',
                    'set_tier_policy', 'register_person', 'suspend_person', 'activate', 'deactivate')"
            ))
        };
        let reads =
            |role: &str| text(&format!("SELECT has_table_privilege('{role}', 'steward.audit_log', 'SELECT')::text"));
        assert_eq!((configures("han"), reads("han")), ("true".into(), "false".into()));
        assert_eq!((configures("qian"), reads("qian")), ("false".into(), "true".into()));
        assert_eq!((configures("chen"), reads("chen")), ("false".into(), "false".into()));
        Spi::run("SELECT steward.suspend_person('Qian', 'left'), steward.register_person('Han', 'auditor')").unwrap();
        assert_eq!((configures("han"), reads("han"), reads("qian")), ("false".into(), "true".into(), "false".into()));
        Spi::run("SELECT steward.register_person('Han', NULL, '{}'), steward.register_person('Qian', NULL)").unwrap();
        assert_eq!((reads("han"), reads("qian")), ("false".into(), "true".into()));
    }

    #[pg_test]
    fn a_suspended_or_expired_person_can_do_nothing() {
        governed();
        let who = || Spi::get_one::<String>("SELECT steward.current_person()").unwrap();
        let may = || text("SELECT steward.has_capability('apply')::text");
        assert_eq!((who().as_deref(), may().as_str()), (Some("Chen"), "true"));
        Spi::run("SELECT steward.suspend_person('Chen', 'on leave')").unwrap();
        assert_eq!((who(), may().as_str()), (None, "false"));
        refused("SELECT steward.request('SELECT 1', 'x')", &["42501", "suspended or past valid_until"]);
        Spi::run("SELECT steward.register_person('Chen', NULL)").unwrap();
        assert_eq!((who().as_deref(), may().as_str()), (Some("Chen"), "true"));
        Spi::run("SELECT steward.register_person('Chen', NULL, valid_until => clock_timestamp() + interval '50 ms'), pg_sleep(0.1)").unwrap();
        assert_eq!((who(), may().as_str()), (None, "false"));
    }

    #[pg_test]
    fn the_person_is_the_login_s_not_the_role_s() {
        governed();
        Spi::run("GRANT sun TO chen; SET LOCAL ROLE sun").unwrap();
        assert_eq!(text("SELECT steward.current_person()"), "Chen");
        Spi::run("RESET ROLE; SET LOCAL SESSION AUTHORIZATION sun").unwrap();
        assert_eq!(text("SELECT steward.current_person()"), "Chen");
    }

    #[pg_test]
    fn activation_lists_everything_that_is_missing() {
        school();
        attempts();
        let login = text("SELECT format('Login %I has no person.', session_user)");
        refused("SELECT steward.activate()", &["55000", "There is no auditor.", &login]);
        people();
        Spi::run("CREATE ROLE stray LOGIN").unwrap();
        refused("SELECT steward.activate()", &["Login stray has no person."]);
        Spi::run("DROP ROLE stray; SELECT steward.suspend_person('Zhou', 'x'), steward.suspend_person('Han', 'x'), steward.suspend_person('Liu', 'x')").unwrap();
        refused(
            "SELECT steward.activate()",
            &["For operations of Chen there is not a second person other than the approver."],
        );
        Spi::run("SELECT steward.suspend_person('Sun', 'x')").unwrap();
        refused("SELECT steward.activate()", &["For operations of Card there is not an approver."]);
        for person in ["Sun", "Zhou", "Liu", "Han"] {
            Spi::run(&format!("SELECT steward.register_person('{person}', NULL)")).unwrap();
        }
        assert_eq!(attempt("SELECT steward.activate()"), "ok");
        assert_eq!(count("SELECT count(*) FROM steward.activation"), 1);
        assert_eq!(attempt("SELECT steward.activate()"), "ok", "again changes nothing");
        Spi::run("SELECT steward.deactivate()").unwrap();
        assert_eq!(count("SELECT count(*) FROM steward.activation"), 0);
    }
}
