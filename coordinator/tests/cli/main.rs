//! The program `a3s-coordinator`, as somebody at a terminal meets it: real server, real workers.

mod batch;
mod bench;
mod local;
mod map;
mod search;
mod stage;
mod submit;
mod sync;
mod trees;
