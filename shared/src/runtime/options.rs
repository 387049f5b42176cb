//! What a user may say about the connection, and what it means together.
//!
//! The names of flags and variables are those of the `nats` CLI wherever it has them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::context_file::{Context, ContextError};
use super::credential::Credential;
use super::paths;

/// The first token of every subject, unless set otherwise.
pub const DEFAULT_PREFIX: &str = "a3s";

/// How long the first connect may take: long enough for DNS, TLS and a slow link, short enough
/// that somebody who waits at a terminal is told soon.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach the broker. Flags and environment on a command line; in a library start from
/// [`ConnectOptions::default`] or [`ConnectOptions::to`] and set fields.
#[derive(Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectOptions {
    /// Servers to use, separated by commas [default: one on 127.0.0.1:4222, else an embedded one]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "NATS_URL",
        value_delimiter = ','
    )]
    pub nats_url: Vec<String>,
    /// A context of the `nats` CLI, by name; other options override what it says
    #[arg(long, global = true, value_name = "NAME", env = "NATS_CONTEXT")]
    pub context: Option<String>,
    /// Credentials file (JWT and seed); goes before any other credential
    #[arg(long, global = true, value_name = "FILE", env = "NATS_CREDS")]
    pub creds: Option<PathBuf>,
    /// File with an nkey seed
    #[arg(long, global = true, value_name = "FILE", env = "NATS_NKEY")]
    pub nkey: Option<PathBuf>,
    /// User name; without a password it is a token
    #[arg(long, global = true, env = "NATS_USER")]
    pub user: Option<String>,
    /// Password; better given by the environment, where others cannot see it
    #[arg(long, global = true, env = "NATS_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Token
    #[arg(long, global = true, env = "NATS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Certificate authority to trust beside the system's
    #[arg(long, global = true, value_name = "FILE", env = "NATS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// Client certificate, with --tls-key
    #[arg(long, global = true, value_name = "FILE", env = "NATS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the client certificate
    #[arg(long, global = true, value_name = "FILE", env = "NATS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// JetStream domain, for instance of the hub behind a leaf node
    #[arg(long, global = true, value_name = "DOMAIN", env = "A3S_JS_DOMAIN")]
    pub js_domain: Option<String>,
    /// First tokens of reply subjects, where permissions ask for it
    #[arg(long, global = true, value_name = "SUBJECT", env = "A3S_INBOX_PREFIX")]
    pub inbox_prefix: Option<String>,
    /// First token of all subjects; systems with different prefixes never meet
    #[arg(long, global = true, env = "A3S_PREFIX", default_value = DEFAULT_PREFIX)]
    pub prefix: String,
    /// Use the embedded server, even where another one answers
    #[arg(
        long,
        global = true,
        env = "A3S_EMBEDDED",
        value_parser = BoolishValueParser::new(),
        conflicts_with = "no_embedded"
    )]
    pub embedded: bool,
    /// Never start or join an embedded server
    #[arg(long, global = true, env = "A3S_NO_EMBEDDED", value_parser = BoolishValueParser::new())]
    pub no_embedded: bool,
    /// Where the embedded server keeps its store [default: ~/.local/state/a3s]
    #[arg(long, global = true, value_name = "DIR", env = "A3S_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Wait for ever for the first connection instead of giving up after five seconds
    #[arg(long, global = true, env = "A3S_WAIT_FOR_SERVER", value_parser = BoolishValueParser::new())]
    pub wait_for_server: bool,
    /// How long one attempt at the first connection may take.
    #[arg(skip = DEFAULT_CONNECT_TIMEOUT)]
    pub connect_timeout: Duration,
}

/// What the options and a context mean together.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// Servers that were asked for; empty when the user left it to us.
    pub(super) urls: Vec<String>,
    pub(super) credential: Credential,
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) tls_first: bool,
    pub(super) js_domain: Option<String>,
    pub(super) inbox_prefix: Option<String>,
}

impl ConnectOptions {
    /// Options that connect to `url` (a list with commas is fine).
    #[must_use]
    pub fn to(url: impl Into<String>) -> Self {
        Self {
            nats_url: split(&url.into()),
            ..Self::default()
        }
    }

    /// With a name and a password.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self.password = Some(password.into());
        self
    }

    /// With another prefix than [`DEFAULT_PREFIX`].
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// With an embedded server whose store is below `state_dir`.
    #[must_use]
    pub fn embedded_in(state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = Some(state_dir.into());
        Self {
            embedded: true,
            state_dir,
            ..Self::default()
        }
    }

    /// Waiting for ever for the first connection.
    #[must_use]
    pub fn waiting_for_server(mut self) -> Self {
        self.wait_for_server = true;
        self
    }

    /// Where the embedded server keeps its store. `None` without a home directory.
    #[must_use]
    pub fn embedded_dir(&self) -> Option<PathBuf> {
        self.state_dir.clone().or_else(paths::state_dir)
    }

    /// Reads the context, if one is named, and lays the options over it.
    pub(super) fn settings(&self) -> Result<Settings, ContextError> {
        let context = self.context.as_deref().filter(|name| !name.is_empty());
        let context = context.map(Context::load).transpose()?.unwrap_or_default();
        let (ca, cert, key) = context.tls();
        let asked = split(&self.nats_url.join(","));
        let urls = if asked.is_empty() {
            split(&context.url)
        } else {
            asked
        };
        Ok(Settings {
            credential: self.credential().or(|| context.credential()),
            tls_ca: self.tls_ca.clone().or(ca),
            tls_cert: self.tls_cert.clone().or(cert),
            tls_key: self.tls_key.clone().or(key),
            tls_first: context.tls_first(),
            js_domain: self.js_domain.clone().or_else(|| context.js_domain()),
            inbox_prefix: self.inbox_prefix.clone().or_else(|| context.inbox_prefix()),
            urls,
        })
    }

    /// The strongest credential that was given: a file goes before a name, a name before a token.
    fn credential(&self) -> Credential {
        if let Some(creds) = &self.creds {
            Credential::CredsFile(creds.clone())
        } else if let Some(nkey) = &self.nkey {
            Credential::NkeyFile(nkey.clone())
        } else if let Some(user) = &self.user {
            Credential::from_user(user.clone(), self.password.clone())
        } else {
            self.token
                .clone()
                .map_or(Credential::None, Credential::Token)
        }
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            nats_url: Vec::new(),
            context: None,
            creds: None,
            nkey: None,
            user: None,
            password: None,
            token: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            js_domain: None,
            inbox_prefix: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            embedded: false,
            no_embedded: false,
            state_dir: None,
            wait_for_server: false,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
        }
    }
}

/// Leaves out what may be secret: passwords, tokens, and addresses, which may contain them.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("context", &self.context)
            .field("credential", &self.credential())
            .field("js_domain", &self.js_domain)
            .field("prefix", &self.prefix)
            .field("embedded", &self.embedded)
            .field("no_embedded", &self.no_embedded)
            .finish_non_exhaustive()
    }
}

fn split(urls: &str) -> Vec<String> {
    let each = urls.split(',').map(str::trim);
    each.filter(|url| !url.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        connect: ConnectOptions,
    }

    fn parse(arguments: &[&str]) -> ConnectOptions {
        let arguments = [&["cli"], arguments].concat();
        Cli::try_parse_from(arguments)
            .expect("the arguments are valid")
            .connect
    }

    #[test]
    fn a_list_of_servers_is_split_at_commas() {
        let settings = parse(&["--nats-url", "nats://a:1, nats://b:2"]).settings();
        let settings = settings.expect("no context is read");
        assert_eq!(settings.urls, ["nats://a:1", "nats://b:2"]);
    }

    #[test]
    fn a_file_goes_before_a_name() {
        let options = parse(&["--creds", "/c", "--user", "u", "--password", "p"]);
        assert_eq!(options.credential(), Credential::CredsFile("/c".into()));
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = parse(&[
            "--user",
            "ann",
            "--password",
            "s3cret",
            "--nats-url",
            "a:s3cret@h",
        ]);
        assert!(!format!("{options:?}").contains("s3cret"), "{options:?}");
    }

    #[test]
    fn embedded_and_not_embedded_contradict_each_other() {
        assert!(Cli::try_parse_from(["cli", "--embedded", "--no-embedded"]).is_err());
    }
}
