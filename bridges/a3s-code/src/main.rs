//! The `a3s-code-fleet` program: an A3S Code agent whose tools run on a fleet.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    ExitCode::from(cli::run(cli::Cli::parse()).await)
}
