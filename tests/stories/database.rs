//! A PostgreSQL server of the tests' own, from its installed binaries (tests/install.sh installs them): one for all tests,
//! a schema for each. It ends with the tests, however they end.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use openim_bridge::outbox::postgres::Address;

/// How long the server may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    folder: tempfile::TempDir,
    durable: bool,
    /// A shell that watches over the server: when its input ends, because we do, it stops the server
    /// and removes its folder.
    watch: Option<Child>,
}

/// An empty schema in a server, for one outbox.
pub struct Schema<'s> {
    server: &'s Server,
    name: String,
}

/// The server that the tests share. It writes nothing through to the disk: that would only be slow.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::start(false))
}

impl Server {
    /// Starts a server; a `durable` one has what it has committed on disk.
    pub fn start(durable: bool) -> Server {
        let folder = tempfile::Builder::new()
            .prefix("openim-bridge-postgres-")
            .tempdir()
            .unwrap();
        // Its path may stand in the socket's, which is at most 107 bytes long.
        if let Some(user) = user() {
            chown(folder.path(), Some(user), None).unwrap();
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let mut server = Server {
            folder,
            durable,
            watch: None,
        };
        let made = server
            .program("initdb")
            .args(["--username=bridge", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "-D"])
            .arg(server.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        server.go();
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of PostgreSQL's, as a user that it accepts: it refuses to be run by root.
    fn program(&self, name: &str) -> Command {
        let program = binaries().join(name);
        let mut command = match user() {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={user}"))
                    .args(["--clear-groups", "--"])
                    .arg(program);
                command
            }
        };
        command.current_dir(self.folder.path());
        command
    }

    /// Starts the server, and waits until it answers.
    fn go(&mut self) {
        let on = if self.durable { "on" } else { "off" };
        let settings = [
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", self.folder.path().display()),
            format!("fsync={on}"),
            format!("full_page_writes={on}"),
            "max_connections=300".to_owned(),
            "shared_buffers=64MB".to_owned(),
            "log_min_messages=warning".to_owned(),
        ];
        let mut postgres = self.program("postgres");
        postgres.arg("-D").arg(self.data());
        for setting in settings {
            postgres.args(["-c", &setting]);
        }
        let mut watch = Command::new("sh");
        watch
            .args([
                "-c",
                r#""$@" & server=$!; read -r word; kill -QUIT $server 2>/dev/null; wait $server; [ "$word" = stay ] || rm -rf "$PWD""#,
                "sh",
            ])
            .arg(postgres.get_program())
            .args(postgres.get_args())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.path().join("log")).unwrap());
        self.watch = Some(watch.spawn().unwrap());
        let begun = Instant::now();
        while !self.answers() {
            assert!(
                begun.elapsed() < STARTS_WITHIN,
                "PostgreSQL does not answer: {}",
                std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        let asked = self
            .program("pg_isready")
            .args(["--quiet", "--host"])
            .arg(self.folder.path())
            .status();
        asked.is_ok_and(|status| status.success())
    }

    /// It stops, without a word to anybody and without writing anything more.
    pub fn down(&mut self) {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let leader = pid.lines().next().unwrap().to_owned();
        // SIGQUIT is PostgreSQL's own word for "as in a crash": no checkpoint, recovery at the next start.
        let killed = Command::new("kill").args(["-QUIT", &leader]).status();
        assert!(killed.unwrap().success());
        if let Some(mut watch) = self.watch.take() {
            writeln!(watch.stdin.take().unwrap(), "stay").unwrap();
            watch.wait().unwrap();
        }
    }

    /// It starts again.
    pub fn up(&mut self) {
        self.go();
    }

    /// A new schema.
    pub fn schema(&self) -> Schema<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("story_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let schema = Schema { server: self, name };
        schema
            .server
            .psql(&format!("CREATE SCHEMA {}", schema.name));
        schema
    }

    /// Runs SQL past every outbox.
    fn psql(&self, sql: &str) -> String {
        let mut asked = self
            .program("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-U", "bridge", "-d", "postgres", "-c", sql, "-h"])
            .arg(self.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        asked
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let status = asked.wait_with_output().unwrap();
        assert!(
            status.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&status.stderr)
        );
        said.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut watch) = self.watch.take() {
            drop(watch.stdin.take());
            let _ended = watch.wait();
        }
    }
}

impl Schema<'_> {
    /// Where the outbox of this schema is, as an operator writes it.
    pub fn url(&self) -> String {
        let host = self.server.folder.path().display().to_string();
        format!(
            "postgres://bridge@{}/postgres?options=-csearch_path%3D{}&application_name={}",
            host.replace('/', "%2F"),
            self.name,
            self.name
        )
    }

    /// The same, read.
    pub fn address(&self) -> Address {
        Address::parse(&self.url()).unwrap()
    }

    /// Runs SQL past the outbox, as `psql` does on an operator's command line.
    pub fn psql(&self, sql: &str) -> String {
        self.server
            .psql(&format!("SET search_path = {}; {sql}", self.name))
    }

    /// Somebody who has locked these rows and stands still, until it is dropped.
    pub fn freeze(&self, rows: &str) -> Frozen {
        let sql = format!(
            "SET search_path = {}; {rows}; SELECT pg_sleep(600)",
            self.name
        );
        let child = self
            .server
            .program("psql")
            .args([
                "-X", "-q", "-U", "bridge", "-d", "postgres", "-c", &sql, "-h",
            ])
            .arg(self.server.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let asleep = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%{}%'",
            self.name
        );
        while self.psql(&asleep) == "0" {
            std::thread::yield_now();
        }
        Frozen(child)
    }

    /// The time of all leases has passed: nothing that their owners have is theirs any more.
    pub fn end_leases(&self) {
        self.psql(
            "DO $$ BEGIN IF to_regclass('lane') IS NOT NULL THEN
                 UPDATE lane SET leased_until = '-infinity' WHERE leased_until IS NOT NULL;
             END IF; END $$",
        );
    }

    /// Whoever is connected to it is so no more, as when their machine stops.
    pub fn break_connections(&self) {
        self.psql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
            self.name
        ));
    }
}

/// Somebody who stands still in the middle of a transaction.
pub struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Where the programs are.
fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        // On Debian pg_config belongs to another package, so their usual place is looked at as well.
        let asked = Command::new("pg_config").arg("--bindir").output();
        let said = asked.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
        let installed = std::fs::read_dir("/usr/lib/postgresql");
        let mut places: Vec<PathBuf> = installed
            .into_iter()
            .flatten()
            .map(|version| version.unwrap().path().join("bin"))
            .collect();
        places.sort();
        places.extend(said.ok().map(PathBuf::from));
        let here = places.into_iter().rev().find(|place| {
            ["initdb", "postgres", "psql", "pg_isready"]
                .iter()
                .all(|name| place.join(name).exists())
        });
        here.expect("PostgreSQL's server is not installed: run tests/install.sh")
    })
}

/// The user that runs the server: another one where the tests are run by root.
fn user() -> Option<u32> {
    let me = std::fs::metadata("/proc/self").unwrap();
    let root = std::os::unix::fs::MetadataExt::uid(&me) == 0;
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")))?;
        line.split(':').nth(2)?.parse().ok()
    };
    let other = || find("postgres").or_else(|| find("nobody")).unwrap();
    root.then(other)
}
