//! The project's recipes, the same on a laptop and in CI. One file a recipe.

mod bench;
mod bridge;
mod check;
mod demo;
mod fuzz;
mod nats;
mod step;
mod test;

use clap::Parser;

/// The project's recipes
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Recipe {
    /// Get the nats-server that the embedded default and the tests use; quiet when it is there
    Nats,
    /// Check format, lints, documentation and dependencies
    Check,
    /// Let one worker and then three search the sources of this project's dependencies
    Demo(demo::Demo),
    /// Compare the product with the least that does the same on the broker
    #[command(disable_help_flag = true)]
    Bench(bench::Bench),
    /// Throw bytes at everything that is read from the wire, for a while
    Fuzz(fuzz::Fuzz),
    /// Build everything and run all tests, or those whose names contain a filter
    Test {
        /// Parts of test names
        filters: Vec<String>,
    },
    /// Check and test the bridge to A3S Code, which has hundreds of crates of its own
    Bridge,
}

fn main() -> anyhow::Result<()> {
    match Recipe::parse() {
        Recipe::Nats => nats::ensure().map(drop),
        Recipe::Demo(demo) => demo::run(&demo),
        Recipe::Bench(bench) => bench::run(&bench),
        Recipe::Fuzz(fuzz) => fuzz::run(&fuzz),
        Recipe::Check => check::run(),
        Recipe::Test { filters } => test::run(&filters),
        Recipe::Bridge => bridge::run(),
    }
}
