//! Trees on a real server, wanted by real caches.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::{Broker, Settings, TreeKind};
use a3s_shared::protocol::{
    Digest, Entry, Kind, Manifest, Places, SessionLane, TreeHead, WorkspaceRef,
};
use a3s_shared::workspace::pack::{Pack, Packer};
use a3s_shared::workspace::text;
use a3s_testkit::{Server, eventually};
use serde_json::json;
use tempfile::TempDir;

use super::{Checkouts, may_share};
use crate::tool::Verdict;

const SOON: Duration = Duration::from_secs(30);
const LARGE: u64 = 1 << 30;

/// A server with trees, and a cache.
struct Scene {
    broker: Broker,
    cache: TempDir,
    _server: Server,
}

impl Scene {
    async fn new() -> Self {
        let server = Server::start().await;
        let client = server.client().await;
        let broker = Broker::new(client, None, "a3s").expect("a prefix");
        broker.ensure(&Settings::default()).await.expect("streams");
        Self {
            broker,
            cache: tempfile::tempdir().expect("a directory"),
            _server: server,
        }
    }

    /// As one worker sees it.
    fn checkouts(&self, limit: u64) -> Checkouts {
        let dir = Some(self.cache.path().to_owned());
        Checkouts::new(self.broker.clone(), dir, limit)
    }

    /// Stores a tree of files; those whose names end with `.sh` may be run.
    async fn tree(&self, files: &[(&str, &str)]) -> Digest {
        let entries = files.iter().map(|(path, text)| Entry {
            path: (*path).to_owned(),
            kind: Kind::File {
                digest: Digest::of(text.as_bytes()),
                size: text.len() as u64,
                executable: path.ends_with(".sh"),
            },
        });
        let manifest = Manifest::new(entries.collect()).expect("harmless");
        let mut packer = Packer::default();
        for (_, text) in files {
            let none = packer.add(Digest::of(text.as_bytes()), text.as_bytes());
            assert!(none.is_none(), "all fit one pack");
        }
        let finished = packer.finish().expect("a pack");
        let put = self
            .broker
            .put_pack(&finished.pack.digest, finished.pack.body);
        put.await.expect("it is stored");
        let mut places = Places::default();
        for (content, place) in finished.places {
            places.0.insert(content, vec![place]);
        }
        self.store(&manifest.text(), places).await
    }

    /// Stores a text as a manifest, whatever it says.
    async fn store(&self, manifest: &str, places: Places) -> Digest {
        let digest = Digest::of(manifest.as_bytes());
        let lines = manifest.split_inclusive('\n');
        let lines = lines.map(|line| (line.to_owned(), false)).collect();
        let send = |lines| text::send(&self.broker, lines, |_| false);
        let head = TreeHead {
            files: 1,
            bytes: 1,
            at_ms: 1,
            by: "test".to_owned(),
            root: "/".to_owned(),
            manifest: send(lines).await.expect("stored").pieces,
            places: send(places.lines().collect()).await.expect("stored").pieces,
        };
        let put = self.broker.put_tree(TreeKind::Whole, &digest, &head);
        put.await.expect("stored");
        digest
    }

    /// How many directories stand below a part of the cache.
    fn count(&self, part: &str) -> usize {
        let dir = self.cache.path().join("1").join(part);
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").ino()
}

#[tokio::test]
async fn a_tree_is_made_once_for_many_tasks_of_many_workers() {
    let scene = Scene::new().await;
    let digest = scene.tree(&[("a", "same"), ("b/c.sh", "same")]).await;
    let workers = [scene.checkouts(LARGE), scene.checkouts(LARGE)];
    let name = digest.to_string();
    let gets = (0..8).map(|n| workers[n % 2].get(&name, true));
    let all = futures::future::try_join_all(gets).await.expect("trees");
    let roots: Vec<&Path> = all.iter().map(|one| one.workspace.root()).collect();
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
    assert_eq!(scene.count("trees"), 1);
    let mode = |path: &str| fs::metadata(roots[0].join(path)).expect("a file").mode() & 0o777;
    assert_eq!((mode("a"), mode("b/c.sh")), (0o444, 0o555));

    // Another tree with the same content shares it, and nothing is fetched for it.
    let other = scene.tree(&[("elsewhere", "same")]).await;
    let other = workers[0].get(&other.to_string(), true).await.expect("it");
    let shared = other.workspace.root().join("elsewhere");
    assert_eq!(inode(&shared), inode(&roots[0].join("a")));
    // What is there is not asked for again.
    let removed = scene.broker.remove_tree(TreeKind::Whole, &digest).await;
    removed.expect("it is gone");
    workers[1].get(&name, true).await.expect("from the cache");
}

#[tokio::test]
async fn a_private_copy_is_nobody_elses_and_goes_with_its_task() {
    let scene = Scene::new().await;
    let name = scene
        .tree(&[("a", "old"), ("run.sh", "x")])
        .await
        .to_string();
    let checkouts = scene.checkouts(LARGE);
    let shared = checkouts.get(&name, true).await.expect("a tree");
    let one = checkouts.get(&name, false).await.expect("a copy");
    let two = checkouts.get(&name, false).await.expect("a copy");
    fs::write(one.workspace.root().join("a"), "new").expect("it is mine");
    let text = |root: &Path| fs::read_to_string(root.join("a")).expect("a file");
    assert_eq!(text(two.workspace.root()), "old");
    assert_eq!(text(shared.workspace.root()), "old");
    let path = shared.workspace.resolve("a").expect("inside");
    let refused = shared.workspace.write(&path, b"new").expect_err("refused");
    assert!(refused.to_string().contains("read-only"), "{refused}");
    let root = one.workspace.root().to_owned();
    drop(one);
    eventually("the copy to go", SOON, || async {
        (!root.exists()).then_some(()).ok_or("it is there")
    })
    .await;
    assert!(two.workspace.root().exists());
}

#[tokio::test]
async fn a_manifest_that_leads_out_makes_nothing() {
    let scene = Scene::new().await;
    let checkouts = scene.checkouts(LARGE);
    let evil = Digest::of(b"evil");
    let file = |path: &str| format!("[\"{path}\",\"f\",4,\"{evil}\"]\n");
    let link = "[\"link\",\"l\",0,\"../../..\"]\n".to_owned();
    let inside = "[\"link\",\"l\",0,\"dir\"]\n".to_owned();
    let hostile = [
        file("../evil"),
        file("/tmp/evil"),
        file("a/../../evil"),
        link,
        inside + &file("link/evil"),
        file("b") + &file("a"),
        "[\"a\",\"-\",0,\"\"]\nnonsense\n".to_owned(),
    ];
    for manifest in hostile {
        let digest = scene.store(&manifest, Places::default()).await;
        let refused = checkouts.get(&digest.to_string(), false).await;
        let verdict = refused.expect_err("refused").verdict();
        assert!(
            matches!(verdict, Verdict::Reject(_)),
            "{manifest}: {verdict:?}"
        );
    }
    assert_eq!(scene.count("trees"), 0);
    assert!(!scene.cache.path().join("1/evil").exists());
}

#[tokio::test]
async fn what_is_damaged_or_gone_is_found_out_and_another_attempt_may_help() {
    let scene = Scene::new().await;
    let checkouts = scene.checkouts(LARGE);
    let name = scene.tree(&[("a", "content")]).await.to_string();
    let (good, bad) = (Pack::of(b"content"), Pack::of(b"another"));
    let put = scene.broker.put_pack(&good.digest, bad.body);
    put.await.expect("stored");
    let damaged = checkouts.get(&name, true).await.expect_err("damaged");
    assert!(matches!(damaged.verdict(), Verdict::Retry(_)), "{damaged}");
    let removed = scene.broker.remove_pack(&good.digest).await;
    removed.expect("it is gone");
    let gone = checkouts.get(&name, true).await.expect_err("gone");
    assert!(gone.to_string().contains("sync again"), "{gone}");
    assert_eq!(scene.count("trees"), 0);
    let put = scene.broker.put_pack(&good.digest, good.body);
    put.await.expect("stored");
    checkouts.get(&name, true).await.expect("it is whole again");
}

#[tokio::test]
async fn a_build_that_was_given_up_is_never_used() {
    let scene = Scene::new().await;
    let checkouts = Arc::new(scene.checkouts(LARGE));
    let name = scene.tree(&[("a", "one"), ("b", "two")]).await.to_string();
    for pause in 0..20 {
        let get = checkouts.get(&name, true);
        let pause = Duration::from_micros(pause * 300);
        let _ = tokio::time::timeout(pause, get).await;
    }
    let tree = checkouts.get(&name, true).await.expect("a tree");
    let files = fs::read_dir(tree.workspace.root()).expect("a directory");
    assert_eq!(files.count(), 2);
}

#[tokio::test]
async fn what_was_not_used_for_longest_goes_and_what_is_in_use_stays() {
    let scene = Scene::new().await;
    let checkouts = scene.checkouts(250);
    let mut names = Vec::new();
    for n in 0..4 {
        let text = n.to_string().repeat(100);
        names.push(scene.tree(&[("f", &text)]).await.to_string());
    }
    let first = checkouts.get(&names[0], true).await.expect("a tree");
    let second = {
        let tree = checkouts.get(&names[1], true).await.expect("a tree");
        tree.workspace.root().to_owned()
    };
    checkouts.get(&names[2], true).await.expect("a tree");
    assert!(first.workspace.root().exists(), "it is in use");
    assert!(!second.exists(), "it is the oldest that is not");
    assert_eq!(scene.count("trees"), 2);
    drop(first);
    checkouts.get(&names[3], true).await.expect("a tree");
    assert_eq!(scene.count("trees"), 2);

    let large = scene.tree(&[("f", &"x".repeat(251))]).await.to_string();
    let refused = checkouts.get(&large, true).await.expect_err("too large");
    assert!(refused.to_string().contains("--cache-size"), "{refused}");
}

#[tokio::test]
async fn what_changed_and_is_wanted_returns() {
    let scene = Scene::new().await;
    let files = [
        ("src/a", "old"),
        ("src/gone", "x"),
        ("src/same", "y"),
        ("z", "z"),
    ];
    let digest = scene.tree(&files).await;
    let reference = WorkspaceRef::new(digest)
        .returning("src/**")
        .expect("a glob");
    let checkouts = scene.checkouts(LARGE);
    let copy = checkouts
        .get(&reference.to_string(), false)
        .await
        .expect("a copy");
    let root = copy.workspace.root().to_owned();
    fs::write(root.join("src/a"), "new").expect("a file");
    fs::write(root.join("src/b"), "added").expect("a file");
    fs::write(root.join("z"), "not asked for").expect("a file");
    fs::remove_file(root.join("src/gone")).expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", root.join("src/out")).expect("a link");
    let verdict = Verdict::success(json!({ "output": "" }));
    let verdict = copy.finish(&scene.broker, "w", verdict).await;
    let Verdict::Done(result) = verdict else {
        panic!("{verdict:?}");
    };
    let told = &result.result["workspace_changes"];
    assert_eq!(
        (told["files"].as_u64(), told["deleted"].as_u64()),
        (Some(2), Some(1))
    );
    let digest: Digest = told["digest"]
        .as_str()
        .expect("a digest")
        .parse()
        .expect("one");
    let kind = TreeKind::Changes;
    let tree = a3s_shared::workspace::fetch::tree(&scene.broker, kind, digest).await;
    let manifest = tree.expect("it is stored").manifest;
    let paths: Vec<&str> = manifest.entries().iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["src/a", "src/b", "src/gone"]);
    assert_eq!(manifest.get("src/gone"), Some(&Kind::Gone));
}

#[tokio::test]
async fn what_a_dead_worker_left_is_swept_by_the_next() {
    let scene = Scene::new().await;
    let run = scene.cache.path().join("1/run");
    fs::create_dir_all(run.join("dead/0/workspace")).expect("directories");
    fs::write(run.join("dead.lock"), "").expect("a file");
    let name = scene.tree(&[("a", "x")]).await.to_string();
    let alive = scene.checkouts(LARGE);
    let copy = alive.get(&name, false).await.expect("a copy");
    assert!(!run.join("dead").exists() && !run.join("dead.lock").exists());
    let other = scene.checkouts(LARGE);
    other.get(&name, true).await.expect("a tree");
    assert!(copy.workspace.root().exists(), "its worker is alive");
}

#[tokio::test]
async fn a_cache_that_somebody_emptied_is_filled_again() {
    let scene = Scene::new().await;
    let checkouts = scene.checkouts(LARGE);
    let name = scene.tree(&[("a", "x")]).await.to_string();
    drop(checkouts.get(&name, true).await.expect("a tree"));
    fs::remove_dir_all(scene.cache.path().join("1")).expect("it is there");
    let copy = checkouts.get(&name, false).await.expect("a copy");
    assert!(copy.workspace.root().join("a").exists());
}

#[test]
fn only_who_cannot_write_shares_a_tree() {
    assert!(may_share(SessionLane::Query, false));
    assert!(!may_share(SessionLane::Query, true), "a command");
    assert!(!may_share(SessionLane::Execute, false), "a write");
}
