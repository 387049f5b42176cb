//! How large files are, when only some of them are asked: of those that stand side by side and have
//! the same ending, one tells about the others. To ask each is a third of what a walk costs, and
//! planning needs estimates only. Pure.

/// One of so many is asked even among its like.
const EVERY: u32 = 8;

/// What is larger, in bytes, tells nothing about its neighbours: it may be the only one. So among
/// large files each is asked, which is little beside searching them.
const LARGE: u64 = 64 * 1024;

/// The sizes of the files of a walk.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// The path of the file before, and the size that was told last.
    before: String,
    last: u64,
    /// How many may have that size by guess.
    guesses: u32,
}

impl Sizes {
    /// The size of the file `path`, in bytes; `ask` tells it exactly.
    pub(crate) fn of(&mut self, path: &str, ask: impl FnOnce() -> u64) -> u64 {
        if self.guesses > 0 && kind(&self.before) == kind(path) {
            self.guesses -= 1;
        } else {
            self.last = ask();
            self.guesses = if self.last > LARGE { 0 } else { EVERY - 1 };
        }
        self.before.clear();
        self.before.push_str(path);
        self.last
    }
}

/// The directory, and the ending of the name.
fn kind(path: &str) -> (&str, Option<&str>) {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    (directory, name.rsplit_once('.').map(|(_, ending)| ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `files` are asked for their size.
    fn asked(files: &[(&str, u64)]) -> Vec<String> {
        let mut sizes = Sizes::default();
        let mut asked = Vec::new();
        for (path, size) in files {
            sizes.of(path, || {
                asked.push((*path).to_owned());
                *size
            });
        }
        asked
    }

    #[test]
    fn files_of_one_kind_are_taken_to_be_alike() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.of("x", || 5), 5);
        assert_eq!(sizes.of("a/x.rs", || 7), 7);
        assert_eq!(sizes.of("a/y.rs", || panic!("asked")), 7);
        assert_eq!(sizes.of("a/y.txt", || 9), 9);
        let files = [("a", 1), ("b", 1), ("c.d", 1), ("c/a", 1), ("c/b", 1)];
        assert_eq!(asked(&files), ["a", "c.d", "c/a"]);
    }

    #[test]
    fn one_of_eight_is_asked_in_any_case() {
        let names: Vec<String> = (0..20).map(|i| format!("{i:02}.rs")).collect();
        let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        assert_eq!(asked(&files), ["00.rs", "08.rs", "16.rs"]);
    }

    #[test]
    fn large_files_are_all_asked() {
        let files = [
            ("a.log", 1 << 20),
            ("b.log", 1 << 30),
            ("c.log", 1),
            ("d.log", 1),
        ];
        assert_eq!(asked(&files), ["a.log", "b.log", "c.log"]);
    }
}
