//! Programs that try to get out of the sandbox, and programs that must not notice it.
//!
//! Each test says what the kernel has to have for it. Where that is missing it is skipped, and says
//! so: continuous integration may run on a kernel without Landlock, and never without seccomp.

mod caged;
mod files;
mod network;
mod processes;
mod races;
mod secrets;
mod start;
#[path = "../support/mod.rs"]
mod support;
