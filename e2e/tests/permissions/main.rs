//! What each key of `a3s-coordinator init` can do, and what it cannot, against a real server with
//! the generated configuration: real workers and coordinators do their whole work, and an intruder
//! with their keys tries everything else.

mod coordinators;
mod installation;
mod intruder;
mod left;
mod observer;
mod transport;
mod workers;

use std::time::Duration;

/// For one step on a machine that is busy with other things.
const BOUND: Duration = Duration::from_secs(120);
