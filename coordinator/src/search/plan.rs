//! Files into tasks: contiguous runs in path order, so that merging is concatenation, of about
//! the same cost, so that no worker is left with the long one.

use std::ops::Range;

use super::tree::File;

/// What opening a file costs, in the bytes that could be searched meanwhile. Without it, a task
/// of ten thousand tiny files would count as nothing.
const FILE_COST: u64 = 16 * 1024;

/// Below this a task is not worth its round trip.
const MIN_COST: u64 = 512 * 1024;

/// Above this a task makes its neighbours wait, and its output may pass a worker's limit.
const MAX_COST: u64 = 8 * 1024 * 1024;

/// How many bytes of paths fit into a task that still travels inside its message.
const MAX_PATH_BYTES: usize = 128 * 1024;

/// How many tasks each slot gets, so that the last ones even out what the estimate missed.
const TASKS_A_SLOT: u64 = 4;

/// The first task is this much smaller than the others: the user sees a first line early.
const FIRST_SHARE: u64 = 8;

/// One task: which of the files it searches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Indices into the files.
    pub(crate) files: Range<usize>,
    /// The sum of their sizes, in bytes.
    pub(crate) bytes: u64,
}

/// Splits `files` for a fleet of `slots` slots. Every file is in exactly one chunk; chunks follow
/// each other in the order of the files.
pub(crate) fn plan(files: &[File], slots: usize) -> Vec<Chunk> {
    let total: u64 = files.iter().map(cost).sum();
    let tasks = (slots.max(1) as u64).saturating_mul(TASKS_A_SLOT);
    let share = total.div_ceil(tasks).clamp(MIN_COST, MAX_COST);
    let mut chunks = Vec::new();
    let mut open = Open::at(0);
    for (index, file) in files.iter().enumerate() {
        let target = match chunks.len() {
            0 => share / FIRST_SHARE,
            _ => share,
        };
        if open.is_full_for(file, target) {
            chunks.push(open.close(index));
            open = Open::at(index);
        }
        open.add(file);
    }
    if open.start < files.len() {
        chunks.push(open.close(files.len()));
    }
    chunks
}

fn cost(file: &File) -> u64 {
    file.size.saturating_add(FILE_COST)
}

/// The chunk that is being filled.
struct Open {
    start: usize,
    cost: u64,
    bytes: u64,
    path_bytes: usize,
}

impl Open {
    fn at(start: usize) -> Self {
        Self {
            start,
            cost: 0,
            bytes: 0,
            path_bytes: 0,
        }
    }

    /// Whether `file` belongs to the next chunk: this one is closer to its target without it.
    fn is_full_for(&self, file: &File, target: u64) -> bool {
        if self.cost == 0 {
            return false;
        }
        let half = cost(file) / 2;
        self.cost.saturating_add(half) > target
            || self.path_bytes + file.path.len() > MAX_PATH_BYTES
    }

    fn add(&mut self, file: &File) {
        self.cost = self.cost.saturating_add(cost(file));
        self.bytes = self.bytes.saturating_add(file.size);
        self.path_bytes += file.path.len();
    }

    fn close(&self, end: usize) -> Chunk {
        Chunk {
            files: self.start..end,
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files(sizes: &[u64]) -> Vec<File> {
        let file = |(i, &size): (usize, &u64)| File {
            path: format!("f{i:06}"),
            size,
        };
        sizes.iter().enumerate().map(file).collect()
    }

    fn chunk_cost(files: &[File], chunk: &Chunk) -> u64 {
        files[chunk.files.clone()].iter().map(cost).sum()
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_chunk_in_order(
            sizes in prop::collection::vec(0_u64..3_000_000, 0..400),
            slots in 0_usize..40,
        ) {
            let files = files(&sizes);
            let mut next = 0;
            for chunk in plan(&files, slots) {
                prop_assert_eq!(chunk.files.start, next);
                prop_assert!(!chunk.files.is_empty());
                next = chunk.files.end;
            }
            prop_assert_eq!(next, files.len());
        }

        #[test]
        fn no_chunk_costs_more_than_its_share_and_half_of_its_last_file(
            sizes in prop::collection::vec(0_u64..3_000_000, 1..400),
            slots in 1_usize..40,
        ) {
            let files = files(&sizes);
            let total: u64 = files.iter().map(cost).sum();
            let share = total.div_ceil(slots as u64 * 4).clamp(MIN_COST, MAX_COST);
            for chunk in plan(&files, slots) {
                let last = cost(&files[chunk.files.end - 1]);
                let alone = chunk.files.len() == 1;
                prop_assert!(alone || chunk_cost(&files, &chunk) <= share + last / 2 + 1);
            }
        }
    }

    #[test]
    fn a_fleet_gets_about_four_tasks_a_slot() {
        let files = files(&[40_000; 5_000]);
        let chunks = plan(&files, 12);
        assert!((44..=60).contains(&chunks.len()), "{}", chunks.len());
    }

    #[test]
    fn the_first_task_is_small() {
        let files = files(&[40_000; 5_000]);
        let chunks = plan(&files, 12);
        assert!(chunks[0].bytes * 4 < chunks[1].bytes);
    }

    #[test]
    fn a_small_tree_is_not_cut_to_pieces() {
        assert_eq!(plan(&files(&[100; 20]), 64).len(), 2);
        assert!(plan(&[], 64).is_empty());
    }

    #[test]
    fn one_huge_file_does_not_drag_others_along() {
        let chunks = plan(&files(&[10, 900_000_000, 10]), 4);
        assert_eq!(chunks.len(), 3);
    }

    #[test]
    fn a_task_of_long_paths_stays_small() {
        let file = |i: usize| File {
            path: format!("{i}/{}", "x".repeat(4_000)),
            size: 0,
        };
        let files: Vec<File> = (0..200).map(file).collect();
        for chunk in plan(&files, 1) {
            let paths: usize = files[chunk.files].iter().map(|f| f.path.len()).sum();
            assert!(paths <= MAX_PATH_BYTES);
        }
    }
}
