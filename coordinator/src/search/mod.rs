//! Code search over a fleet: which files, in which tasks, and how the pieces become one output.
//!
//! Nothing here knows the broker or prints; only two parts look at the disk:
//! * [`place`]: whether this machine has the tree that the workers see;
//! * [`root`]: what the PATH that was typed is called by the workers, and by the user;
//! * [`tree`]: the files below it, with the filters and the order of ripgrep;
//! * [`sizes`]: how large they are, without asking each;
//! * [`plan`]: files into tasks of about the same cost;
//! * [`request`]: a task's payload, and what its result holds;
//! * [`stats`]: what it cost;
//! * [`view`]: a task's output under the names the user knows, as text or as JSON.

pub(crate) mod place;
pub(crate) mod plan;
pub(crate) mod request;
pub(crate) mod root;
pub(crate) mod sizes;
pub(crate) mod stats;
pub(crate) mod tree;
pub(crate) mod view;
