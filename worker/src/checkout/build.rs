//! A tree from the store. Everything happens in a directory of its own; the tree is there when that
//! is renamed, so a crash leaves nothing that could be taken for one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use a3s_shared::broker::{Broker, TreeKind};
use a3s_shared::protocol::{Digest, Kind, Manifest};
use a3s_shared::workspace::fetch;

use super::cache::Cache;
use super::{CheckoutError, on_disk};

/// Which forms of a content a tree needs: one to read, one to run. The mode belongs to the inode,
/// so they are two files.
#[derive(Debug, Default, Clone, Copy)]
struct Forms {
    plain: bool,
    executable: bool,
}

/// Builds the tree that is `reserved`. When the future is dropped, a thread may still be at the last
/// step; it has what protects it from others for as long.
pub(super) async fn build(
    broker: &Broker,
    cache: &Arc<Cache>,
    digest: Digest,
    reserved: File,
) -> Result<(), CheckoutError> {
    let failed = |source| CheckoutError::Fetch { digest, source };
    let tree = fetch::tree(broker, TreeKind::Whole, digest).await;
    let tree = tree.map_err(failed)?;
    let (size, limit) = (tree.manifest.bytes(), cache.limit);
    if size > limit {
        return Err(CheckoutError::TooLarge { size, limit });
    }
    let adding = on_disk(cache, Cache::add_contents).await?;
    let scratch = on_disk(cache, Cache::scratch).await?;
    let manifest = Arc::new(tree.manifest);
    let wanted = Arc::clone(&manifest);
    let forms = on_disk(cache, move |cache| lacking(cache, &wanted)).await?;

    let sizes: HashMap<Digest, u64> = manifest.files().map(|(_, d, size)| (d, size)).collect();
    let wanted: Vec<(Digest, u64)> = forms
        .keys()
        .filter_map(|digest| Some((*digest, *sizes.get(digest)?)))
        .collect();
    let (keeper, forms) = (Arc::clone(cache), Arc::new(forms));
    let keep = move |content: &Digest, path: &Path| {
        let forms = forms.get(content).copied().unwrap_or_default();
        store(&keeper, content, path, forms)
    };
    let received = scratch.path().to_owned();
    fetch::contents(broker, &wanted, &tree.places, &received, keep)
        .await
        .map_err(failed)?;
    let done = on_disk(cache, move |cache| {
        let new = scratch.path().join("new");
        link(cache, &manifest, &new.join("tree"))?;
        fs::write(new.join("manifest"), manifest.text())?;
        let place = cache.tree(&digest);
        // What is there without a manifest is of no use.
        match fs::remove_dir_all(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&new, &place)?;
        drop((reserved, adding));
        Ok(())
    });
    done.await
}

/// The contents that are not here, with the forms that are missing.
fn lacking(cache: &Cache, manifest: &Manifest) -> io::Result<HashMap<Digest, Forms>> {
    let mut lacking = HashMap::<Digest, Forms>::new();
    for entry in manifest.entries() {
        let Kind::File {
            digest,
            size,
            executable,
        } = &entry.kind
        else {
            continue;
        };
        let here = match fs::metadata(cache.content(digest, *executable)) {
            // After a power failure a file may be there without what was in it.
            Ok(metadata) => metadata.len() == *size,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !here {
            let forms = lacking.entry(*digest).or_default();
            match executable {
                true => forms.executable = true,
                false => forms.plain = true,
            }
        }
    }
    Ok(lacking)
}

/// Takes a verified content in.
fn store(cache: &Cache, content: &Digest, path: &Path, forms: Forms) -> io::Result<()> {
    if forms.executable {
        let copy = path.with_extension("x");
        fs::copy(path, &copy)?;
        take_in(&copy, &cache.content(content, true), 0o555)?;
    }
    match forms.plain {
        true => take_in(path, &cache.content(content, false), 0o444),
        false => fs::remove_file(path),
    }
}

fn take_in(path: &Path, place: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(path, place)
}

/// Makes the tree. Its manifest was checked: no path leads out of `root`, and none leads through a
/// link of it.
fn link(cache: &Cache, manifest: &Manifest, root: &Path) -> io::Result<()> {
    let mut made = root.to_owned();
    fs::create_dir_all(root)?;
    for entry in manifest.entries() {
        let path = root.join(&entry.path);
        let parent = path.parent().unwrap_or(root);
        if made != parent {
            fs::create_dir_all(parent)?;
            made = parent.to_owned();
        }
        match &entry.kind {
            Kind::File {
                digest, executable, ..
            } => {
                let content = cache.content(digest, *executable);
                match fs::hard_link(&content, &path) {
                    // A file has a limited number of links, which `__init__.py` can reach.
                    Err(error) if error.kind() == ErrorKind::TooManyLinks => {
                        fs::copy(&content, &path).map(drop)?;
                    }
                    linked => linked?,
                }
            }
            Kind::Link { target } => symlink(target, &path)?,
            Kind::Gone => {}
        }
    }
    Ok(())
}
