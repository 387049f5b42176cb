//! `search` on real trees: this repository, and the sources of two of its dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::search::ripgrep;
use crate::stage::Stage;

/// The folder of a dependency's sources.
fn sources_of(dependency: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages
        .iter()
        .find(|package| package["name"] == dependency);
    let manifest = found.expect("it is a dependency")["manifest_path"].as_str();
    Path::new(manifest.expect("a path"))
        .parent()
        .expect("a folder")
        .to_owned()
}

async fn as_ripgrep(tree: &Path, pattern: &str) {
    let stage = Stage::at(tree).await;
    let mut workers = Vec::new();
    for fleet in [1, 3, 8] {
        while workers.len() < fleet {
            workers.push(stage.worker(&["-j1"]).await);
        }
        for arguments in [
            &[pattern][..],
            &["-i", "-C2", pattern],
            &["-c", pattern, "."],
        ] {
            let Some((status, expected)) = ripgrep(&stage, arguments) else {
                return;
            };
            let done = stage.run(&[&["search"], arguments].concat()).await;
            let same = done.stdout == String::from_utf8_lossy(&expected);
            assert!(
                same,
                "{arguments:?} in {} with {fleet} workers",
                tree.display()
            );
            assert_eq!(done.status, status, "{}", done.stderr);
        }
    }
}

#[tokio::test]
async fn this_repository_is_searched_as_by_ripgrep() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    as_ripgrep(&tree, "fn [a-z_]*drain").await;
}

#[tokio::test]
async fn the_sources_of_tokio_are_searched_as_by_ripgrep() {
    as_ripgrep(&sources_of("tokio"), "fn poll_[a-z]+").await;
}

#[tokio::test]
async fn the_sources_of_rustix_are_searched_as_by_ripgrep() {
    as_ripgrep(&sources_of("rustix"), "unsafe fn").await;
}
