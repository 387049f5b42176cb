//! The Rust worker as the conformance suite wants it: the worker library with the suite's tools.
//! It takes what `a3s-worker` takes, and has other tools.

use std::process::ExitCode;

use a3s_conformance::tools;
use a3s_shared::runtime::{Role, Shutdown, connect, telemetry};
use a3s_worker::cli::Args;
use a3s_worker::worker::Worker;
use anyhow::{Error, Result};
use clap::Parser;
use tracing::level_filters::LevelFilter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> Result<()> {
    telemetry::init(&args.log, LevelFilter::INFO)?;
    let shutdown = Shutdown::listen()?;
    let config = args.config().map_err(Error::msg)?;
    let role = Role::worker(format!("rust-worker {}", config.worker_id));
    let connection = connect(&args.connect, &role).await?;
    let worker = Worker::start(&connection, config, tools::registry()).await?;
    worker.run(shutdown).await;
    connection.close().await;
    Ok(())
}
