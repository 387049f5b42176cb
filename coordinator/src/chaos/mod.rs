//! The chaos suite: real processes on a real server do real work while they are killed, frozen and
//! cut off; then everything that anybody saw is compared with what was promised.
//!
//! * [`plan`]: which faults, when, whom; [`workload`]: which tasks. Both functions of a seed.
//! * [`supervisor`]: a run from its beginning to its end. [`cast`]: who takes part in it; [`stage`]: what can be done
//!   to them, [`member`] one process, [`server`] the nats-server; [`submitter`] is the process that submits.
//! * [`ledger`]: what everybody saw, on disk; [`witness`] looks at broker and machine.
//! * [`checks`]: the invariants, pure, over the ledger. [`summary`]: numbers; [`page`]: the report.

pub(crate) mod cast;
pub(crate) mod checks;
pub(crate) mod ledger;
mod member;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod server;
pub(crate) mod stage;
pub(crate) mod submitter;
pub(crate) mod summary;
pub(crate) mod supervisor;
mod witness;
pub(crate) mod workload;
