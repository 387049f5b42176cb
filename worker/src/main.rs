//! `a3s-worker`: connect, bind, serve, drain, leave.

use std::process::ExitCode;

use a3s_shared::runtime::{Role, Shutdown, connect, telemetry};
use a3s_worker::cli::Args;
use a3s_worker::worker::{Worker, WorkerError};
use clap::Parser;
use tracing::level_filters::LevelFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The broker was not reachable, or refused something that the worker needs.
const BROKER: u8 = 3;
/// What was typed makes no sense.
const USAGE: u8 = 2;

// One thread for the broker's business: it is all short messages, and twice as fast so. Tools
// that block run on threads of their own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = telemetry::init(&args.log, LevelFilter::INFO) {
        return fail(USAGE, &error);
    }
    let shutdown = match Shutdown::listen() {
        Ok(shutdown) => shutdown,
        Err(error) => return fail(BROKER, &error),
    };
    tokio::select! {
        code = serve(args, shutdown.clone()) => code,
        () = shutdown.now() => ExitCode::FAILURE,
    }
}

async fn serve(args: Args, shutdown: Shutdown) -> ExitCode {
    let registry = match args.registry() {
        Ok(registry) => registry,
        Err(error) => return fail(USAGE, &error),
    };
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    if let Err(error) = config.check() {
        return fail(USAGE, &error);
    }
    let sandbox = config.sandbox.level().to_string();
    let role = Role::worker(format!("a3s-worker {}", config.worker_id));
    let connection = tokio::select! {
        connection = connect(&args.connect, &role) => match connection {
            Ok(connection) => connection,
            Err(error) => return fail(BROKER, &error),
        },
        () = shutdown.draining() => return ExitCode::SUCCESS,
    };
    let (serves, lanes) = (config.serves.clone(), config.lanes.clone());
    let worker = match Worker::start(&connection, config, registry).await {
        Ok(worker) => worker,
        Err(error @ WorkerError::Config(_)) => return fail(USAGE, &error),
        Err(error) if error.is_denied() => {
            let who = connection.credential();
            return fail(
                BROKER,
                &format!("{who} is not enough for this worker: {error}"),
            );
        }
        Err(error) => return fail(BROKER, &error),
    };
    tracing::info!(
        worker.id = worker.id(),
        ?serves,
        ?lanes,
        sandbox,
        "ready for tasks"
    );
    worker.run(shutdown).await;
    tracing::info!("drained");
    connection.close().await;
    ExitCode::SUCCESS
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}
