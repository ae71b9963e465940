//! Rows that logical replication brings: no statement, no executor; recorded by the apply worker's own transaction, or
//! refused with it.

use crate::cluster::Cluster;
use crate::fault::wait_for;
use crate::school::School;
use postgres::Client;

tests! {
    rows_applied_by_logical_replication,
    a_bulk_applied_by_logical_replication,
    a_truncate_applied_by_logical_replication,
    the_first_copy_of_a_subscription,
}

const TABLES: &str = "CREATE SCHEMA app;
    CREATE TABLE app.guardian (id int PRIMARY KEY, student_id int NOT NULL, name text NOT NULL)";

/// Somebody else's server that publishes a table of the same name.
fn publisher(rows: i32) -> Cluster {
    let publisher = Cluster::new(&["wal_level = logical", "shared_preload_libraries = ''"]);
    let mut session = publisher.connect("postgres", "postgres");
    session.batch_execute(TABLES).expect("tables");
    session
        .batch_execute(&format!(
            "INSERT INTO app.guardian SELECT n, 1, 'theirs' FROM generate_series(1001, 1000 + {rows}) n;
             CREATE PUBLICATION theirs FOR TABLE app.guardian"
        ))
        .expect("publication");
    publisher
}

/// A school that subscribed to it before its policy was active.
fn subscriber(publisher: &Cluster, copy: bool) -> School {
    let school = School::with("enforce", &["wal_retrieve_retry_interval = '200ms'"]);
    let mut superuser = school.superuser();
    let source = publisher.file("");
    superuser
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION theirs CONNECTION 'host={} user=postgres dbname=postgres' PUBLICATION theirs
                WITH (copy_data = {copy}, enabled = {}, slot_name = 'theirs')",
            source.display(),
            !copy
        ))
        .expect("subscription");
    if copy {
        // Enabled only when the policy stands.
        superuser.batch_execute("SELECT steward.activate()").expect("activate");
        school.operate("postgres", "ALTER SUBSCRIPTION theirs ENABLE");
    } else {
        superuser.batch_execute("SELECT steward.activate()").expect("activate");
    }
    school
}

fn theirs(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.guardian WHERE name = 'theirs'")
}

fn publish(publisher: &Cluster, statement: &str) {
    let mut session: Client = publisher.connect("postgres", "postgres");
    session.batch_execute(statement).expect("at the publisher");
}

/// The apply worker has recorded something like this.
fn recorded(school: &School, condition: &str) {
    wait_for(school, condition, || (school.records(condition) >= 1).then_some(()));
}

fn rows_applied_by_logical_replication() {
    let publisher = publisher(0);
    let school = subscriber(&publisher, false);
    publish(&publisher, "INSERT INTO app.guardian SELECT n, 1, 'theirs' FROM generate_series(2001, 2005) n");
    recorded(&school, "operation_type = 'APPLY' AND table_name = 'app.guardian' AND rows = 5 AND result = 'SUCCESS'");
    assert_eq!(theirs(&school), 5);
    assert_eq!(school.records("operation_type = 'APPLY' AND person = 'Wu' AND tier = 'normal'"), 1);
}

fn a_bulk_applied_by_logical_replication() {
    let publisher = publisher(0);
    let school = subscriber(&publisher, false);
    publish(&publisher, "INSERT INTO app.guardian SELECT n, 1, 'theirs' FROM generate_series(2001, 2060) n");
    recorded(
        &school,
        "operation_type = 'APPLY' AND table_name = 'app.guardian' AND result = 'DENIED'
        AND rule = 'bulk_write' AND rows = 60",
    );
    assert_eq!(theirs(&school), 0);
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn a_truncate_applied_by_logical_replication() {
    let publisher = publisher(0);
    let school = subscriber(&publisher, false);
    publish(&publisher, "TRUNCATE app.guardian");
    recorded(
        &school,
        "operation_type = 'APPLY' AND table_name = 'app.guardian' AND result = 'DENIED'
        AND rule = 'structure'",
    );
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian"), 160);
}

fn the_first_copy_of_a_subscription() {
    let publisher = publisher(60);
    let school = subscriber(&publisher, true);
    recorded(&school, "operation_type = 'APPLY' AND table_name = 'app.guardian' AND result = 'DENIED' AND rows = 60");
    assert_eq!(theirs(&school), 0);
}
