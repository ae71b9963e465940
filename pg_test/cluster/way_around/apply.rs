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
    a_post_applied_by_logical_replication,
    a_truncate_of_our_tables_applied_by_logical_replication,
    row_images_of_what_is_applied_are_our_own,
}

const TABLES: &str = "CREATE SCHEMA app;
    CREATE TABLE app.guardian (id int PRIMARY KEY, student_id int NOT NULL, name text NOT NULL)";

/// What a publisher would like to write here, beside the guardians.
const POST: &str = "CREATE SCHEMA steward; CREATE TABLE steward.post (name text PRIMARY KEY, capabilities text[]);
    CREATE TABLE steward.row_image (id bigint PRIMARY KEY, login text, relation oid, table_name text, command text, keys int,
        columns text[], new_values text[]);
    ALTER PUBLICATION theirs ADD TABLE steward.post, steward.row_image";

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

/// A publisher that was let in for its guardians makes itself a post with every capability.
fn a_post_applied_by_logical_replication() {
    let publisher = publisher(0);
    publish(&publisher, POST);
    let school = subscriber(&publisher, false);
    publish(&publisher, "INSERT INTO steward.post VALUES ('god', '{apply,approve,witness,configure}')");
    recorded(
        &school,
        "operation_type = 'APPLY' AND table_name = 'steward.post' AND result = 'DENIED' AND rule = 'audit'",
    );
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.post WHERE name = 'god'"), 0);
}

fn a_truncate_of_our_tables_applied_by_logical_replication() {
    let publisher = publisher(0);
    publish(&publisher, POST);
    let school = subscriber(&publisher, false);
    publish(&publisher, "TRUNCATE steward.row_image");
    recorded(&school, "operation_type = 'APPLY' AND table_name = 'steward.row_image' AND result = 'DENIED'");
}

fn row_images_of_what_is_applied_are_our_own() {
    let publisher = publisher(0);
    publish(&publisher, POST);
    let school = subscriber(&publisher, false);
    school.operate("postgres", "SELECT steward.protect('app.guardian', row_images => true)");
    publish(&publisher, "INSERT INTO app.guardian SELECT n, 1, 'theirs' FROM generate_series(2001, 2005) n");
    recorded(&school, "operation_type = 'APPLY' AND table_name = 'app.guardian' AND rows = 5 AND result = 'SUCCESS'");
    let images = "SELECT count(*) FROM steward.row_image WHERE table_name = 'app.guardian'";
    assert_eq!(school.ask::<i64>(images), 5);
    let forged = "BEGIN; INSERT INTO app.guardian VALUES (2006, 1, 'theirs');
        INSERT INTO steward.row_image VALUES (900001, 'postgres', 1, 'app.guardian', 'INSERT', 1, '{id}', '{1}'); COMMIT";
    publish(&publisher, forged);
    recorded(&school, "operation_type = 'APPLY' AND table_name = 'steward.row_image' AND result = 'DENIED'");
    assert_eq!((theirs(&school), school.ask::<i64>(images)), (5, 5));
}
