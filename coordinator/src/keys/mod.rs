//! Who may do what on the broker, and the files that say so. Pure but for [`files`], which writes.
//!
//! * [`role`]: the roles, and the name that each has in files, inboxes and certificates.
//! * [`permissions`]: the one table from a role to what it may publish and subscribe to.
//! * [`identity`]: a role's nkey; [`certificates`]: the authority and its certificates.
//! * [`hub`], [`leaf`]: the servers' configurations; [`settings`]: what a process of a role reads.
//! * [`plan`]: all files of one installation; [`files`]: writes them, or nothing.

pub(crate) mod certificates;
pub(crate) mod files;
pub(crate) mod hub;
pub(crate) mod identity;
pub(crate) mod leaf;
pub(crate) mod permissions;
pub(crate) mod plan;
pub(crate) mod role;
pub(crate) mod settings;
