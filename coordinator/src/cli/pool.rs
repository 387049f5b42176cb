//! `pool`: which of a pool's workers is served first, and who they are.

use a3s_shared::broker::{Broker, PoolPolicy};
use a3s_shared::protocol::{Presence, Serves, SessionLane};
use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Serialize;
use serde_json::json;

use super::app::{App, Globals};
use super::failure::{DONE, Failure};
use super::listing::listing;
use super::output::Output;

/// Show a pool, or say which of its workers is served first
///
/// With the policy `any` that is whoever asked first; with `near` the nearest that has a free slot
/// (workers say --distance); with `overflow` whoever asked first, and helpers (workers that say
/// --help-when) only while enough tasks wait. A change holds from the next pull on, and workers
/// that run learn the rest of it when they start again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator pool default
  a3s-coordinator pool web --policy near
  a3s-coordinator pool web --policy any")]
pub(crate) struct Pool {
    /// The pool
    #[arg(value_name = "NAME")]
    pool: String,
    /// Change its policy
    #[arg(long, value_enum, value_name = "POLICY", env = "A3S_POOL_POLICY")]
    policy: Option<PoolPolicy>,
    /// JSON instead of text
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

/// A worker of the pool, and when it gets a task that others would take too.
#[derive(Debug, Serialize)]
struct Member {
    worker_id: String,
    host: String,
    distance: Option<String>,
    help_when: Option<String>,
    busy: usize,
    slots: usize,
}

impl Pool {
    /// Does it.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        App::look(globals, async |app| {
            let broker = app.coordinator.broker();
            if let Some(policy) = self.policy {
                self.change(broker, globals, policy).await?;
            }
            self.show(app).await
        })
        .await
    }

    async fn change(
        &self,
        broker: &Broker,
        globals: &Globals,
        policy: PoolPolicy,
    ) -> Result<(), Failure> {
        let created = broker.ensure_pool(&self.pool, &globals.settings).await;
        created.map_err(Failure::broker)?;
        let changed = broker.set_pool_policy(&self.pool, policy).await;
        changed.map_err(Failure::broker)
    }

    async fn show(&self, app: &App) -> Result<u8, Failure> {
        let found = app.coordinator.broker().pool_policy(&self.pool).await;
        let lanes = found.map_err(Failure::broker)?;
        let policy = name_of(&lanes).ok_or_else(|| {
            let pool = &self.pool;
            Failure::usage(format!(
                "there is no pool {pool:?}: start a worker with --pool {pool}"
            ))
        })?;
        let members = members(&self.pool, &app.coordinator.fleet().workers());
        let mut output = Output::new();
        if self.json {
            let shown = json!({ "pool": self.pool, "policy": policy, "workers": members });
            output.json(&shown).await?;
        } else {
            let title = format!("pool {}: {policy}", self.pool);
            output.line(&title).await?;
            if !members.is_empty() {
                output.line(&table(&members)).await?;
            }
        }
        Ok(DONE)
    }
}

/// The policy of all lanes that exist, or what each has when a change was cut short.
fn name_of(lanes: &[(SessionLane, Option<PoolPolicy>)]) -> Option<String> {
    let known = lanes.iter().filter_map(|(lane, p)| p.map(|p| (*lane, p)));
    let known: Vec<_> = known.collect();
    let (_, first) = *known.first()?;
    if known.iter().all(|(_, policy)| *policy == first) {
        return Some(first.id().to_owned());
    }
    let each = known
        .iter()
        .map(|(lane, policy)| format!("{} {}", lane.id(), policy.id()));
    Some(each.collect::<Vec<_>>().join(", "))
}

/// The workers of the pool, nearest first, helpers last.
fn members(pool: &str, workers: &[Presence]) -> Vec<Member> {
    let serving = workers
        .iter()
        .filter(|w| matches!(&w.serves, Serves::Pool(served) if served == pool));
    let mut members: Vec<Member> = serving
        .map(|worker| Member {
            worker_id: worker.worker_id.clone(),
            host: worker.host.clone(),
            distance: worker.labels.get("distance").cloned(),
            help_when: worker.labels.get("help-when").cloned(),
            busy: worker.busy,
            slots: worker.slots,
        })
        .collect();
    members.sort_by_key(|m| {
        (
            m.help_when.is_some(),
            m.distance.is_none(),
            m.distance.clone(),
        )
    });
    members
}

fn table(members: &[Member]) -> String {
    let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows = members.iter().map(|member| {
        [
            member.worker_id.clone(),
            member.host.clone(),
            said(&member.distance),
            said(&member.help_when),
            format!("{}/{}", member.busy, member.slots),
        ]
    });
    listing(["worker", "host", "distance", "helps when", "busy"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionLane::{Execute, Generate, Query};

    #[test]
    fn a_change_that_was_cut_short_is_shown_lane_by_lane() {
        let near = Some(PoolPolicy::Near);
        let all = [(Query, near), (Execute, near), (Generate, None)];
        assert_eq!(name_of(&all).as_deref(), Some("near"));
        let some = [(Query, near), (Execute, Some(PoolPolicy::Any))];
        assert_eq!(name_of(&some).as_deref(), Some("query near, execute any"));
        assert_eq!(name_of(&[(Query, None)]), None);
    }
}
