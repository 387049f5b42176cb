//! `a3s-bench`: how fast the product is, against the least that does the same on the broker.
//!
//! * [`run`](driver): the driver; `cargo xtask bench` builds what it needs and starts it.
//! * `floor-submit`, `floor-work`, `floor-fill`: the floor, on the bare client. [`product`]: the product's
//!   library, with the product's own workers at the other end.
//! * [`load`]: what both submitters are told, and what they report.

mod driver;
mod floor;
mod load;
mod product;
mod usage;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure A3S Distributed against the least that does the same on the broker
#[derive(Debug, Parser)]
#[command(name = "a3s-bench", version)]
enum Role {
    /// Start servers, submitters and workers, and compare
    Run(driver::Run),
    /// Submit with the bare client, and report as JSON
    FloorSubmit(load::Orders),
    /// Work with the bare client until killed
    FloorWork(floor::Work),
    /// Publish a backlog with the bare client
    FloorFill(floor::Fill),
    /// Submit with the product's library, and report as JSON
    ProductSubmit(load::Orders),
}

// One thread, as the product's programs: measured, it is half again as fast as many.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Role::parse() {
        Role::Run(run) => run.run().await,
        Role::FloorSubmit(orders) => tell(floor::submit(&orders).await),
        Role::FloorWork(work) => work.run().await,
        Role::FloorFill(fill) => fill.run().await,
        Role::ProductSubmit(orders) => tell(product::submit(&orders).await),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what a submitter saw, for the driver to read.
fn tell(report: anyhow::Result<load::Report>) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&report?)?);
    Ok(())
}
