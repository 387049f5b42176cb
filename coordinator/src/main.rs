//! The `a3s-coordinator` program.

mod batch;
mod map;
mod search;

fn main() {}
