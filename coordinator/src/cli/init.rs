//! `init`: keys, permissions and certificates for an installation.

use std::path::{Path, PathBuf};

use a3s_shared::broker::Names;
use a3s_shared::protocol::{SessionLane, is_reserved_pool, validate_token};
use clap::Args;
use clap::builder::BoolishValueParser;

use super::app::Globals;
use super::failure::{DONE, Failure};
use super::output::Output;
use crate::keys::files::{self, FilesError};
use crate::keys::plan::{Wishes, leaf_listen};

/// Write keys, permissions and certificates for an installation
///
/// Makes a directory with the server's nats.conf, in which each key may do what its role needs and
/// nothing else, the keys (readable by their owner alone), for each role a file of environment
/// variables, and with --tls an authority and certificates. Starts nothing and overwrites nothing.
/// docs/security.md says what each role may do.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator init /etc/a3s --tls --host hub.example.org --listen 0.0.0.0:4222
  a3s-coordinator init ./keys --session abc123 --lanes query,execute
  a3s-coordinator init ./keys --region eu --region ap --host hub.example.org")]
pub(crate) struct Init {
    /// The directory to write into
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Encrypt all connections, and ask both sides for a certificate
    #[arg(long, env = "A3S_INIT_TLS", value_parser = BoolishValueParser::new())]
    tls: bool,
    /// A region behind a server of its own, with a pool of this name; may be repeated
    #[arg(
        long = "region",
        value_name = "NAME",
        env = "A3S_INIT_REGIONS",
        value_delimiter = ','
    )]
    regions: Vec<String>,
    /// A session with a coordinator and workers of its own; may be repeated
    #[arg(
        long = "session",
        value_name = "ID",
        env = "A3S_INIT_SESSIONS",
        value_delimiter = ','
    )]
    sessions: Vec<String>,
    /// A pool with workers; may be repeated [default: default]
    #[arg(
        long = "pool",
        value_name = "NAME",
        env = "A3S_INIT_POOLS",
        value_delimiter = ','
    )]
    pools: Vec<String>,
    /// A key for each of these lanes instead of one for all
    #[arg(
        long,
        value_name = "LANE,…",
        env = "A3S_INIT_LANES",
        value_delimiter = ','
    )]
    lanes: Vec<SessionLane>,
    /// A name or address of the server beside localhost; the first one is where others look for it
    #[arg(
        long = "host",
        value_name = "HOST",
        env = "A3S_INIT_HOSTS",
        value_delimiter = ','
    )]
    hosts: Vec<String>,
    /// Where the server listens
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "A3S_INIT_LISTEN",
        default_value = "127.0.0.1:4222"
    )]
    listen: String,
    /// Where the server listens for those of regions [default: 0.0.0.0:7422]
    #[arg(long, value_name = "HOST:PORT", env = "A3S_INIT_LEAF_LISTEN")]
    leaf_listen: Option<String>,
}

impl Init {
    /// Writes the files and says what to do with them.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let wishes = self.wishes(&globals.connect.prefix)?;
        let dir = std::path::absolute(&self.dir).map_err(|error| {
            Failure::usage(format!("cannot use {}: {error}", self.dir.display()))
        })?;
        let files = wishes
            .files(&dir)
            .map_err(|error| Failure::usage(error.to_string()))?;
        files::write(&dir, &files).map_err(|error| match &error {
            FilesError::Exists(_) => Failure::usage(error.to_string()),
            FilesError::Io { path, source } => Failure::output(&path.display().to_string(), source),
        })?;
        let mut output = Output::new();
        for file in &files {
            let path = dir.join(&file.path);
            let mark = if file.secret { "  (secret)" } else { "" };
            output.line(&format!("{}{mark}", path.display())).await?;
        }
        eprint!("{}", next(&dir, &wishes));
        Ok(DONE)
    }

    fn wishes(&self, prefix: &str) -> Result<Wishes, Failure> {
        let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
        for (what, tokens) in [
            ("session id", &self.sessions),
            ("pool", &self.pools),
            ("region", &self.regions),
        ] {
            for token in tokens {
                validate_token(what, token).map_err(|error| usage(&error))?;
                if what != "session id" && is_reserved_pool(token) {
                    let text = format!(
                        "invalid {what} {token:?}: the word has a meaning of its own; choose another name"
                    );
                    return Err(Failure::usage(text));
                }
            }
        }
        Ok(Wishes {
            names: Names::new(prefix).map_err(|error| usage(&error))?,
            pools: self.pools.clone(),
            sessions: self.sessions.clone(),
            regions: self.regions.clone(),
            lanes: self.lanes.clone(),
            tls: self.tls,
            hosts: self.hosts.clone(),
            listen: self.listen.clone(),
            leaf_listen: self.leaf_listen.clone().unwrap_or_else(leaf_listen),
        })
    }
}

/// What to do with the files.
fn next(dir: &Path, wishes: &Wishes) -> String {
    let dir = dir.display();
    let roles = wishes.roles();
    let worker = roles.iter().find(|role| role.name().starts_with("worker"));
    let worker = worker.map_or_else(String::new, |role| role.name());
    let tls = match wishes.tls {
        true => format!(
            " --tlsca {dir}/tls/ca.pem --tlscert {dir}/tls/observer.pem --tlskey {dir}/tls/observer.key"
        ),
        false => String::new(),
    };
    let regions: String = wishes
        .regions
        .iter()
        .map(|region| {
            format!("in region {region}:       nats-server --config leaf-{region}.conf\n")
        })
        .collect();
    format!(
        "\nstart the server:  cd {dir} && nats-server --config nats.conf\n\
         create what is missing, once, and keep the janitor up:\n\
         \x20                  (set -a; . {dir}/coordinator.env; a3s-coordinator serve)\n\
         start a worker:    (set -a; . {dir}/{worker}.env; a3s-worker)\n{regions}\
         watch:             nats --nkey {dir}/keys/observer.nk --inbox-prefix _INBOX_observer{tls} stream ls\n\
         check it all:      (set -a; . {dir}/coordinator.env; a3s-coordinator doctor)\n"
    )
}
