//! The part of a workspace that an operation may touch: all of it, or some directories.
//!
//! A part is held by a handle of its own, so that the kernel keeps every operation below it,
//! whatever happens to symbolic links meanwhile. Choosing the part may race; using it cannot.

use std::borrow::Cow;
use std::io;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::Dir;

use crate::policy::{Inside, Rule};

/// The part of a workspace that an operation may touch.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Which rule says so.
    pub(crate) rule: Rule,
    /// `None`: all of it.
    parts: Option<Vec<Part>>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    dir: Dir,
}

impl Reach {
    /// All of the workspace.
    pub(crate) fn whole(rule: Rule) -> Self {
        Self { rule, parts: None }
    }

    /// What `inside` says of the workspace that `dir` is. A part that is not there cannot be
    /// used, also when it is made later.
    ///
    /// # Errors
    /// When a part cannot be opened, or is no directory.
    pub(crate) fn open(rule: Rule, dir: &Dir, inside: Inside) -> io::Result<Self> {
        let Inside::Parts(paths) = inside else {
            return Ok(Self::whole(rule));
        };
        let mut parts = Vec::new();
        for path in paths {
            match dir
                .canonicalize(&path)
                .and_then(|real| Part::open(dir, &real))
            {
                Ok(part) => parts.push(part),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    let text = format!("the root {} cannot be used: {e}", path.display());
                    return Err(io::Error::new(e.kind(), text));
                }
            }
        }
        let parts = Some(parts);
        Ok(Self { rule, parts })
    }

    /// The handle below which `path` of the workspace `whole` is, and the path from there.
    /// `None`: it is in no part.
    ///
    /// # Errors
    /// When the system cannot tell where the path leads, or it leads out of the workspace.
    pub(crate) fn place<'a>(
        &'a self,
        whole: &'a Dir,
        path: &'a Path,
    ) -> io::Result<Option<(&'a Dir, Cow<'a, Path>)>> {
        let Some(parts) = &self.parts else {
            return Ok(Some((whole, Cow::Borrowed(path))));
        };
        let real = match whole.canonicalize(path) {
            // It is to be made. A link on its way that leads out of the part is refused below it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => cleaned(path),
            found => cleaned(&found?),
        };
        let found = parts.iter().find_map(|part| {
            let below = real.strip_prefix(&part.path).ok()?;
            Some((&part.dir, Cow::Owned(or_dot(below))))
        });
        Ok(found)
    }

    /// Whether the path `real`, which has no symbolic links, is in it.
    pub(crate) fn covers(&self, real: &Path) -> bool {
        let real = cleaned(real);
        let parts = self.parts.as_ref();
        parts.is_none_or(|parts| parts.iter().any(|part| real.starts_with(&part.path)))
    }

    /// The parts, for messages.
    pub(crate) fn told(&self) -> String {
        let parts = self.parts.iter().flatten();
        let names: Vec<_> = parts.map(|p| p.path.display().to_string()).collect();
        match names.as_slice() {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        }
    }
}

impl Part {
    fn open(dir: &Dir, path: &Path) -> io::Result<Self> {
        Ok(Self {
            dir: dir.open_dir(path)?,
            path: cleaned(path),
        })
    }
}

/// `path` without `.` and `..`, by its spelling.
fn cleaned(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(cleaned.pop()),
            Component::Normal(name) => cleaned.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

fn or_dot(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        path.to_owned()
    }
}
