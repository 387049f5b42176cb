//! The trees that tasks name, as directories of this machine.
//!
//! * [`cache`]: where things are on the disk, and who holds them. [`build`]: a tree from the store.
//!   [`evict`]: the bound on its size.
//! * [`private`]: a copy for one task. [`changes`]: what the task did to it.
//!
//! A tree is built once, however many tasks and workers of this machine want it, and its files are
//! hard links to one content each. Tools of the Query and Control lanes that only read see that
//! tree itself; whatever could write (a command, a program, any tool of another lane) gets a copy
//! of its own, which goes when the task ends.

mod build;
mod cache;
mod changes;
mod evict;
mod private;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::Broker;
use a3s_shared::protocol::{
    Digest, ErrorKind, InvalidReference, RETURNED, SessionLane, WorkspaceRef,
};
use a3s_shared::runtime::paths;
use a3s_shared::workspace::fetch::FetchError;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use self::cache::{Cache, TreeInUse};
use self::private::Private;
use crate::policy::Paths;
use crate::tool::{ToolResult, Verdict};
use crate::workspace::Workspace;

/// How often somebody who waits for a tree that another builds looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The trees of this machine.
#[derive(Debug)]
pub(crate) struct Checkouts {
    broker: Broker,
    dir: PathBuf,
    limit: u64,
    /// What of a tree its task may use.
    paths: Paths,
    /// Opened for the first task that names a tree: most workers never see one.
    cache: OnceCell<Arc<Cache>>,
}

/// A tree for one task.
#[derive(Debug)]
pub(crate) struct Checkout {
    /// The directory that the task may touch.
    pub(crate) workspace: Arc<Workspace>,
    reference: WorkspaceRef,
    private: Option<Private>,
    _tree: TreeInUse,
}

/// Why a task cannot have its tree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckoutError {
    /// Its header makes no sense here.
    #[error("this worker cannot read which workspace the task needs: {0}")]
    Reference(#[from] InvalidReference),
    /// It could not be had from the store.
    #[error("the task's workspace {digest} could not be had: {source}")]
    Fetch {
        /// The tree.
        digest: Digest,
        /// Why not.
        source: FetchError,
    },
    /// It is larger than the cache may be.
    #[error(
        "the task's workspace has {size} bytes, and this worker may keep {limit}: start it with a \
         larger --cache-size"
    )]
    TooLarge {
        /// The tree, in bytes.
        size: u64,
        /// The cache, in bytes.
        limit: u64,
    },
    /// This machine's disk.
    #[error("the task's workspace could not be made in {dir}: {source}")]
    Disk {
        /// The cache.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl CheckoutError {
    /// What it means for the task, whose tool has not begun.
    pub(crate) fn verdict(&self) -> Verdict {
        let error = self.to_string();
        match self {
            Self::Reference(_) | Self::TooLarge { .. } => Verdict::Done(ToolResult {
                success: false,
                result: json!({}),
                error: Some(error),
                error_kind: Some(ErrorKind::Refused),
            }),
            Self::Fetch { source, .. } if !source.may_pass() => Verdict::Reject(error),
            Self::Fetch { .. } | Self::Disk { .. } => Verdict::Retry(error),
        }
    }
}

impl Checkouts {
    /// Trees from `broker`, kept below `dir` (default: in the user's cache directory), whose
    /// contents take at most `limit` bytes.
    pub(crate) fn new(broker: Broker, dir: Option<PathBuf>, limit: u64) -> Self {
        let default = || {
            let base = paths::cache_dir().unwrap_or_else(|| std::env::temp_dir().join("a3s"));
            base.join("workspaces")
        };
        Self {
            broker,
            dir: dir.unwrap_or_else(default),
            limit,
            paths: Paths::default(),
            cache: OnceCell::new(),
        }
    }

    /// The same, of whose trees tasks may use what the policy's `paths` allow. Default: all.
    pub(crate) fn allowing(mut self, paths: Paths) -> Self {
        self.paths = paths;
        self
    }

    /// The tree that `named`, the value of the task's header, names; `reads_only` when nothing in
    /// it can be written by the task's tool. Dropping the future leaves nothing behind that is not
    /// whole.
    pub(crate) async fn get(
        &self,
        named: &str,
        reads_only: bool,
    ) -> Result<Checkout, CheckoutError> {
        let reference: WorkspaceRef = named.parse()?;
        let cache = self.cache().await?;
        let tree = self.tree(&cache, reference.digest).await?;
        let paths = self.paths.clone();
        let made = on_disk(&cache, move |cache| {
            if reads_only {
                let shared = Workspace::open_read_only(&tree.root())?;
                return Ok((shared.allowing(&paths)?, None, tree));
            }
            let private = Private::copy(cache, &tree)?;
            let own = Workspace::open(private.root())?.allowing(&paths)?;
            Ok((own, Some(private), tree))
        });
        let (workspace, private, tree) = made.await?;
        Ok(Checkout {
            workspace: Arc::new(workspace),
            reference,
            private,
            _tree: tree,
        })
    }

    async fn cache(&self) -> Result<Arc<Cache>, CheckoutError> {
        let (dir, limit) = (self.dir.clone(), self.limit);
        let open = async {
            let opened = spawn_blocking(move || Cache::open(&dir, limit)).await;
            let cache = joined(opened).map_err(|source| CheckoutError::Disk {
                dir: self.dir.clone(),
                source,
            })?;
            Ok(Arc::new(cache))
        };
        self.cache.get_or_try_init(|| open).await.cloned()
    }

    /// The tree, held; built first when nobody has.
    async fn tree(&self, cache: &Arc<Cache>, digest: Digest) -> Result<TreeInUse, CheckoutError> {
        let mut built = false;
        loop {
            if let Some(tree) = on_disk(cache, move |cache| cache.hold(digest)).await? {
                if built {
                    on_disk(cache, evict::evict).await?;
                }
                return Ok(tree);
            }
            match on_disk(cache, move |cache| cache.reserve(digest)).await? {
                Some(reserved) => {
                    build::build(&self.broker, cache, digest, reserved).await?;
                    built = true;
                }
                None => sleep(LOOK_EVERY).await,
            }
        }
    }
}

impl Checkout {
    /// Sends what the task changed, where that is wanted, and says so in its result.
    pub(crate) async fn finish(self, broker: &Broker, by: &str, verdict: Verdict) -> Verdict {
        let (Verdict::Done(mut result), Some(private)) = (verdict.clone(), &self.private) else {
            return verdict;
        };
        if self.reference.returns.is_empty() {
            return verdict;
        }
        match changes::send(broker, private, &self.reference.returns, by).await {
            Ok(returned) => {
                if let (Some(fields), Ok(value)) = (
                    result.result.as_object_mut(),
                    serde_json::to_value(returned),
                ) {
                    fields.insert(RETURNED.to_owned(), value);
                }
            }
            Err(error) => {
                let error = format!("the files that it changed could not be returned: {error}");
                result.success = false;
                result.error = Some(match result.error {
                    Some(own) => format!("{own}; {error}"),
                    None => error,
                });
                result.error_kind = result.error_kind.or(Some(ErrorKind::Other));
            }
        }
        Verdict::Done(result)
    }
}

/// Whether a task of `lane` whose tool starts no programs may see the tree that others see: the
/// door to it refuses to write.
pub(crate) fn may_share(lane: SessionLane, starts_programs: bool) -> bool {
    matches!(lane, SessionLane::Query | SessionLane::Control) && !starts_programs
}

/// Runs what blocks on a thread for it.
async fn on_disk<T: Send + 'static>(
    cache: &Arc<Cache>,
    work: impl FnOnce(&Cache) -> std::io::Result<T> + Send + 'static,
) -> Result<T, CheckoutError> {
    let held = Arc::clone(cache);
    let done = spawn_blocking(move || work(&held)).await;
    joined(done).map_err(|source| CheckoutError::Disk {
        dir: cache.dir().to_owned(),
        source,
    })
}

/// The result of a thread; its panic goes on here.
fn joined<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
