//! A throw-away PostgreSQL cluster on a unix socket: make, start, stop, crash, connect.
//!
//! PostgreSQL refuses to run as root; its programs run as the user `postgres` then. The postmaster
//! is a child of the test, and only processes of this cluster are ever signalled.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use crate::clock::Clock;
use crate::small_disk::SmallDisk;

/// How long a server may take to answer, to stop, or to leave its shared memory after a crash.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of the log that are shown when a test fails.
const LOG_TAIL_LINES: usize = 40;

/// What the server's programs must not inherit: other servers' addresses, and backtraces, which
/// would change the DETAIL of errors.
const FOREIGN_VARIABLES: [&str; 8] =
    ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGDATA", "RUST_BACKTRACE", "RUST_LOG"];

/// A cluster with its data directory, socket and log; stopped and deleted when dropped.
pub struct Cluster {
    dir: PathBuf,
    postmaster: Option<Child>,
    small_disk: Option<SmallDisk>,
    /// The server's, if it is not the machine's; standbys have the same.
    clock: Option<Arc<Clock>>,
}

impl Cluster {
    /// Makes a cluster with these lines in postgresql.conf and starts it.
    pub fn new(settings: &[&str]) -> Cluster {
        Cluster::started(new_dir(), template(), settings, None)
    }

    /// The same with an empty database `school` from the first start on: a sequencer that finds none waits for seconds.
    pub fn with_home(settings: &[&str]) -> Cluster {
        Cluster::started(new_dir(), template_with_home(), settings, None)
    }

    /// That at another moment, in seconds since 1970.
    pub fn at(moment: i64, settings: &[&str]) -> (Cluster, Arc<Clock>) {
        let dir = new_dir();
        let clock = Arc::new(Clock::at(moment, &dir));
        (Cluster::started(dir, template_with_home(), settings, Some(clock.clone())), clock)
    }

    fn started(dir: PathBuf, template: &Path, settings: &[&str], clock: Option<Arc<Clock>>) -> Cluster {
        let copied = Command::new("cp").arg("-a").arg(template).arg(dir.join("data")).status();
        assert!(copied.expect("cp").success(), "cannot copy the template cluster");
        let mut cluster = Cluster { dir, postmaster: None, small_disk: None, clock };
        cluster.configure(&[
            "listen_addresses = ''",
            &format!("unix_socket_directories = '{}'", cluster.dir.display()),
            "shared_buffers = '16MB'",
            // The machine does not fail during a test, only the server does.
            "fsync = off",
        ]);
        cluster.configure(settings);
        cluster.start();
        cluster
    }

    /// Appends lines to postgresql.conf; what comes later wins.
    pub fn configure(&self, settings: &[&str]) {
        let path = self.data().join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(path).expect("postgresql.conf");
        writeln!(file, "{}", settings.join("\n")).expect("postgresql.conf");
    }

    /// Starts the server and waits until it accepts connections. After a crash, processes of the
    /// old server may hold its shared memory for a moment; the start is repeated until they left.
    pub fn start(&mut self) {
        assert!(self.postmaster.is_none(), "the server runs already");
        let deadline = Instant::now() + PATIENCE;
        while !self.try_start(deadline) {
            assert!(Instant::now() < deadline, "the server does not start\n{}", self.log_tail());
            sleep(Duration::from_millis(200));
        }
    }

    /// One attempt to start: false if the postmaster ended instead of getting ready.
    fn try_start(&mut self, deadline: Instant) -> bool {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("log");
        let mut command = server_program("postgres", &self.dir);
        command.arg("-D").arg(self.data());
        command.stdout(log.try_clone().expect("log")).stderr(log);
        if let Some(clock) = &self.clock {
            clock.give_to(&mut command);
        }
        let mut child = command.spawn().expect("postgres");
        loop {
            if child.try_wait().expect("postgres").is_some() {
                return false;
            }
            if self.is_ready(child.id()) {
                self.postmaster = Some(child);
                return true;
            }
            assert!(Instant::now() < deadline, "the server is not ready\n{}", self.log_tail());
            sleep(Duration::from_millis(10));
        }
    }

    /// Whether the pid file is this postmaster's and says that connections are accepted.
    fn is_ready(&self, pid: u32) -> bool {
        let content = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = content.lines();
        lines.next() == Some(&pid.to_string()) && lines.any(|line| ["ready", "standby"].contains(&line.trim_end()))
    }

    /// Stops the server in order; sessions are ended.
    pub fn stop(&mut self) {
        let mut postmaster = self.postmaster.take().expect("the server does not run");
        let stopped = self.pg_ctl(&["stop", "--mode=fast", "--silent", "--wait"]).status();
        assert!(stopped.expect("pg_ctl").success(), "the server does not stop\n{}", self.log_tail());
        postmaster.wait().expect("postgres");
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Asks the running server to read postgresql.conf again.
    pub fn reload(&self) {
        succeed(self.pg_ctl(&["reload"]));
    }

    /// SIGKILL to the postmaster: nothing is written, nothing is cleaned up.
    pub fn kill_9_postmaster(&mut self) {
        let mut postmaster = self.postmaster.take().expect("the server does not run");
        postmaster.kill().expect("kill");
        postmaster.wait().expect("postgres");
    }

    /// Immediate shutdown (SIGQUIT): every process ends at once, nothing is cleaned up.
    pub fn stop_immediately(&mut self) {
        let mut postmaster = self.postmaster.take().expect("the server does not run");
        succeed(self.pg_ctl(&["stop", "--mode=immediate", "--silent", "--wait"]));
        postmaster.wait().expect("postgres");
    }

    /// Whether the postmaster lives; after a PANIC it may have given up.
    pub fn is_running(&mut self) -> bool {
        let ended = |postmaster: &mut Child| postmaster.try_wait().expect("postgres").is_some();
        self.postmaster.take_if(ended);
        self.postmaster.is_some()
    }

    /// Moves a directory of the stopped cluster to a disk of its own.
    pub fn put_on_small_disk(&mut self, directory: &str, megabytes: u32) {
        assert!(self.postmaster.is_none() && self.small_disk.is_none(), "once, while the server is stopped");
        let mount_point = self.dir.join("disk");
        self.small_disk = Some(SmallDisk::under(&self.dir.join(directory), mount_point, megabytes));
    }

    #[track_caller]
    pub fn small_disk(&self) -> &SmallDisk {
        self.small_disk.as_ref().expect("a small disk")
    }

    /// A signal, by its name, to one process of this server. For those that pg_ctl does not know (STOP, CONT).
    pub fn signal(&self, signal: &str, pid: i32) {
        let mut kill = Command::new("kill");
        kill.args(["-s", signal, &pid.to_string()]);
        succeed(kill);
    }

    /// SIGKILL to one process of this server, by its id.
    pub fn kill_9(&self, pid: i32) {
        let mut kill = server_program("pg_ctl", &self.dir);
        kill.args(["kill", "KILL", &pid.to_string()]);
        succeed(kill);
    }

    /// What logins are judged by is written within a second: until then this one has no licence to replicate.
    pub fn await_licence(&self, login: &str) {
        let file = self.data().join("pg_steward/logins");
        let deadline = Instant::now() + Duration::from_secs(5);
        let (whose, licence) = (format!("\"login\" : \"{login}\""), "\"replication\" : true");
        let licensed = || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            text.split('}').any(|row| row.contains(&whose) && row.contains(licence))
        };
        while file.exists() && !licensed() && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
    }

    /// A base backup of this running server in a directory of its own, with these further lines in postgresql.conf; not
    /// started. It is the restored server of a crash, or a standby after `follow`.
    pub fn base_backup(&self, settings: &[&str]) -> Cluster {
        let dir = new_dir();
        self.await_licence("postgres");
        let mut backup = server_program("pg_basebackup", &dir);
        backup.args(["--checkpoint=fast", "--no-sync", "--username=postgres", "--port=5432", "--host"]).arg(&self.dir);
        backup.arg("--pgdata").arg(dir.join("data"));
        succeed(backup);
        let copy = Cluster { dir, postmaster: None, small_disk: None, clock: self.clock.clone() };
        copy.configure(&[&format!("unix_socket_directories = '{}'", copy.dir.display())]);
        copy.configure(settings);
        copy
    }

    /// An empty cluster with a system identifier of its own (all others are copies of one), with these lines in
    /// postgresql.conf; not started.
    pub fn empty(settings: &[&str]) -> Cluster {
        let dir = new_dir();
        initdb(&dir);
        let cluster = Cluster { dir, postmaster: None, small_disk: None, clock: None };
        cluster.configure(&[&format!("unix_socket_directories = '{}'", cluster.dir.display()), "fsync = off"]);
        cluster.configure(settings);
        cluster
    }

    /// A running hot standby of this server, with these further lines in postgresql.conf.
    pub fn standby(&self, settings: &[&str]) -> Cluster {
        let mut standby = self.base_backup(settings);
        standby.follow(self);
        standby.start();
        standby
    }

    /// Makes the stopped server a standby of this one.
    pub fn follow(&self, primary: &Cluster) {
        let source = primary.dir.display();
        self.configure(&[&format!(
            "primary_conninfo = 'host={source} port=5432 user=postgres application_name=standby'"
        )]);
        self.data_file("standby.signal", "");
    }

    /// Ends recovery: the standby becomes a primary on a timeline of its own.
    pub fn promote(&self) {
        succeed(self.pg_ctl(&["promote", "--wait", "--silent"]));
    }

    /// Makes the stopped server a copy of this one's history (pg_rewind), which must be shut down. Over a connection
    /// pg_rewind would read the files of the source by SQL functions, and the policy refuses those.
    pub fn rewind(&self, source: &Cluster) {
        let mut rewind = server_program("pg_rewind", &self.dir);
        rewind.arg("--target-pgdata").arg(self.data()).arg("--source-pgdata").arg(source.data()).arg("--no-sync");
        succeed(rewind);
        self.configure(&[&format!("unix_socket_directories = '{}'", self.dir.display())]);
    }

    /// Writes a file of the data directory as the server's user.
    pub fn data_file(&self, name: &str, content: &str) {
        server_file(&self.data().join(name), content);
    }

    /// A file beside the data directory that only the server's user can read.
    pub fn private_file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.file(name);
        server_file(&path, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
        path
    }

    /// A program of the server, run as its user.
    pub fn server_program(&self, name: &str) -> Command {
        server_program(name, &self.dir)
    }

    /// A session of this login.
    #[track_caller]
    pub fn connect(&self, user: &str, database: &str) -> Client {
        match self.config(user, database).connect(NoTls) {
            Ok(client) => client,
            Err(error) => panic!("{user} cannot connect to {database}: {error:?}"),
        }
    }

    /// How to connect as this login, for sessions with options of their own.
    pub fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.dir).port(5432).user(user).dbname(database);
        config.application_name("cluster test");
        config
    }

    /// psql, pg_dump or pgbench on this cluster, as the superuser unless told otherwise. They run
    /// as ourselves, so that they can read the files of a checkout that nobody else may enter.
    pub fn client_program(&self, name: &str) -> Command {
        let mut command = program(name);
        command.env("PGHOST", &self.dir).env("PGPORT", "5432").env("PGUSER", "postgres");
        command
    }

    /// Runs a script file in psql and returns what psql printed; panics at the first error.
    #[track_caller]
    pub fn psql_file(&self, user: &str, database: &str, file: &Path) -> String {
        let mut psql = self.client_program("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", database, "-f"]).arg(file);
        succeed(psql)
    }

    /// A file name inside the cluster's own directory, for dumps and scripts.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = server_program("pg_ctl", &self.dir);
        command.args(arguments).arg("-D").arg(self.data());
        command
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The server's log, whole.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- log of {}:\n{}\n--", self.dir.display(), self.log_tail());
        }
        if let Some(mut postmaster) = self.postmaster.take() {
            let mut stop = self.pg_ctl(&["stop", "--mode=immediate", "--silent", "--wait"]);
            if !stop.status().is_ok_and(|status| status.success()) {
                postmaster.kill().ok();
            }
            postmaster.wait().ok();
        }
        drop(self.small_disk.take());
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// An empty cluster as initdb leaves it, made once per run: copying it takes a tenth of the time.
fn template() -> &'static Path {
    TEMPLATE.get_or_init(|| {
        let dir = new_dir();
        initdb(&dir);
        dir.join("data")
    })
}

/// The same with an empty database `school`, made without a server.
fn template_with_home() -> &'static Path {
    TEMPLATE_WITH_HOME.get_or_init(|| {
        let dir = new_dir();
        let data = dir.join("data");
        let copied = Command::new("cp").arg("-a").arg(template()).arg(&data).status();
        assert!(copied.expect("cp").success(), "cannot copy the template cluster");
        let mut single = server_program("postgres", &dir);
        single.args(["--single", "-F", "-D"]).arg(&data).arg("postgres").stdin(Stdio::piped()).stdout(Stdio::null());
        let mut single = single.spawn().expect("postgres --single");
        single.stdin.take().expect("its input").write_all(b"CREATE DATABASE school\n").expect("its input");
        assert!(single.wait().expect("postgres --single").success(), "cannot create the database");
        data
    })
}

fn initdb(dir: &Path) {
    let mut initdb = server_program("initdb", dir);
    initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]);
    initdb.args(["--no-sync", "-D"]).arg(dir.join("data"));
    succeed(initdb);
}

static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
static TEMPLATE_WITH_HOME: OnceLock<PathBuf> = OnceLock::new();

/// Deletes the templates; statics are not dropped.
pub fn remove_templates() {
    for template in [&TEMPLATE, &TEMPLATE_WITH_HOME] {
        if let Some(dir) = template.get().and_then(|data| data.parent()) {
            fs::remove_dir_all(dir).expect("template cluster");
        }
    }
}

/// A new directory of the server's user, with a path short enough for a socket inside.
fn new_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("pgs-{}-{number}", std::process::id()));
    fs::create_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("permissions");
    if let Some((uid, gid)) = server_ids() {
        chown(&dir, Some(uid), Some(gid)).expect("owner");
    }
    dir
}

fn server_file(path: &Path, content: &str) {
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if let Some((uid, gid)) = server_ids() {
        chown(path, Some(uid), Some(gid)).expect("owner");
    }
}

/// Runs a program to its end; what it printed. Panics if it fails.
#[track_caller]
pub fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stderr}{stdout}");
    stdout.into_owned()
}

/// A PostgreSQL program of the version under test, in a clean environment.
fn program(name: &str) -> Command {
    let mut command = Command::new(bin_dir().join(name));
    for variable in FOREIGN_VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// The same as the user of the server, from a directory that this user can enter.
fn server_program(name: &str, dir: &Path) -> Command {
    let mut command = program(name);
    command.current_dir(dir);
    if let Some((uid, gid)) = server_ids() {
        command.uid(uid).gid(gid);
    }
    command
}

/// User and group `postgres` if we are root; None if the programs run as ourselves.
fn server_ids() -> Option<(u32, u32)> {
    static IDS: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    let id = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().expect("id");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().unwrap_or_else(|_| panic!("id {arguments:?}: {text}"))
    };
    *IDS.get_or_init(|| (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"]))))
}

/// Where the programs of the PostgreSQL under test are.
fn bin_dir() -> &'static Path {
    static BIN_DIR: OnceLock<PathBuf> = OnceLock::new();
    BIN_DIR.get_or_init(|| installed("--bindir"))
}

/// Where the libraries of the PostgreSQL under test are.
pub fn library_dir() -> PathBuf {
    installed("--pkglibdir")
}

/// Where the scripts of its extensions are.
pub fn extension_dir() -> PathBuf {
    installed("--sharedir").join("extension")
}

fn installed(what: &str) -> PathBuf {
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin/pg_config".to_string());
    let output = Command::new(&pg_config).arg(what).output();
    let output = output.unwrap_or_else(|e| panic!("{pg_config}: {e}"));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
