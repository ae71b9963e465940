//! What exporters read: who may, what it says, what it costs, and the files of docs/monitoring that others build on.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::fault::{Paused, report, wait_for};
use crate::school::{HOME, School, ask};

tests! {
    who_watches_the_machine_reads_numbers_and_nothing_else,
    the_numbers_are_those_of_what_happened,
    every_query_and_panel_of_the_files_finds_its_metric,
    a_real_exporter_shows_them,
}

const QUERIES: &str = include_str!("../../docs/monitoring/queries.yaml");
const SQL_EXPORTER: &str = include_str!("../../docs/monitoring/sql_exporter.yml");
const DASHBOARD: &str = include_str!("../../docs/monitoring/grafana.json");
const EXPORTER: &str = "CREATE ROLE exporter LOGIN; GRANT pg_monitor TO exporter;
    SELECT steward.register_person('Exporter', 'service', roles => '{exporter}')";

/// A value, by name and the labels in the order of jsonb.
#[track_caller]
fn value(school: &School, name: &str, labels: &str) -> f64 {
    school.ask(&format!("SELECT value FROM steward.metrics WHERE name = '{name}' AND labels = '{labels}'"))
}

fn with_exporter() -> School {
    let school = School::inactive();
    school.superuser().batch_execute(&format!("{EXPORTER}; SELECT steward.activate()")).expect("set-up");
    school
}

fn who_watches_the_machine_reads_numbers_and_nothing_else() {
    let school = with_exporter();
    let count = "SELECT count(*) FROM steward.metrics";
    for login in ["exporter", "auditor_qian", "postgres"] {
        assert!(ask::<i64>(&mut school.session(login), count) > 60, "{login}");
    }
    for login in ["teacher_wang", "security_han", "reviewer_sun"] {
        let mut session = school.session(login);
        for query in [count, "SELECT count(*) FROM steward._metrics()"] {
            expect_error(session.query(query, &[]), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
        }
    }
    let mut exporter = school.session("exporter");
    for closed in ["steward.audit_log", "steward._alert", "steward._operation", "steward.chain", "steward._job_state"] {
        let look = exporter.query(&format!("SELECT FROM {closed} LIMIT 1"), &[]);
        expect_error(look, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    // Nothing of what people did comes out by a label, a name that somebody chose included.
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("SET application_name = 'secret_app'; SELECT FROM app.student WHERE id_card = 'ID7'")
        .expect("a read");
    school.flush_audit();
    let all: String = ask(&mut exporter, "SELECT string_agg(concat_ws(' ', name, labels), ' ') FROM steward.metrics");
    for word in ["secret", "teacher", "wang", "student", "app.", "ID7", "exporter", "postgres"] {
        assert!(!all.contains(word), "{word} in {all}");
    }
    // Where nothing can be written, they are read all the same.
    let standby = school.standby(&[]);
    let on_standby = "SELECT value FROM steward.metrics WHERE name = 'sequencer_up'";
    assert_eq!(ask::<f64>(&mut standby.connect("exporter", HOME), on_standby), 0.0);
    drop(standby);
    for change in ["CREATE OR REPLACE VIEW steward.metrics AS SELECT 1", "GRANT SELECT ON steward.metrics TO PUBLIC"] {
        expect_refused(school.superuser().batch_execute(change));
    }
}

fn the_numbers_are_those_of_what_happened() {
    let school = School::active();
    let mut wang = school.session("teacher_wang");
    for _ in 0..20 {
        wang.batch_execute("SELECT FROM app.student WHERE id = 1").expect("a read");
    }
    wang.batch_execute("SELECT pg_sleep(0.5) FROM app.student WHERE id = 1").expect("a slow read");
    expect_refused(wang.batch_execute("DELETE FROM app.student"));
    let no_such = school.config("teacher_wang", "nowhere").connect(postgres::NoTls);
    assert!(no_such.is_err(), "a login that fails");
    school.operate("postgres", "UPDATE app.student SET note = 'x' WHERE id <= 60");
    school.request("region_chen", "DELETE FROM app.student WHERE id > 60");
    school.flush_audit();
    let statement = |result: &str| {
        value(&school, "recent_records", &format!(r#"{{"result": "{result}", "subject": "statement"}}"#))
    };
    assert!(
        statement("SUCCESS") >= 22.0 && statement("DENIED") == 1.0,
        "{} {}",
        statement("SUCCESS"),
        statement("DENIED")
    );
    let rate = |subject: &str| value(&school, "success_ratio", &format!(r#"{{"subject": "{subject}"}}"#));
    assert!(rate("statement") > 0.9 && rate("statement") < 1.0, "{}", rate("statement"));
    assert!(rate("login") > 0.5 && rate("login") < 1.0, "{}", rate("login"));
    assert_eq!(rate("execution"), 1.0);
    assert!(value(&school, "abnormal_operations", "{}") >= 2.0);
    let (half, most) = (
        value(&school, "response_seconds", r#"{"quantile": "0.5"}"#),
        value(&school, "response_seconds", r#"{"quantile": "0.95"}"#),
    );
    assert!(half > 0.0 && half <= most && half < 0.4, "{half} {most}");
    let operations = |status: &str| value(&school, "operations", &format!(r#"{{"status": "{status}"}}"#));
    assert_eq!((operations("submitted"), operations("executed"), operations("closed")), (1.0, 1.0, 0.0));
    assert_eq!(value(&school, "reviews_open", "{}"), 1.0);
    let lead = value(&school, "approval_seconds", r#"{"quantile": "0.95"}"#);
    assert!(lead > 0.0 && lead < 60.0, "{lead}");
    assert_eq!((value(&school, "policy_enforced", "{}"), value(&school, "sequencer_up", "{}")), (1.0, 1.0));
    assert!(value(&school, "job_age_seconds", r#"{"job": "verify_new"}"#).is_nan(), "it never ran");
    school.superuser().execute("SELECT steward.run_job('verify_new')", &[]).expect("run");
    let age = value(&school, "job_age_seconds", r#"{"job": "verify_new"}"#);
    assert!((0.0..60.0).contains(&age) && value(&school, "verified_last_id", "{}") > 0.0, "{age}");
    let before: f64 = school.ask("SELECT sum(value) FROM steward.metrics WHERE name = 'alerts_open'");
    assert!(before >= 1.0, "the denial is an alert");
    assert_eq!(value(&school, "alerts_unacknowledged", "{}"), 0.0);
    // A sequencer that stands still shows.
    let paused = Paused::between_rounds(&school);
    std::thread::sleep(Duration::from_millis(1500));
    let lag = value(&school, "chain_lag_seconds", "{}");
    drop(paused);
    assert!(lag >= 1.4, "{lag}");
    cost(&school);
}

/// Printed: the median of what a scrape takes once the window is full.
fn cost(school: &School) {
    let mut wang = school.session("teacher_wang");
    for _ in 0..12 {
        wang.batch_execute(&"SELECT FROM app.student WHERE id = 1;".repeat(1000)).expect("reads");
    }
    school.flush_audit();
    assert_eq!(value(school, "window_records", "{}"), 10_000.0, "no more than that is read");
    let mut superuser = school.superuser();
    let mut took: Vec<Duration> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            superuser.query("SELECT * FROM steward.metrics", &[]).expect("metrics");
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    report(&format!("metrics: {} ms with a full window of 10000 records", took[4].as_millis()));
    assert!(took[4] < Duration::from_secs(2), "{took:?}");
}

/// The block scalars behind `query: |`.
fn queries(yaml: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = yaml.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = |line: &str| line.len() - line.trim_start().len();
        if line.trim_start() == "query: |" {
            let mut query = String::new();
            while let Some(next) = lines.next_if(|next| next.trim().is_empty() || indent(next) > indent(line)) {
                query += next;
                query.push('\n');
            }
            found.push(query);
        }
    }
    found
}

/// Names in `{name="…"}` of the dashboard's expressions, and labels in `{{…}}` of its legends.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after).map(|(word, _)| word)).collect()
}

fn every_query_and_panel_of_the_files_finds_its_metric() {
    let school = with_exporter();
    let mut exporter = school.session("exporter");
    let (extended, configured) = (queries(QUERIES), queries(SQL_EXPORTER));
    assert_eq!((extended.len(), configured.len()), (1, 1));
    let dense = |query: &str| query.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(dense(&extended[0]), dense(&configured[0]), "one metric, whichever exporter");
    let rows = exporter.query(&extended[0], &[]).expect("the query");
    let columns: HashSet<&str> = rows[0].columns().iter().map(|column| column.name()).collect();
    for row in &rows {
        // Two rows with the same labels would fail a whole scrape.
        assert!(row.try_get::<_, f64>("value").is_ok());
    }
    let labels = |row: &postgres::Row| {
        let texts = columns.iter().filter(|column| **column != "value").map(|column| row.get::<_, String>(column));
        texts.collect::<Vec<_>>().join("|")
    };
    assert_eq!(rows.iter().map(labels).collect::<HashSet<_>>().len(), rows.len(), "labels are distinct");
    let declared: HashSet<&str> =
        QUERIES.lines().filter_map(|line| line.strip_prefix("    - ")?.strip_suffix(':')).collect();
    assert_eq!(declared, columns, "every column is declared");
    let keys = between(SQL_EXPORTER, "key_labels: [", "]")[0].split(", ").chain(["value"]).collect::<HashSet<_>>();
    assert_eq!(keys, columns);
    let names: HashSet<String> = rows.iter().map(|row| row.get("name")).collect();
    let used = shown_on_panels(&names, &columns);
    let unused: Vec<&String> = names.difference(&used).filter(|name| !OTHERS.contains(&name.as_str())).collect();
    assert!(unused.is_empty(), "on no panel: {unused:?}");
}

/// The metrics that the dashboard's panels name, each of which must be there, as must be the labels.
fn shown_on_panels(names: &HashSet<String>, labels: &HashSet<&str>) -> HashSet<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let targets: Vec<&serde_json::Value> = dashboard["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"))
        .collect();
    let mut used = HashSet::new();
    for target in targets {
        let expression = target["expr"].as_str().expect("an expression");
        let named = between(expression, "steward_value{name=\"", "\"");
        assert!(!named.is_empty(), "{expression}");
        for name in named {
            assert!(names.contains(name), "{name} is no metric: {expression}");
            used.insert(name.to_owned());
        }
        for label in between(target["legendFormat"].as_str().unwrap_or(""), "{{", "}}") {
            assert!(labels.contains(label), "{label} is no label: {expression}");
        }
    }
    used
}

/// What no panel shows by itself.
const OTHERS: [&str; 5] = ["policy_active", "spool_files", "verified_last_id", "window_records", "window_seconds"];

/// Ended when dropped.
struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The answer of a small HTTP server.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.0 200").then_some(answer)
}

fn a_real_exporter_shows_them() {
    let school = with_exporter();
    school.session("teacher_wang").batch_execute("SELECT FROM app.student WHERE id = 1").expect("a read");
    school.flush_audit();
    std::fs::write(school.file("queries.yaml"), QUERIES).expect("queries.yaml");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let source = format!("host={} user=exporter dbname={HOME} sslmode=disable", school.file("").display());
    let mut command = Command::new("prometheus-postgres-exporter");
    command.env("DATA_SOURCE_NAME", source).arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg("--extend.query-path").arg(school.file("queries.yaml"));
    command.args(["--disable-default-metrics", "--disable-settings-metrics"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _exporter = Exporter(command.spawn().expect("prometheus-postgres-exporter: pg_test/tools installs it"));
    let shown =
        wait_for(&school, "the exporter", || get(port, "/metrics").filter(|page| page.contains("steward_value{")));
    let lines: Vec<&str> = shown.lines().filter(|line| line.starts_with("steward_value{")).collect();
    let rows: i64 = school.ask("SELECT count(*) FROM steward.metrics");
    assert_eq!(lines.len() as i64, rows, "each metric once");
    let has = |label: &str, number: &str| {
        lines.iter().any(|line| line.contains(label) && line.ends_with(&format!(" {number}")))
    };
    assert!(has("name=\"sequencer_up\"", "1") && has("name=\"policy_enforced\"", "1"), "{shown}");
    assert!(has("job_name=\"daily_check\"", "NaN") && has("level=\"major\"", "0"), "{shown}");
    assert!(shown.lines().any(|line| line == "pg_exporter_last_scrape_error 0"), "{shown}");
    // What the dashboard asks for is what a scrape returns, by the names that the exporter gives it.
    let scraped: Vec<Series> = lines.iter().map(|line| series(line)).collect();
    let names: HashSet<String> = scraped.iter().map(|one| one.labels["name"].clone()).collect();
    let labels: HashSet<&str> = scraped.iter().flat_map(|one| one.labels.keys().map(String::as_str)).collect();
    assert!(shown_on_panels(&names, &labels).len() > 20, "{names:?}");
    // And each value is the view's, as far as it does not change from look to look.
    for (name, expected) in
        [("sequencer_up", 1.0), ("policy_enforced", 1.0), ("reviews_open", 0.0), ("policy_active", 1.0)]
    {
        let found: Vec<f64> = scraped.iter().filter(|one| one.labels["name"] == name).map(|one| one.value).collect();
        assert_eq!(found, [expected], "{name}");
    }
    let last: f64 = school.ask("SELECT value FROM steward.metrics WHERE name = 'chain_last_id'");
    let shown = scraped.iter().find(|one| one.labels["name"] == "chain_last_id").expect("chain_last_id").value;
    assert!(shown > 0.0 && shown <= last, "{shown} {last}");
}

/// A line of the exposition format: `steward_value{name="x",level="major"} 1`.
struct Series {
    labels: HashMap<String, String>,
    value: f64,
}

fn series(line: &str) -> Series {
    let (labels, value) = line.strip_prefix("steward_value{").and_then(|rest| rest.split_once("} ")).expect("a series");
    let label = |label: &str| {
        let (name, value) = label.split_once('=').expect("a label");
        (name.to_owned(), value.trim_matches('"').to_owned())
    };
    Series { labels: labels.split(',').map(label).collect(), value: value.parse().expect("a number") }
}
