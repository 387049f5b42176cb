//! What one measurement runs on: a nats-server of its own, and a view of its streams.

use std::time::{Duration, Instant};

use a3s_shared::broker::{Broker, Settings, TaskStream};
use a3s_shared::runtime::locate::locate;
use a3s_shared::runtime::nats_server::{Launch, NatsServer};
use anyhow::{Result, bail};
use async_nats::Subscriber;
use async_nats::jetstream::stream::State;
use tempfile::TempDir;
use tokio::time::sleep;

/// How long the last acknowledgements may take after the last result.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// How often unsettled tasks are counted.
const COUNT_EVERY: Duration = Duration::from_millis(10);

/// How long a backlog may take. One of a million takes half a minute on a quiet machine.
const DRAINED_WITHIN: Duration = Duration::from_secs(600);

/// How often a backlog is looked at: seldom, because the answer costs the server time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
        let text = format!(
            "listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {directory:?}, max_file_store: 256GB }}\n"
        );
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

    /// Waits until so many results are stored. The time from the first to the last of them, on the
    /// broker's own clock.
    pub(crate) async fn results_in(&self, tasks: u64) -> Result<Duration> {
        let began = Instant::now();
        let results = self.broker.names().results();
        loop {
            let state = self.state(&results).await?;
            if state.messages >= tasks {
                let took = state.last_timestamp - state.first_timestamp;
                return Ok(took.try_into()?);
            }
            if began.elapsed() > DRAINED_WITHIN {
                bail!(
                    "{} of {tasks} tasks are done after {DRAINED_WITHIN:?}",
                    state.messages
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The next pull of any worker, from when this returned on.
    pub(crate) async fn next_pull(&self) -> Result<Subscriber> {
        let queue = self.broker.names().tasks(TaskStream::Pool);
        let pulls = self
            .broker
            .api_subject(&format!("CONSUMER.MSG.NEXT.{queue}.*"));
        let heard = self.broker.client().subscribe(pulls).await?;
        self.broker.client().flush().await?;
        Ok(heard)
    }

    /// The server's version.
    pub(crate) fn server_version(&self) -> String {
        self.broker.client().server_info().version
    }

    async fn state(&self, stream: &str) -> Result<State> {
        let handle = self.broker.jetstream().get_stream_no_info(stream).await?;
        Ok(handle.get_info().await?.state)
    }
}
