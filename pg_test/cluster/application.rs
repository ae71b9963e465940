//! An existing application stays as it is: an ORM (SQLAlchemy over psycopg2) behind a pool in transaction mode
//! (PgBouncer), whose login is a person of the post service. The application is `pg_test/application/shop.py`.

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
    _cluster: Cluster,
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
        let pooled = Pooled { superuser, port, pool, _cluster: cluster };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not answer");
            sleep(Duration::from_millis(50));
        }
        pooled
    }

    /// Runs a scene of the application; what it saw, as JSON.
    #[track_caller]
    fn plays(&self, scene: &str) -> serde_json::Value {
        let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells where the crate is");
        let mut python = Command::new(PYTHON);
        python.arg(PathBuf::from(root).join("pg_test/application/shop.py"));
        python.arg(format!("postgresql+psycopg2://app_service@127.0.0.1:{}/{HOME}", self.port)).arg(scene);
        serde_json::from_str(&succeed(python)).expect("a line of JSON")
    }
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
