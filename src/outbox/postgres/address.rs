//! Where the database is: the URL as an operator writes it, and whether the way there is encrypted.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::model::Secret;

/// How long connecting to one host may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What was written and not acknowledged for so long breaks the connection: below the lease, so that nothing that was
/// written under one arrives after it.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// A silent connection is asked after so long whether the other side is still there.
const SILENT: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;

/// Where a PostgreSQL outbox is. Its password shows nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    config: Config,
    tls: Tls,
}

/// How the way to the server is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tls {
    /// It is not.
    No,
    /// Encrypted, the server's certificate checked: against the system's authorities, or against those of a file.
    Checked { authorities: Option<PathBuf> },
}

impl Address {
    /// Reads `postgres://user@host:port/database?sslmode=require`, as PostgreSQL's own programs do. Only `sslmode` is
    /// stricter: `require` checks the certificate too, and what could be talked out of it is refused.
    ///
    /// # Errors
    /// Says what is wrong, without a word of the password.
    pub fn parse(url: &str) -> Result<Address, String> {
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err("it does not begin with `postgres://`".to_owned());
        }
        let (url, tls) = take_tls(url)?;
        let mut config: Config = url.parse().map_err(|error| {
            // Its cause names the option, never a value.
            format!("it is no address of a database: {}", chain(&error))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("it names no host".to_owned());
        }
        config.ssl_mode(match tls {
            Tls::No => SslMode::Disable,
            Tls::Checked { .. } => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        config
            .tcp_user_timeout(UNACKNOWLEDGED)
            .keepalives_idle(SILENT)
            .keepalives_interval(ASK_EVERY)
            .keepalives_retries(ASK_TIMES)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("openim-bridge");
        }
        Ok(Address { config, tls })
    }

    /// Whether the URL itself holds a password.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// The same address with this password.
    pub fn with_password(mut self, password: &Secret) -> Address {
        self.config.password(password.expose());
        self
    }

    /// What the driver needs.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What encrypts; used only where the address asks for it.
    ///
    /// # Errors
    /// When the file of authorities cannot be read, or the system has none.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = match &self.tls {
            Tls::No => builder.with_root_certificates(RootCertStore::empty()),
            Tls::Checked { authorities: None } => builder
                .with_platform_verifier()
                .map_err(|error| format!("the system has no certificate authorities: {error}"))?,
            Tls::Checked {
                authorities: Some(file),
            } => {
                let cannot = |error: &dyn fmt::Display| {
                    format!(
                        "the certificate authorities in {} cannot be read: {error}",
                        file.display()
                    )
                };
                let mut roots = RootCertStore::empty();
                for certificate in
                    CertificateDer::pem_file_iter(file).map_err(|error| cannot(&error))?
                {
                    let certificate = certificate.map_err(|error| cannot(&error))?;
                    roots.add(certificate).map_err(|error| cannot(&error))?;
                }
                if roots.is_empty() {
                    return Err(cannot(&"there is none in it"));
                }
                builder.with_root_certificates(roots)
            }
        };
        Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
    }
}

/// Takes `sslmode` and `sslrootcert` out of the URL.
fn take_tls(url: &str) -> Result<(String, Tls), String> {
    let Some((address, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), Tls::No));
    };
    let mut encrypted = false;
    let mut authorities = None;
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "disable")) => encrypted = false,
            Some(("sslmode", "require" | "verify-ca" | "verify-full")) => encrypted = true,
            Some(("sslmode", other)) => {
                return Err(format!(
                    "`sslmode={other}` protects nothing; write `require` (encrypted, certificate checked) or `disable`"
                ));
            }
            Some(("sslrootcert", file)) => {
                authorities = Some(PathBuf::from(file.replace("%2F", "/").replace("%2f", "/")));
            }
            _ => others.push(pair),
        }
    }
    if authorities.is_some() && !encrypted {
        return Err("`sslrootcert` needs `sslmode=require`".to_owned());
    }
    let url = match others.is_empty() {
        true => address.to_owned(),
        false => format!("{address}?{}", others.join("&")),
    };
    let tls = match encrypted {
        true => Tls::Checked { authorities },
        false => Tls::No,
    };
    Ok((url, tls))
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// As it may be shown: who, where and which database.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<String> = match self.config.get_hosts() {
            [] => self
                .config
                .get_hostaddrs()
                .iter()
                .map(|address| address.to_string())
                .collect(),
            _ => hosts.collect(),
        };
        let ports = self.config.get_ports();
        for (place, host) in hosts.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            f.write_str(host)?;
            if let Some(port) = ports.get(place).or(ports.first()).filter(|p| **p != 5432) {
                write!(f, ":{port}")?;
            }
        }
        if let Some(database) = self.config.get_dbname() {
            write!(f, "/{database}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_shows_nowhere() {
        let url = "postgres://bridge:hunter2@db.example:5433/bridge?sslmode=require";
        let address = Address::parse(url).unwrap();

        assert!(address.has_password());
        assert_eq!(
            address.to_string(),
            "postgres://bridge@db.example:5433/bridge"
        );
        assert!(!format!("{address:?}").contains("hunter2"));
        for wrong in [
            "postgres://bridge:hunter2@db.example:port/bridge",
            "postgres://bridge:hunter2@db.example/bridge?sslmod=require",
            "postgres://bridge:hunter2@db.example/bridge?sslmode=hunter",
            "postgres://bridge:hunter2@/bridge",
        ] {
            let error = Address::parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_could_be_talked_out_of_encryption_is_refused() {
        let error = Address::parse("postgres://db.example/bridge?sslmode=prefer").unwrap_err();
        assert!(error.contains("`require`"), "{error}");

        let tls = |query: &str| {
            Address::parse(&format!("postgres://u@db.example/bridge{query}"))
                .unwrap()
                .tls
        };
        assert_eq!(tls(""), Tls::No);
        assert_eq!(tls("?sslmode=disable"), Tls::No);
        assert_eq!(tls("?sslmode=require"), Tls::Checked { authorities: None });
        assert_eq!(
            tls("?sslmode=verify-full&sslrootcert=/etc/db.pem&connect_timeout=2"),
            Tls::Checked {
                authorities: Some("/etc/db.pem".into())
            }
        );
    }

    #[test]
    fn a_password_from_elsewhere_is_taken() {
        let address = Address::parse("postgresql://bridge@db.example/bridge").unwrap();
        assert!(!address.has_password());
        let address = address.with_password(&Secret::new("hunter2"));
        assert_eq!(address.config.get_password(), Some(&b"hunter2"[..]));
    }

    #[test]
    fn authorities_that_are_not_there_are_named() {
        let url = "postgres://u@db.example/b?sslmode=require&sslrootcert=/nowhere/ca.pem";
        let error = Address::parse(url).unwrap().connector().err().unwrap();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }
}
