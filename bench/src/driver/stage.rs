//! What one measurement runs on: a nats-server of its own, and a view of its streams.

use std::time::{Duration, Instant};

use a3s_shared::broker::{Broker, Settings, TaskStream};
use a3s_shared::runtime::locate::locate;
use a3s_shared::runtime::nats_server::{Launch, NatsServer};
use anyhow::{Result, bail};
use tempfile::TempDir;
use tokio::time::sleep;

/// How long the last acknowledgements may take after the last result.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// How often unsettled tasks are counted.
const COUNT_EVERY: Duration = Duration::from_millis(10);

/// A server, with the streams of the product.
pub(crate) struct Stage {
    server: NatsServer,
    broker: Broker,
    /// Removed when the server has gone.
    _store: TempDir,
}

impl Stage {
    /// Starts the server that the product would, with its defaults, on a store of its own.
    pub(crate) async fn start() -> Result<Self> {
        let store = TempDir::with_prefix("a3s-bench-")?;
        let config = store.path().join("nats-server.conf");
        let directory = store.path().join("store");
        let text = format!("listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {directory:?} }}\n");
        std::fs::write(&config, text)?;
        let launch = Launch {
            binary: locate()?.path,
            config,
            ports_dir: store.path().join("ports"),
            log: store.path().join("nats-server.log"),
            hold: None,
        };
        let server = NatsServer::launch(launch).await?;
        let client = async_nats::connect(server.url()).await?;
        let broker = Broker::new(client, None, "a3s")?;
        broker.ensure(&Settings::default()).await?;
        Ok(Self {
            server,
            broker,
            _store: store,
        })
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> &str {
        self.server.url()
    }

    /// The server's process id.
    pub(crate) fn server_pid(&self) -> u32 {
        self.server.pid()
    }

    /// Fails unless `tasks` tasks have one result each, and none is left; then forgets them.
    pub(crate) async fn settle(&self, tasks: u64) -> Result<()> {
        let names = self.broker.names();
        let began = Instant::now();
        let queue = names.tasks(TaskStream::Pool);
        while self.state(&queue).await?.messages > 0 {
            if began.elapsed() > SETTLED_WITHIN {
                bail!(
                    "{} tasks were never acknowledged",
                    self.state(&queue).await?.messages
                );
            }
            sleep(COUNT_EVERY).await;
        }
        let results = self.state(&names.results()).await?;
        let (stored, of) = (results.messages, results.subjects_count);
        if (stored, of) != (tasks, tasks) {
            bail!("{tasks} tasks have {stored} results, of {of} tasks");
        }
        let letters = self.state(&names.dead_letters()).await?.messages;
        if letters > 0 {
            bail!("{letters} tasks are among the dead letters");
        }
        let handle = self
            .broker
            .jetstream()
            .get_stream_no_info(names.results())
            .await?;
        handle.purge().await?;
        Ok(())
    }

    async fn state(&self, stream: &str) -> Result<async_nats::jetstream::stream::State> {
        let handle = self.broker.jetstream().get_stream_no_info(stream).await?;
        Ok(handle.get_info().await?.state)
    }
}
