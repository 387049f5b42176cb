//! `examples/regions`: files in two regions, each processed where it lies.

use std::collections::BTreeSet;
use std::path::Path;

use a3s_testkit::binary;

use crate::world::{BOUND, Region, World};

#[tokio::test]
async fn the_example_counts_the_errors_of_each_region_where_its_files_are() {
    let Some(world) = World::start().await else {
        return;
    };
    for pool in ["eu", "ap"] {
        world.hub.run(&["pool", pool, "--policy", "any"]).await;
    }
    log(&world.eu, "web/a.log", 3);
    log(&world.eu, "b.log", 0);
    log(&world.ap, "web/a.log", 1);
    let _eu = world.eu.worker("eu-1", &["--pool", "eu"]).await;
    let _ap = world.ap.worker("ap-1", &["--pool", "ap"]).await;

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/regions/errors.sh");
    let coordinator = binary("a3s-coordinator");
    let programs = coordinator.parent().expect("it is in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut errors = world
        .hub
        .process_as_coordinator(&script)
        .args(["eu", "ap"])
        .env("PATH", format!("{}:{path}", programs.display()))
        .start();
    let status = errors.wait(BOUND).await;
    assert!(status.success(), "{status}: {}", errors.stderr());
    let stdout = errors.stdout();
    let lines: BTreeSet<&str> = stdout.lines().collect();
    let expected = ["ap\t1\tweb/a.log", "eu\t0\tb.log", "eu\t3\tweb/a.log"];
    assert_eq!(lines, BTreeSet::from(expected), "{}", errors.stderr());
}

/// A log file of a region with so many errors.
fn log(region: &Region, name: &str, errors: usize) {
    let path = region.workspace().join(name);
    let dir = path.parent().expect("a file is in a directory");
    std::fs::create_dir_all(dir).expect("the directory is made");
    let text = format!("all is well\n{}", "ERROR no stock\n".repeat(errors));
    std::fs::write(path, text).expect("the log is written");
}
