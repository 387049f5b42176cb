//! Which of a pool's workers gets a task when several would: a property of the pool's consumers,
//! so that the broker decides and all workers agree.

use async_nats::jetstream::consumer::{Config, FromConsumer, PriorityPolicy, pull};
use clap::ValueEnum;
use futures::future::try_join_all;

use super::{Broker, BrokerError, Seen, TaskStream};
use crate::protocol::SessionLane;

/// Which of a pool's workers the broker serves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum)]
pub enum PoolPolicy {
    /// Whoever asked first. The default.
    #[default]
    Any,
    /// The nearest of those that have a free slot: workers say how far they are (0 to 9).
    Near,
    /// Whoever asked first, and helpers only while enough tasks of the lane wait.
    Overflow,
}

impl PoolPolicy {
    /// Its name, as it is typed.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Near => "near",
            Self::Overflow => "overflow",
        }
    }

    /// What a consumer's configuration says. One that an operator pinned to a client counts as
    /// `Any`: no worker of ours can serve it, and its own refusals say so.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        match config.priority_policy {
            PriorityPolicy::Prioritized => Self::Near,
            PriorityPolicy::Overflow => Self::Overflow,
            PriorityPolicy::None | PriorityPolicy::PinnedClient => Self::Any,
        }
    }

    fn set(self, config: &mut pull::Config, group: &str) {
        config.priority_policy = match self {
            Self::Any => PriorityPolicy::None,
            Self::Near => PriorityPolicy::Prioritized,
            Self::Overflow => PriorityPolicy::Overflow,
        };
        config.priority_groups = match self {
            Self::Any => Vec::new(),
            Self::Near | Self::Overflow => vec![group.to_owned()],
        };
    }
}

impl Broker {
    /// The policy of a pool, by lane, highest priority first; `None` where a lane has no consumer.
    ///
    /// # Errors
    /// When the broker does not answer, or there is no stream of tasks.
    pub async fn pool_policy(
        &self,
        pool: &str,
    ) -> Result<Vec<(SessionLane, Option<PoolPolicy>)>, BrokerError> {
        let lanes = SessionLane::ALL.map(async |lane| {
            let found = self.pool_consumer(pool, lane).await?;
            Ok::<_, BrokerError>((lane, found.map(|config| PoolPolicy::of(&config))))
        });
        try_join_all(lanes).await
    }

    /// Changes the policy of a pool whose consumers exist, and nothing else of them. It holds for
    /// the next pull; workers of this version send what any policy needs, older ones are refused
    /// by a pool that is not `Any`.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it. Some lanes may have changed then:
    /// do it again.
    pub async fn set_pool_policy(&self, pool: &str, policy: PoolPolicy) -> Result<(), BrokerError> {
        let lanes =
            SessionLane::ALL.map(async |lane| match self.pool_consumer(pool, lane).await? {
                Some(config) if PoolPolicy::of(&config) != policy => {
                    self.change_policy(pool, config, policy).await
                }
                _ => Ok(()),
            });
        try_join_all(lanes).await.map(drop)
    }

    async fn change_policy(
        &self,
        pool: &str,
        config: Config,
        policy: PoolPolicy,
    ) -> Result<(), BrokerError> {
        let what = format!("serve pool {pool} {}", policy.id());
        let stream = self.names().tasks(TaskStream::Pool);
        let mut config = pull::Config::try_from_consumer_config(config)
            .map_err(|e| BrokerError::refused(&what, e))?;
        policy.set(&mut config, self.names().pool_group());
        let handle = self.stream_handle(&stream, &what).await?;
        let updated = handle.update_consumer(config).await;
        updated.map(drop).map_err(|e| BrokerError::refused(what, e))
    }

    async fn pool_consumer(
        &self,
        pool: &str,
        lane: SessionLane,
    ) -> Result<Option<Config>, BrokerError> {
        let stream = self.names().tasks(TaskStream::Pool);
        let name = self.names().pool_consumer(pool, lane);
        match self.consumer_info(&stream, &name).await? {
            Seen::There(info) => Ok(Some(info.config)),
            Seen::Missing => Ok(None),
            Seen::Hidden(denied) => Err(BrokerError::Denied {
                what: format!("look at lane {} of pool {pool}", lane.id()),
                denied,
            }),
        }
    }
}
