//! `mcp`: the fleet's tools for an agent that speaks the Model Context Protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use a3s_coordinator::SessionQueueConfig;
use a3s_shared::protocol::{DEFAULT_POOL, Route, Serves, Token};
use clap::Args;
use clap::builder::BoolishValueParser;
use sha2::{Digest as _, Sha256};

use super::app::{App, Globals};
use super::failure::{DONE, Failure};
use super::{duration, local_workers};
use crate::mcp::{Door, Http, Options};

/// How many calls of a lane are at the broker at a time: more than an agent makes, so that each is
/// accepted, and durable, at once. The workers' slots decide how many run.
const CALLS_AT_A_TIME: usize = 1_000;

/// Offer the fleet's tools to an agent (MCP), over standard input and output or HTTP
///
/// An agent is configured to start this program; `docs/mcp.md` shows how for the common ones. It
/// offers read, grep, glob, ls, bash, write and edit, the tools that present workers have beside
/// them, and run_many, fetch_result, result_read and cancel_task. Its session is that of the
/// workspace, so that calls whose client was lost can be fetched by the next one. Standard output
/// carries the protocol alone.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator --local-workers 2 mcp --workspace ~/src/project
  a3s-coordinator --nats-url nats://hub:4222 mcp
  a3s-coordinator mcp --http 127.0.0.1:8931")]
pub(crate) struct Mcp {
    /// Session that the calls belong to [default: one of this machine, user and workspace]
    #[arg(long, value_name = "ID", env = "A3S_SESSION", value_parser = session_id)]
    session: Option<String>,

    /// Pool whose workers run the calls [default: default; with --local-workers, only those]
    #[arg(long, value_name = "NAME", env = "A3S_POOL", conflicts_with = "own")]
    pool: Option<String>,

    /// Only workers that were started for this session (a3s-worker --session-id) run the calls
    #[arg(long, env = "A3S_OWN", value_parser = BoolishValueParser::new())]
    own: bool,

    /// Serve streamable HTTP at http://ADDRESS/mcp instead; a loopback address, or only its port
    #[arg(long, value_name = "ADDRESS", env = "A3S_MCP_HTTP", value_parser = address)]
    http: Option<SocketAddr>,

    /// With --http: answer only clients that send `Authorization: Bearer TOKEN`
    #[arg(
        long,
        value_name = "TOKEN",
        env = "A3S_MCP_TOKEN",
        hide_env_values = true,
        requires = "http"
    )]
    http_token: Option<String>,

    /// How long a call waits for a worker, before it is told that there is none
    #[arg(long, value_name = "TIME", env = "A3S_MCP_WAIT", default_value = "1s", value_parser = duration::parse)]
    wait: Duration,

    /// Time from a call to its result; bash takes its own `timeout` when that is longer
    #[arg(long, value_name = "TIME", env = "A3S_TIMEOUT", default_value = "130s", value_parser = duration::parse)]
    timeout: Duration,

    /// The most of a result that is shown in one answer, in bytes; the rest can be read by parts
    #[arg(
        long, value_name = "BYTES", env = "A3S_MCP_MAX_OUTPUT", default_value_t = 40_000,
        value_parser = clap::value_parser!(u32).range(1_000..=4_000_000)
    )]
    max_output: u32,

    /// Offer these tools only
    #[arg(
        long,
        value_name = "TOOL,…",
        env = "A3S_MCP_TOOLS",
        value_delimiter = ','
    )]
    tools: Option<Vec<String>>,
}

fn session_id(text: &str) -> Result<String, String> {
    let id = Token::new("session id", text).map_err(|e| e.to_string())?;
    Ok(id.into())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse()
        .map_err(|_| format!("{text:?} is no address: write 127.0.0.1:8931, or 8931"))
}

impl Mcp {
    /// Serves until the client is gone, or, over HTTP, until SIGTERM or Ctrl-C.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let route = self.route(globals);
        let session = match &self.session {
            Some(session) => session.clone(),
            None => default_session(globals.local.workspace.as_deref(), &route)?,
        };
        let serves = match &route {
            Route::Pool(pool) => Serves::Pool(pool.clone()),
            Route::Own => Serves::Session(session.clone()),
        };
        // Before anything is started: an address that is taken is a reason to start nothing.
        let http = match self.http {
            None => None,
            Some(address) => {
                let http = Http::listen(address, self.http_token.clone()).await;
                Some(http.map_err(|e| Failure::usage(e.to_string()))?)
            }
        };
        App::run(globals, &serves, async |app| {
            let session = app.coordinator.session(session.as_str());
            let session = session.config(config()).route(route.clone()).open().await;
            let session = session.map_err(Failure::broker)?;
            eprintln!("serving session {} on {}", session.id(), app.place);
            let door = Door::open(&app.coordinator, session, self.options()).await;
            match http {
                None => door.serve_stdio(&app.shutdown).await,
                Some(http) => {
                    eprintln!("clients connect to {}", http.url());
                    let served = door.serve_http(http, &app.shutdown).await;
                    served.map_err(Failure::broker)?;
                }
            }
            Ok(DONE)
        })
        .await
    }

    /// Local workers see one workspace, and an embedded server may have those of several: so they
    /// take no calls but ours, unless a pool is named.
    fn route(&self, globals: &Globals) -> Route {
        match &self.pool {
            Some(pool) => Route::Pool(pool.clone()),
            None if self.own || globals.local.local_workers > 0 => Route::Own,
            None => Route::Pool(DEFAULT_POOL.to_owned()),
        }
    }

    fn options(&self) -> Options {
        Options {
            wait: self.wait,
            timeout: self.timeout,
            max_output: usize::try_from(self.max_output).unwrap_or(usize::MAX),
            tools: self.tools.clone(),
        }
    }
}

fn config() -> SessionQueueConfig {
    SessionQueueConfig {
        control_max_concurrency: CALLS_AT_A_TIME,
        query_max_concurrency: CALLS_AT_A_TIME,
        execute_max_concurrency: CALLS_AT_A_TIME,
        generate_max_concurrency: CALLS_AT_A_TIME,
        ..SessionQueueConfig::default().with_external_lanes()
    }
}

/// The same one for the next process on the same machine, by the same user, in the same workspace
/// and with the same route: what one left, the next one finds.
fn default_session(workspace: Option<&Path>, route: &Route) -> Result<String, Failure> {
    let workspace = workspace.unwrap_or(Path::new("."));
    let shown = workspace.display();
    let workspace = workspace
        .canonicalize()
        .map_err(|e| Failure::usage(format!("cannot use the workspace {shown}: {e}")))?;
    let user = rustix::process::getuid().as_raw();
    let host = local_workers::hostname();
    let whole = format!("{host}\0{user}\0{}\0{route:?}", workspace.display());
    let digest = Sha256::digest(whole.as_bytes());
    let digits: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    Ok(format!("mcp-{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_has_the_same_session_each_time_and_another_one_another() {
        let (here, other) = (Path::new("."), Path::new("/"));
        let session = |path, route: &Route| default_session(Some(path), route).expect("it exists");
        assert_eq!(session(here, &Route::Own), session(here, &Route::Own));
        assert_ne!(session(here, &Route::Own), session(other, &Route::Own));
        let pool = Route::Pool("default".to_owned());
        assert_ne!(session(here, &Route::Own), session(here, &pool));
        assert_eq!(session_id(&session(here, &pool)), Ok(session(here, &pool)));
    }

    #[test]
    fn a_bare_port_is_one_of_this_machine() {
        assert_eq!(address("8931"), address("127.0.0.1:8931"));
        assert!(address("hub").is_err());
    }
}
