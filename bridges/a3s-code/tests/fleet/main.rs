//! The real agent loop, a model that follows a script, a real nats-server and real workers.
//!
//! * `agent`: what the model sees of tools that work. `failures`: of those that do not.
//! * `modes`: who handles which lane. `programs`: the program and the examples.
//! * `stage` and `model` are what they stand on.

mod agent;
mod failures;
mod model;
mod modes;
mod programs;
mod stage;
