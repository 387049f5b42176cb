//! The `a3s-coordinator` program: reads the command line, does what it says, ends with a status.

mod batch;
mod chaos;
mod cli;
mod doctor;
mod inspect;
mod keys;
mod map;
mod mcp;
mod search;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // One thread for the broker: measured, it is half again as fast as many. What blocks (disks,
    // pipes) runs elsewhere.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(3);
        }
    };
    let status = runtime.block_on(cli::run(cli));
    // A thread that waits for input nobody types must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(status)
}
