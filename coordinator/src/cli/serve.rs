//! `serve`: keeps a server and local workers up until Ctrl-C.

use a3s_shared::protocol::{DEFAULT_POOL, Serves};
use clap::Args;

use super::app::{App, Globals};
use super::failure::{DONE, Failure};

/// Keep a server and local workers up until Ctrl-C
///
/// Starts an embedded nats-server unless one is named or answers on 127.0.0.1:4222, and the
/// workers that --local-workers asks for. Prints how other terminals join.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  a3s-coordinator serve --local-workers 4
  eval \"$(a3s-coordinator env)\"    # in another terminal")]
pub(crate) struct Serve {
    /// Pool that the local workers serve
    #[arg(long, value_name = "NAME", env = "A3S_POOL", default_value = DEFAULT_POOL)]
    pool: String,
}

impl Serve {
    /// Runs until Ctrl-C or SIGTERM.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let serves = Serves::Pool(self.pool);
        App::run(globals, &serves, async |app| {
            eprintln!("serving on {}", app.place);
            eprintln!("join from this machine:  eval \"$(a3s-coordinator env)\" && a3s-worker");
            eprintln!("submit:                  a3s-coordinator submit ls '{{}}'");
            eprintln!("stop with Ctrl-C");
            app.shutdown.draining().await;
            Ok(DONE)
        })
        .await
    }
}
