//! The policy's own functions: what they accept, what they refuse, and that sessions see changes at once.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::pg_test::fixture::{lines, school};
    use pgrx::prelude::*;

    fn tier_of(statement: &str) -> String {
        lines(&format!("SELECT tier || ' ' || rule FROM steward.classify($c${statement}$c$)")).join(",")
    }

    #[pg_test]
    fn a_new_rule_holds_at_once() {
        school();
        assert_eq!(tier_of("DELETE FROM app.student WHERE id = 1"), "normal write");
        Spi::run("SELECT steward.set_rule('no_delete', 'critical', commands => '{DELETE}', relation_pattern => '^app\\.student$')").unwrap();
        assert_eq!(tier_of("DELETE FROM app.student WHERE id = 1"), "critical no_delete");
        Spi::run("SELECT steward.drop_rule('no_delete')").unwrap();
        assert_eq!(tier_of("DELETE FROM app.student WHERE id = 1"), "normal write");
    }

    #[pg_test]
    fn without_any_matching_rule_a_protected_table_is_critical() {
        school();
        Spi::run("SELECT steward.drop_rule('read')").unwrap();
        assert_eq!(tier_of("SELECT * FROM app.student"), "critical unmatched");
    }

    #[pg_test]
    fn a_superuser_is_no_member_of_a_rule_s_roles() {
        school();
        Spi::run("CREATE ROLE some_clerk").unwrap();
        Spi::run("SELECT steward.set_rule('clerks', 'important', commands => '{READ}', roles => '{some_clerk}')")
            .unwrap();
        assert_eq!(tier_of("SELECT * FROM app.student"), "normal read");
        Spi::run(
            "SELECT steward.set_rule('others', 'important', commands => '{READ}', except_roles => '{some_clerk}')",
        )
        .unwrap();
        assert_eq!(tier_of("SELECT * FROM app.student"), "important others");
    }

    #[pg_test]
    fn a_new_partition_is_protected_with_its_table() {
        school();
        Spi::run(
            "CREATE TABLE app.payment_03 PARTITION OF app.payment FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')",
        )
        .unwrap();
        assert_eq!(tier_of("TRUNCATE app.payment_03"), "critical structure");
    }

    #[pg_test]
    fn unprotect_ends_it() {
        school();
        Spi::run("SELECT steward.unprotect('app.student')").unwrap();
        assert_eq!(tier_of("UPDATE app.student SET phone = ''"), "normal none");
    }

    #[pg_test(error = "app.names is no table")]
    fn a_view_cannot_be_protected() {
        school();
        Spi::run("SELECT steward.protect('app.names')").unwrap();
    }

    #[pg_test(error = "app.payment_01 is a partition")]
    fn a_partition_is_protected_through_its_table() {
        school();
        Spi::run("SELECT steward.protect('app.payment_01')").unwrap();
    }

    #[pg_test(error = "pg_catalog.pg_class cannot be protected")]
    fn the_catalog_guards_itself() {
        Spi::run("SELECT steward.protect('pg_class')").unwrap();
    }

    #[pg_test(error = "\"SELCT\" is neither a command tag nor a group of commands")]
    fn a_misspelt_command_is_refused() {
        Spi::run("SELECT steward.set_rule('x', 'critical', commands => '{SELCT}')").unwrap();
    }

    #[pg_test(error = "\"(\" is no pattern")]
    fn a_bad_pattern_is_refused() {
        Spi::run("SELECT steward.set_rule('x', 'critical', relation_pattern => '(')").unwrap();
    }

    #[pg_test(error = "rule \"bulk_write\" is an installed rule")]
    fn an_installed_rule_is_changed_only_with_a_reason() {
        Spi::run("SELECT steward.set_rule('bulk_write', 'important', commands => '{WRITE}', min_rows => 100)").unwrap();
    }

    #[pg_test]
    fn null_keeps_a_tier_policy_and_a_post_inherits_it() {
        Spi::run("SELECT steward.set_tier_policy('critical', approvals => 2)").unwrap();
        Spi::run("SELECT steward.set_tier_policy('critical', witness => false, post => 'ops')").unwrap();
        let rows = lines(
            "SELECT post || ' ' || approvals || ' ' || witness FROM steward.tier_policy WHERE tier = 'critical' ORDER BY post",
        );
        assert_eq!(rows, [" 2 true", "ops 2 false", "service 2 true"]);
    }

    #[pg_test]
    fn a_second_factor_for_every_post_leaves_the_service_out() {
        Spi::run("SELECT steward.set_tier_policy('normal', second_factor => true)").unwrap();
        Spi::run("SELECT steward.set_tier_policy('critical', second_factor => true)").unwrap();
        let rows = lines("SELECT tier || ' ' || post FROM steward.tier_policy WHERE second_factor ORDER BY tier, post");
        assert_eq!(rows, ["normal ", "important ", "critical "]);
    }

    #[pg_test(error = "the post service has no second factor")]
    fn a_service_has_no_second_factor() {
        Spi::run("SELECT steward.set_tier_policy('critical', second_factor => true, post => 'service')").unwrap();
    }

    #[pg_test(error = "pg_steward labels columns only")]
    fn a_table_carries_no_class() {
        school();
        Spi::run("SECURITY LABEL FOR pg_steward ON TABLE app.student IS 'phone'").unwrap();
    }

    #[pg_test(error = "a data class is a lower-case name")]
    fn a_class_is_a_name_and_no_code() {
        school();
        Spi::run("SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'left(phone, 3)'").unwrap();
    }
}
