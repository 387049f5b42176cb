//! Runs the tool calls of an A3S Code agent on a fleet of workers.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use a3s_code_core::{Agent, SessionOptions};
//! use a3s_code_fleet::{Fleet, FleetOptions};
//! use a3s_coordinator::Coordinator;
//! use a3s_shared::broker::Settings;
//! use a3s_shared::runtime::{ConnectOptions, Role, connect};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let connect_options = ConnectOptions::to("nats://hub:4222");
//! let connection = connect(&connect_options, &Role::coordinator("my agent")).await?;
//! let coordinator = Coordinator::start(connection, Settings::default()).await?;
//!
//! let agent = Agent::new("agent.acl").await?;
//! let (options, prepared) = FleetOptions::new().prepare(SessionOptions::new());
//! let session = Arc::new(agent.session_async(".", Some(options)).await?);
//! let fleet = Fleet::attach(&session, &coordinator, prepared).await?;
//!
//! let answer = session.send("Search for all authentication functions", None).await?;
//! println!("{}", answer.text);
//! fleet.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! * `fleet`: attach and detach. `options`, `tool`: what a user says.
//! * `watch` takes calls from the agent's queue, `errand` carries one to workers and back;
//!   `request` and `answer` translate, pure. `hybrid` tells of calls that stay here.
//! * `gate`: which tools the model may use. `lanes`: who handles what now.
//! * `tally`: counters and reports.

mod answer;
mod errand;
mod fleet;
mod gate;
mod hybrid;
mod lanes;
mod options;
mod request;
mod tally;
mod tool;
mod watch;

pub use fleet::{AttachError, Fleet};
pub use options::{FleetOptions, Prepared};
pub use tally::{FleetStats, Report};
pub use tool::FleetTool;
