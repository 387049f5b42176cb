//! How large files are, when only some of them are asked: of those that have the same ending, one
//! tells about the next ones. To ask each is a third of what a walk costs, and planning needs
//! estimates only. Pure.

use foldhash::HashMap;

/// One of so many of an ending is asked.
const EVERY: u32 = 8;

/// What is larger, in bytes, tells nothing about the next ones: it may be the only one. So after a
/// large file the next one is asked, which is little beside searching them.
const LARGE: u64 = 64 * 1024;

/// So many endings are remembered; at one more, all are forgotten.
const ENDINGS: usize = 1_024;

/// The sizes of the files of a walk, by the endings of their names.
#[derive(Debug, Default)]
pub(crate) struct Sizes(HashMap<String, Kind>);

/// Files of one ending.
#[derive(Debug)]
struct Kind {
    /// The size that was told last.
    last: u64,
    /// How many may have that size by guess.
    guesses: u32,
}

impl Sizes {
    /// The size of the file `path`, in bytes; `ask` tells it exactly.
    pub(crate) fn of(&mut self, path: &str, ask: impl FnOnce() -> u64) -> u64 {
        let ending = ending(path);
        let known = self.0.get_mut(ending);
        if let Some(kind) = known.filter(|kind| kind.guesses > 0) {
            kind.guesses -= 1;
            return kind.last;
        }
        let last = ask();
        let guesses = if last > LARGE { 0 } else { EVERY - 1 };
        if self.0.len() >= ENDINGS && !self.0.contains_key(ending) {
            self.0.clear();
        }
        self.0.insert(ending.to_owned(), Kind { last, guesses });
        last
    }
}

/// What follows the last dot of the name; nothing without one.
fn ending(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
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
        assert_eq!(sizes.of("a/y.txt", || 9), 9);
        assert_eq!(sizes.of("b/y.rs", || panic!("asked")), 7);
        assert_eq!(sizes.of("b.c/y", || panic!("asked")), 5);
        let files = [("a", 1), ("b", 1), ("c.d", 1), ("c/a.d", 1), ("c/b", 1)];
        assert_eq!(asked(&files), ["a", "c.d"]);
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

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sizes = Sizes::default();
        for n in 0..3 * ENDINGS {
            sizes.of(&format!("a.{n}"), || 1);
        }
        assert!(sizes.0.len() <= ENDINGS);
    }
}
