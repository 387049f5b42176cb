//! How a process of ours lives.
