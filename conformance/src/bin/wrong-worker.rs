//! A worker that is wrong on demand: `wrong-worker --fault acks-first`. Without a fault it is
//! right.

use std::process::ExitCode;

use a3s_conformance::wrong::{Fault, Wrong};
use a3s_shared::runtime::{Role, Shutdown, connect};
use a3s_worker::cli::Args;
use anyhow::{Error, Result};
use clap::Parser;

/// What a worker takes, and what it gets wrong.
#[derive(Debug, Parser)]
struct WrongArgs {
    /// What it gets wrong
    #[arg(long, value_enum)]
    fault: Option<Fault>,

    #[command(flatten)]
    worker: Args,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve(WrongArgs::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: WrongArgs) -> Result<()> {
    let shutdown = Shutdown::listen()?;
    let config = args.worker.config().map_err(Error::msg)?;
    let role = Role::worker(format!("wrong-worker {}", config.worker_id));
    let connection = connect(&args.worker.connect, &role).await?;
    let worker = Wrong::start(&connection, config, args.fault).await?;
    worker.serve(shutdown).await?;
    connection.close().await;
    Ok(())
}
