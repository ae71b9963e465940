//! Dump, restore, and taking the extension out again.

use postgres::error::SqlState;

use crate::cluster::Cluster;
use crate::cluster::succeed;
use crate::expect::{expect_bulk_refused, expect_error};
use crate::school::{HOME, School, settings};

tests! {
    a_restored_dump_is_set_up_but_not_active,
    signatures_windows_and_the_review_block_are_restored,
    an_approved_drop_extension_leaves_the_server_committing,
    a_new_ledger_reads_what_was_recorded_before_it_began,
    the_extension_needs_preloading,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

/// Dumps the roles and the governed database of an active school into two files.
pub fn dump(school: &School) -> [std::path::PathBuf; 2] {
    dump_as(school, "postgres")
}

/// The same as another login.
pub fn dump_as(school: &School, login: &str) -> [std::path::PathBuf; 2] {
    let roles = school.file("roles.sql");
    let database = school.file("school.sql");
    let mut pg_dumpall = school.client_program("pg_dumpall");
    pg_dumpall.env("PGUSER", login).arg("--roles-only").arg("--file").arg(&roles);
    succeed(pg_dumpall);
    let mut pg_dump = school.client_program("pg_dump");
    pg_dump.env("PGUSER", login).arg("--file").arg(&database).arg(HOME);
    succeed(pg_dump);
    // The superuser exists in every cluster.
    let text = std::fs::read_to_string(&roles).expect("roles");
    let text: String = text.lines().filter(|line| *line != "CREATE ROLE postgres;").map(|l| format!("{l}\n")).collect();
    std::fs::write(&roles, text).expect("roles");
    [roles, database]
}

fn a_restored_dump_is_set_up_but_not_active() {
    let school = School::active();
    school.operate("region_chen", SIXTY);
    let policy = "SELECT string_agg(name || ' ' || tier::text, ',' ORDER BY name) FROM steward.rule";
    let rules: String = school.ask(policy);
    let [roles, database] = dump(&school);

    let settings = settings("enforce");
    let copy = Cluster::with_home(&settings.each_ref().map(String::as_str));
    copy.psql_file("postgres", "postgres", &roles);
    copy.psql_file("postgres", HOME, &database);

    let mut superuser = copy.connect("postgres", HOME);
    let restored: String = superuser.query_one(policy, &[]).expect("rules").get(0);
    assert_eq!(restored, rules);
    let moved = superuser.query_one("SELECT count(*) FROM app.student WHERE note = 'moved'", &[]);
    assert_eq!(moved.expect("students").get::<_, i64>(0), 60);
    // Set up, but not active: bulk work passes until somebody activates it, and not after.
    superuser.batch_execute(SIXTY).expect("a restored policy refuses nothing");
    superuser.batch_execute("SELECT steward.activate()").expect("the restored policy is complete");
    let mut teacher = copy.connect("teacher_wang", HOME);
    expect_bulk_refused(teacher.batch_execute(SIXTY), "app.student");
    superuser.batch_execute("SELECT steward.flush_audit()").expect("flush_audit");
    let verdict = superuser.query_one("SELECT ok FROM steward.verify_chain()", &[]);
    assert!(verdict.expect("verify_chain").get::<_, bool>(0));
}

fn signatures_windows_and_the_review_block_are_restored() {
    let school = School::inactive();
    let calls = "SELECT steward.set_approval('critical', 1, '{post:reviewer,person:Sun}', rule => 'structure');
        SELECT steward.set_window('night', 'critical', '{1,7}', '22:00', '24:00');
        SELECT steward.set_review_block(3)";
    school.superuser().batch_execute(calls).expect("policy");
    let policy = "SELECT concat((SELECT a::text FROM steward.approval_rule a), (SELECT w::text FROM steward.maintenance_window w),
        (SELECT b::text FROM steward.review_block b))";
    let rows: String = school.ask(policy);
    let [roles, database] = dump(&school);
    let settings = settings("enforce");
    let copy = Cluster::with_home(&settings.each_ref().map(String::as_str));
    copy.psql_file("postgres", "postgres", &roles);
    copy.psql_file("postgres", HOME, &database);
    let mut superuser = copy.connect("postgres", HOME);
    assert_eq!(superuser.query_one(policy, &[]).expect("policy").get::<_, String>(0), rows);
    superuser.batch_execute("SELECT steward.activate()").expect("the restored policy is complete");
}

fn an_approved_drop_extension_leaves_the_server_committing() {
    let mut school = School::active();
    let mut open = school.session("teacher_wang");
    open.batch_execute("UPDATE app.student SET note = 'before' WHERE id = 1").expect("update");
    school.operate("postgres", "DROP EXTENSION pg_steward CASCADE");
    // The session that was open, a new one, and one after a restart.
    open.batch_execute(SIXTY).expect("nothing governs any more");
    school.session("teacher_wang").batch_execute(SIXTY).expect("a new session commits");
    school.restart();
    school.session("teacher_wang").batch_execute(SIXTY).expect("the restarted server commits");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_extension WHERE extname = 'pg_steward'"), 0);
    school.connect("postgres", "postgres").batch_execute("CREATE ROLE guest").expect("other databases too");
}

/// Sessions that outlive the extension must not refer to what its chain defined.
fn a_new_ledger_reads_what_was_recorded_before_it_began() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    for _ in 0..4 {
        superuser.batch_execute("GRANT SELECT ON app.student TO clerk_zhao").expect("grant");
        school.flush_audit();
    }
    superuser.batch_execute("DROP EXTENSION pg_steward CASCADE; CREATE EXTENSION pg_steward").expect("anew");
    superuser.batch_execute("GRANT SELECT ON app.student TO clerk_zhao; CREATE ROLE late").expect("recorded");
    superuser.batch_execute("SELECT steward.protect('app.student')").expect("protect");
    assert_eq!(school.records("operation_type = 'CREATE ROLE' AND statement LIKE '%late%'"), 1);
    assert_eq!(school.records("operation_type = 'UNREADABLE'"), 0);
}

fn the_extension_needs_preloading() {
    let plain = Cluster::new(&[]);
    let created = plain.connect("postgres", "postgres").batch_execute("CREATE EXTENSION pg_steward");
    expect_error(created, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "shared_preload_libraries");
}
