//! An existing application stays as it is: an ORM (SQLAlchemy over psycopg2) behind a pool in transaction mode
//! (PgBouncer), whose login is a person of the post service; or one that logs in as its user, who sees masks and the rows
//! of the own school. The application is `pg_test/application/shop.py`.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::Client;

use crate::cluster::{Cluster, succeed};
use crate::school::{HOME, ask};
use crate::traffic::{chain_verifies, platform_with, records};

tests! {
    an_orm_behind_a_pool_works_unchanged_and_is_on_record,
    what_an_application_may_not_do_is_refused_and_its_pool_goes_on,
    an_orm_shows_masks_and_own_rows_and_writes_back_no_mask,
}

const PGBOUNCER: &str = "/usr/sbin/pgbouncer";
/// The one that sees the packages of the system.
const PYTHON: &str = "/usr/bin/python3";
/// Far below what an application waits for its next user.
const TERMS: &str = "SELECT steward.set_tier_policy('normal', idle_timeout => '1 s');
    SELECT steward.set_tier_policy('important', idle_timeout => '1 s')";

/// The platform behind a pool that has one connection for everybody.
struct Pooled {
    superuser: Client,
    port: u16,
    pool: Child,
    cluster: Cluster,
}

impl Pooled {
    /// With a further policy.
    fn with(policy: &str) -> Pooled {
        let (cluster, superuser) = platform_with(policy);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let users = cluster.private_file("users", "\"app_service\" \"\"\n");
        let (socket, log) = (cluster.file(""), cluster.file("pgbouncer.log"));
        let settings = format!(
            "[databases]\n{HOME} = host={} port=5432\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 1\n\
             logfile = {}\n",
            socket.display(),
            users.display(),
            log.display()
        );
        let settings = cluster.private_file("pgbouncer.ini", &settings);
        let mut pgbouncer = cluster.server_program(PGBOUNCER);
        let pool = pgbouncer.arg("--quiet").arg(settings).spawn().expect("pgbouncer");
        let pooled = Pooled { superuser, port, pool, cluster };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not answer");
            sleep(Duration::from_millis(50));
        }
        pooled
    }

    #[track_caller]
    fn plays(&self, scene: &str) -> serde_json::Value {
        plays(&format!("postgresql+psycopg2://app_service@127.0.0.1:{}/{HOME}", self.port), scene)
    }
}

/// Runs a scene of the application over a connection; what it saw, as JSON.
#[track_caller]
fn plays(url: &str, scene: &str) -> serde_json::Value {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells where the crate is");
    let mut python = Command::new(PYTHON);
    python.arg(PathBuf::from(root).join("pg_test/application/shop.py")).args([url, scene]);
    serde_json::from_str(&succeed(python)).expect("a line of JSON")
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.kill().ok();
        self.pool.wait().ok();
    }
}

fn an_orm_behind_a_pool_works_unchanged_and_is_on_record() {
    let mut pooled = Pooled::with(TERMS);
    let page = pooled.plays("read");
    assert!(page["students"] == 20 && page["school"] == true, "{page}");
    assert!(page["guardians"].as_i64() > Some(0) && page["cards"].as_i64() > Some(0), "{page}");
    // Nobody is there for longer than a person's term; the connection is the same.
    sleep(Duration::from_millis(1_500));
    let work = pooled.plays("work");
    assert!(work["purchases"] == 10 && work["enrolled"] == true && work["guardian"] == true, "{work}");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app_service'";
    assert_eq!(ask::<i64>(&mut pooled.superuser, sessions), 1, "one connection serves every client");
    // Who reads the trail is a person, and was idle for too long.
    pooled.superuser = pooled.cluster.connect("postgres", HOME);
    assert_eq!(records(&mut pooled.superuser, "result <> 'SUCCESS' AND user_id = 'app_service'"), 0);
    for (operation, table) in [
        ("SELECT", "app.student"),
        ("UPDATE", "app.card"),
        ("INSERT", "app.card_transaction"),
        ("INSERT", "app.student"),
        ("INSERT", "app.guardian"),
    ] {
        let recorded = format!(
            "operation_type = '{operation}' AND '{table}' = ANY (relations) AND user_id = 'app_service'
                AND person = 'E卡通应用服务' AND client_ip IS NULL"
        );
        assert!(records(&mut pooled.superuser, &recorded) > 0, "{operation} {table}");
    }
    // Enrolments are important: one review for the hour, not one for each.
    assert_eq!(ask::<i64>(&mut pooled.superuser, "SELECT count(*) FROM steward.operation WHERE rule = 'enrolment'"), 1);
    chain_verifies(&mut pooled.superuser);
}

fn what_an_application_may_not_do_is_refused_and_its_pool_goes_on() {
    let mut pooled = Pooled::with("");
    let bulk = pooled.plays("bulk");
    assert!(bulk["sqlstate"] == "42501" && bulk["alive"] == true, "{bulk}");
    assert!(
        bulk["message"].as_str().is_some_and(|message| message.starts_with("critical statement refused")),
        "{bulk}"
    );
    let changed = "SELECT count(*) FROM app.student WHERE phone = '13800000000'";
    assert_eq!(ask::<i64>(&mut pooled.superuser, changed), 0);
    let emergency = pooled.plays("break_glass");
    assert!(emergency["sqlstate"] == "42501" && emergency["alive"] == true, "{emergency}");
    let armed = pooled.plays("arm");
    assert!(armed["sqlstate"] == "42501" && armed["alive"] == true, "{armed}");
    assert_eq!(pooled.plays("read")["students"], 20, "the pool goes on");
    let denied = "result = 'DENIED' AND user_id = 'app_service' AND person = 'E卡通应用服务'";
    assert_eq!(records(&mut pooled.superuser, denied), 3);
    chain_verifies(&mut pooled.superuser);
}

/// A teacher of school 1, for whom everything that finds a child is masked, with the floor of privileges beneath.
const MASKS: &str = "SELECT steward.set_mask('ecard_teacher', class) FROM unnest('{name,id_card,phone,address,guardian_contact}'::text[]) class;
    SELECT steward.set_mask('ecard_teacher', 'birth_date', 'generalize');
    SELECT count(*) FROM steward.apply();";

fn an_orm_shows_masks_and_own_rows_and_writes_back_no_mask() {
    let (cluster, mut superuser) = platform_with(&format!("{}{MASKS}", crate::scope::posts::scopes()));
    let kept = "SELECT string_agg(concat_ws(' ', student_id, name, phone, id_card, address, birth_date), '; ' ORDER BY student_id)
        FROM app.student WHERE student_id BETWEEN 20 AND 22";
    let before: String = ask(&mut superuser, kept);
    let socket = cluster.file("");
    let url = format!("postgresql+psycopg2://teacher_wang@/{HOME}?host={}&port=5432", socket.display());
    let seen = plays(&url, "desk");
    // The own school, once each, with everything that belongs to it.
    assert_eq!((&seen["students"], &seen["distinct"], &seen["counted"]), (&512.into(), &512.into(), &512.into()));
    assert_eq!((&seen["schools"], &seen["cards"]), (&serde_json::json!([1]), &520.into()));
    assert_eq!(seen["elsewhere"], true);
    // Nothing but masks, whichever way it was asked.
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().trim_end().to_owned();
    for row in seen["values"].as_array().expect("pupils") {
        assert!(text(&row[0]).ends_with("**") && text(&row[1]).ends_with("****"), "{row}");
        assert!(text(&row[2]).contains("****") && text(&row[3]).ends_with("****"), "{row}");
        assert!(text(&row[4]).ends_with("-09-01"), "{row}");
    }
    for row in ["guardians", "pairs"].iter().flat_map(|list| seen[list].as_array().expect("rows")) {
        assert!(text(&row[0]).ends_with("**") && text(&row[1]).contains("****"), "{row}");
    }
    assert!(text(&seen["prepared"][0]).ends_with("**") && text(&seen["prepared"][1]).contains("****"), "{seen}");
    assert_eq!(seen["returned"], serde_json::json!(["177****0418", "2015-09-01"]));
    assert_eq!(seen["changed"], "177****0420");
    // What was loaded and written back is what it was; what was changed is changed.
    assert_eq!(ask::<String>(&mut superuser, kept), before);
    let moved = "SELECT count(*) FROM app.student WHERE student_id BETWEEN 20 AND 22 AND class_no = 9";
    assert_eq!(ask::<i64>(&mut superuser, moved), 3);
    let enrolled =
        "SELECT count(*) FROM app.student JOIN app.guardian USING (student_id) WHERE student.phone = '17712620420'
        AND guardian.phone = '17712620419'";
    assert_eq!(ask::<i64>(&mut superuser, enrolled), 1);
}
