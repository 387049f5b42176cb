//! The chaos suite: real processes on a real server do real work while they are killed, frozen and
//! cut off; then everything that anybody saw is compared with what was promised.
//!
//! * [`plan`]: which faults, when, whom; [`workload`]: which tasks. Both functions of a seed.
//! * [`ledger`]: what everybody saw, on disk. [`checks`]: the invariants, pure, over the ledger.

pub(crate) mod checks;
pub(crate) mod ledger;
pub(crate) mod plan;
pub(crate) mod workload;
