//! A tree by its paths: what stands where, and with which content.
//!
//! The text has a line for each path, a JSON array `[path, kind, size, value]`, in the order of a
//! walk (by the names of each directory). The digest of the text names the tree. A manifest comes
//! from whoever can write to the broker, and a worker makes files from it, so what could leave the
//! tree is no manifest: see [`Manifest::parse`].

use std::cmp::Ordering;

use super::Digest;

/// The most paths of a tree: the names of the pieces of its texts must fit one message.
pub const MAX_ENTRIES: usize = 300_000;

/// The longest path, in bytes: Linux takes no longer one.
const MAX_PATH: usize = 4_000;
/// The longest name of a file or directory, in bytes.
const MAX_NAME: usize = 255;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Of its content.
        digest: Digest,
        /// In bytes.
        size: u64,
        /// Whether its owner may run it.
        executable: bool,
    },
    /// A symbolic link, which leads to a path inside the tree.
    Link {
        /// As it is written in the link.
        target: String,
    },
    /// Nothing any more. Only where changes of a tree are told.
    Gone,
}

/// A path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, with `/` between the names.
    pub path: String,
    /// What stands there.
    pub kind: Kind,
}

/// The paths of a tree, or its changes, that can do no harm.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    entries: Vec<Entry>,
}

/// A text that is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} cannot stand in a tree: {why}")]
pub struct BadManifest {
    /// The path, or the line that has none.
    pub path: String,
    /// Why not.
    pub why: &'static str,
}

impl BadManifest {
    fn new(path: &str, why: &'static str) -> Self {
        let path = path.chars().take(200).collect();
        Self { path, why }
    }
}

impl Entry {
    /// Whether the path can stand in a tree.
    ///
    /// # Errors
    /// When it could lead out of it.
    pub fn check(&self) -> Result<(), BadManifest> {
        let bad = |why| BadManifest::new(&self.path, why);
        check_path(&self.path).map_err(bad)?;
        match &self.kind {
            Kind::Link { target } => check_target(&self.path, target).map_err(bad),
            Kind::File { .. } | Kind::Gone => Ok(()),
        }
    }

    fn line(&self) -> String {
        let line = match &self.kind {
            Kind::File {
                digest,
                size,
                executable,
            } => {
                let kind = if *executable { "x" } else { "f" };
                serde_json::to_string(&(&self.path, kind, size, digest.hex()))
            }
            Kind::Link { target } => serde_json::to_string(&(&self.path, "l", 0, target)),
            Kind::Gone => serde_json::to_string(&(&self.path, "-", 0, "")),
        };
        // Text and numbers can always be written.
        let mut line = line.unwrap_or_default();
        line.push('\n');
        line
    }

    fn read(line: &str) -> Result<Self, BadManifest> {
        let parts: Result<(String, String, u64, String), _> = serde_json::from_str(line);
        let (path, kind, size, value) = parts
            .map_err(|_| BadManifest::new(line, "its line is not [path, kind, size, value]"))?;
        let kind = match kind.as_str() {
            "f" | "x" => Kind::File {
                digest: value
                    .parse()
                    .map_err(|_| BadManifest::new(&path, "its digest is none"))?,
                size,
                executable: kind == "x",
            },
            "l" => Kind::Link { target: value },
            "-" => Kind::Gone,
            _ => return Err(BadManifest::new(&path, "its kind is none of f, x, l, -")),
        };
        Ok(Self { path, kind })
    }
}

impl Manifest {
    /// A manifest of these paths, which it sorts.
    ///
    /// # Errors
    /// [`BadManifest`]: the path that cannot stand in a tree.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, BadManifest> {
        entries.sort_by(|a, b| order(&a.path, &b.path));
        Self::checked(entries)
    }

    /// Reads a text. Refused are: a path that is absolute, has an empty, `.` or `..` name, or is too
    /// long; a path twice, or out of order; a path below a file or a symbolic link; a link whose
    /// target is absolute, climbs out of the tree, or has `..` behind a name.
    ///
    /// # Errors
    /// [`BadManifest`]: the first such line.
    pub fn parse(text: &str) -> Result<Self, BadManifest> {
        let entries: Result<Vec<Entry>, _> = text.lines().map(Entry::read).collect();
        Self::checked(entries?)
    }

    fn checked(entries: Vec<Entry>) -> Result<Self, BadManifest> {
        if entries.len() > MAX_ENTRIES {
            return Err(BadManifest::new("", "a tree has at most 300,000 paths"));
        }
        for entry in &entries {
            entry.check()?;
        }
        // In this order everything below a path comes right behind it.
        for pair in entries.windows(2) {
            let (before, entry) = (&pair[0], &pair[1]);
            let bad = |why| Err(BadManifest::new(&entry.path, why));
            if order(&before.path, &entry.path) != Ordering::Less {
                return bad("it is there twice, or out of order");
            }
            let gone = before.kind == Kind::Gone || entry.kind == Kind::Gone;
            if !gone && is_below(&entry.path, &before.path) {
                return bad("it is below a file or a symbolic link");
            }
        }
        Ok(Self { entries })
    }

    /// The paths, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What stands at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Kind> {
        let found = self.entries.binary_search_by(|e| order(&e.path, path));
        found.ok().map(|index| &self.entries[index].kind)
    }

    /// The digest, size and place of each file.
    pub fn files(&self) -> impl Iterator<Item = (&str, Digest, u64)> {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            Kind::File { digest, size, .. } => Some((entry.path.as_str(), *digest, *size)),
            Kind::Link { .. } | Kind::Gone => None,
        })
    }

    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files()
            .map(|(_, _, size)| size)
            .fold(0, u64::saturating_add)
    }

    /// Its lines, each with its newline, and whether a text that is stored in pieces is cut
    /// behind it.
    pub fn lines(&self) -> impl Iterator<Item = (String, bool)> {
        self.entries.iter().map(|entry| {
            let cut = match &entry.kind {
                Kind::File { digest, .. } => digest.is_cut(),
                Kind::Link { .. } | Kind::Gone => false,
            };
            (entry.line(), cut)
        })
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().map(|(line, _)| line).collect()
    }
}

/// The order of a walk that sorts the names of each directory: `/` comes before everything.
fn order(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > MAX_PATH {
        return Err("a path has 1 to 4000 bytes");
    }
    if path.contains('\0') {
        return Err("it has a NUL byte");
    }
    for name in path.split('/') {
        match name {
            "" => return Err("it is absolute or has an empty name"),
            "." | ".." => return Err("it has a name . or .."),
            name if name.len() > MAX_NAME => return Err("a name has at most 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

/// A link stays inside when it first climbs, not above the root, and then only descends: the
/// directories that it climbs through are real ones, and a link that it passes on its way down
/// stays inside itself. Behind a name, `..` could be that of another link's target.
fn check_target(path: &str, target: &str) -> Result<(), &'static str> {
    if target.is_empty() || target.len() > MAX_PATH || target.contains('\0') {
        return Err("its target is empty, too long, or has a NUL byte");
    }
    if target.starts_with('/') {
        return Err("its target is absolute");
    }
    let mut height = path.matches('/').count();
    let mut descends = false;
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." if descends => return Err("its target has .. behind a name"),
            ".." => {
                height = height
                    .checked_sub(1)
                    .ok_or("its target leads out of the tree")?;
            }
            _ => descends = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: Kind::File {
                digest: Digest::of(path.as_bytes()),
                size: 7,
                executable: path.ends_with(".sh"),
            },
        }
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: Kind::Link {
                target: target.to_owned(),
            },
        }
    }

    #[test]
    fn a_manifest_is_read_back_as_written() {
        let entries = vec![
            file("a-b"),
            link("a/link", "../run.sh"),
            file("run.sh"),
            file("a/new\nline \"x\""),
            file("é/🦀"),
        ];
        let manifest = Manifest::new(entries).expect("harmless");
        assert_eq!(Manifest::parse(&manifest.text()), Ok(manifest.clone()));
        assert_eq!(manifest.get("run.sh"), Some(&file("run.sh").kind));
        assert_eq!(manifest.get("run"), None);
        assert_eq!(manifest.bytes(), 28);
    }

    #[test]
    fn the_order_of_the_paths_given_does_not_change_the_tree() {
        let one = Manifest::new(vec![file("a"), file("b/c"), file("b-c")]);
        let two = Manifest::new(vec![file("b-c"), file("a"), file("b/c")]);
        assert_eq!(one, two);
    }

    #[test]
    fn what_could_leave_the_tree_is_no_manifest() {
        for path in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            "./a",
            "a\0b",
        ] {
            assert!(Manifest::new(vec![file(path)]).is_err(), "{path:?}");
        }
        let long = "x".repeat(256);
        assert!(Manifest::new(vec![file(&long)]).is_err());
        for (path, target) in [
            ("l", "/etc"),
            ("l", ".."),
            ("d/l", "../.."),
            ("d/l", "x/../../.."),
            ("l", ""),
        ] {
            assert!(Manifest::new(vec![link(path, target)]).is_err(), "{target}");
        }
        assert!(Manifest::new(vec![link("d/l", "../x/./y")]).is_ok());
    }

    #[test]
    fn nothing_stands_below_a_file_or_a_link() {
        assert!(Manifest::new(vec![link("a", "b"), file("a-x"), file("a/x")]).is_err());
        assert!(Manifest::new(vec![file("a"), file("a/b/c")]).is_err());
        assert!(Manifest::new(vec![file("a"), file("a")]).is_err());
        let moved = Entry {
            path: "a/b".to_owned(),
            kind: Kind::Gone,
        };
        assert!(Manifest::new(vec![file("a"), moved]).is_ok());
    }

    #[test]
    fn a_text_out_of_order_is_refused() {
        let text = format!("{}{}", file("b").line(), file("a").line());
        assert!(Manifest::parse(&text).is_err());
        assert!(Manifest::parse("nonsense\n").is_err());
        assert!(Manifest::parse("[\"a\",\"d\",0,\"\"]\n").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "[\\[\\]\"a./,0fl\\-\n]{0,60}") {
            let _ = Manifest::parse(&text);
        }
    }
}
