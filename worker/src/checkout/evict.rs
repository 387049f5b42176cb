//! The bound on what the cache takes: the trees that were not used for longest go, and with them
//! the contents that no other tree has. Never what is in use: its lock cannot be had.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use a3s_shared::protocol::Digest;

use super::cache::Cache;

/// A content on the disk.
struct Content {
    path: PathBuf,
    size: u64,
}

/// Removes until the contents are within the limit, or all that is left is in use. Does nothing
/// while somebody adds contents: they do it after that themselves.
pub(super) fn evict(cache: &Cache) -> io::Result<()> {
    let Some(_removing) = cache.remove_contents()? else {
        return Ok(());
    };
    let mut contents = contents(cache)?;
    let mut total: u64 = contents.iter().map(|content| content.size).sum();
    if total <= cache.limit {
        return Ok(());
    }
    total -= drop_unused(&mut contents);
    for digest in oldest_first(cache)? {
        if total <= cache.limit {
            break;
        }
        let Some(_reserved) = cache.reserve(digest)? else {
            continue;
        };
        // Away in one step, so that nobody sees half of it.
        let scratch = cache.scratch()?;
        let away = scratch.path().join("old");
        fs::rename(cache.tree(&digest), &away)?;
        fs::remove_dir_all(&away)?;
        let freed = drop_unused(&mut contents);
        total -= freed;
        tracing::info!(workspace = %digest, bytes = freed, "removed from the cache");
    }
    Ok(())
}

fn contents(cache: &Cache) -> io::Result<Vec<Content>> {
    let mut found = Vec::new();
    for shelf in fs::read_dir(cache.contents())? {
        for entry in fs::read_dir(shelf?.path())? {
            let entry = entry?;
            found.push(Content {
                size: entry.metadata()?.len(),
                path: entry.path(),
            });
        }
    }
    Ok(found)
}

/// Removes the contents that no tree has; how many bytes that were.
fn drop_unused(contents: &mut Vec<Content>) -> u64 {
    let mut freed = 0;
    contents.retain(|content| {
        let unused = fs::metadata(&content.path).is_ok_and(|metadata| metadata.nlink() == 1);
        let removed = unused && fs::remove_file(&content.path).is_ok();
        freed += if removed { content.size } else { 0 };
        !removed
    });
    freed
}

fn oldest_first(cache: &Cache) -> io::Result<Vec<Digest>> {
    let mut trees: Vec<(SystemTime, Digest)> = Vec::new();
    for entry in fs::read_dir(cache.trees())? {
        let entry = entry?;
        let Some(digest) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let used = fs::metadata(entry.path().join("manifest")).and_then(|m| m.modified());
        trees.push((used.unwrap_or(SystemTime::UNIX_EPOCH), digest));
    }
    trees.sort_unstable();
    Ok(trees.into_iter().map(|(_, digest)| digest).collect())
}
