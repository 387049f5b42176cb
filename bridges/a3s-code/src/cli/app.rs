//! What the verb stands on: a connection, the coordinator, local workers, Ctrl-C.

use a3s_coordinator::Coordinator;
use a3s_shared::protocol::Serves;
use a3s_shared::runtime::{Role, Shutdown, connect, env_lines};

use super::Options;
use super::failure::Failure;
use super::local_workers::LocalWorkers;

/// The name of our connection, as the server lists it.
const NAME: &str = "a3s-code-fleet";

/// A running coordinator.
pub(crate) struct App {
    /// The coordinator.
    pub(crate) coordinator: Coordinator,
    /// Ctrl-C and SIGTERM.
    pub(crate) shutdown: Shutdown,
}

/// Runs `work` with a coordinator and the local workers that the options ask for, and ends all of
/// it afterwards, whatever the work's outcome.
pub(crate) async fn with_app(
    options: &Options,
    serves: &Serves,
    work: impl AsyncFnOnce(&App) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let shutdown = Shutdown::listen().map_err(Failure::broker)?;
    let connection = connect(&options.connect, &Role::coordinator(NAME)).await;
    let connection = connection.map_err(Failure::broker)?;
    let join = env_lines(&connection);
    let coordinator = Coordinator::start(connection, options.settings.clone()).await;
    let coordinator = coordinator.map_err(Failure::broker)?;
    let app = App {
        coordinator,
        shutdown,
    };
    let outcome = match LocalWorkers::start(&options.local, &join, serves) {
        Err(failure) => Err(failure),
        Ok(mut workers) => {
            let outcome = match workers.ready(app.coordinator.fleet()).await {
                Ok(()) => work(&app).await,
                Err(failure) => Err(failure),
            };
            workers.stop().await;
            outcome
        }
    };
    app.coordinator.close().await;
    outcome
}
