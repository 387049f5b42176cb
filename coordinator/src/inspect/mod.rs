//! What the broker knows of tasks and sessions, read and changed from outside the processes that
//! submitted them. What still waits in such a process is known to nobody else.
//!
//! * [`frontier`]: which stored tasks are with a worker. [`backlog`]: how many, by session.
//! * [`tasks`]: single tasks. [`cancel`]: ending them. [`records`]: changing a session.
//! * [`letters`]: choosing among the dead letters.

pub(crate) mod backlog;
pub(crate) mod cancel;
pub(crate) mod frontier;
pub(crate) mod letters;
pub(crate) mod records;
pub(crate) mod tasks;
