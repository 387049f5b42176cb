//! Files into tasks, while they are still being found: contiguous runs in path order, so that
//! merging is concatenation. Tasks grow with what has been seen, so that the first ones are on their
//! way at once, a large tree does not become thousands, and the last ones are of about the same
//! cost, so that no worker is left with the long one.

use super::tree::File;

/// What opening a file costs, in the bytes that could be searched meanwhile. Without it, a task
/// of ten thousand tiny files would count as nothing.
const FILE_COST: u64 = 16 * 1024;

/// Below this a task is not worth its round trip.
const MIN_COST: u64 = 512 * 1024;

/// Above this a task makes its neighbours wait. Below it, few large tasks: each costs a round trip
/// and a millisecond of the broker.
const MAX_COST: u64 = 32 * 1024 * 1024;

/// With more bytes to search, a task's output may pass a worker's limit.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How many bytes of paths fit into a task that still travels inside its message.
const MAX_PATH_BYTES: usize = 128 * 1024;

/// How many tasks each slot would get if all were like the next one.
const TASKS_A_SLOT: u64 = 2;

/// The first task is this much smaller than the others: the user sees a first line early.
const FIRST_SHARE: u64 = 8;

/// One task: the files that it searches, one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// In path order.
    pub(crate) files: Vec<File>,
    /// The sum of their sizes, in bytes; an estimate.
    pub(crate) bytes: u64,
}

/// Makes tasks of the files that it is given, in their order. Every file is in exactly one.
#[derive(Debug)]
pub(crate) struct Planner {
    slots: u64,
    /// The cost of all tasks so far.
    seen: u64,
    /// The task that is being filled, and its cost.
    open: Chunk,
    cost: u64,
    path_bytes: usize,
}

impl Planner {
    /// For a fleet of `slots` slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots: slots.max(1) as u64,
            seen: 0,
            open: Chunk {
                files: Vec::new(),
                bytes: 0,
            },
            cost: 0,
            path_bytes: 0,
        }
    }

    /// Adds a file; the task before it, if that is full now.
    pub(crate) fn add(&mut self, file: File) -> Option<Chunk> {
        let full = self.is_full_for(&file).then(|| self.finish()).flatten();
        self.cost = self.cost.saturating_add(cost(&file));
        self.open.bytes = self.open.bytes.saturating_add(file.size);
        self.path_bytes += file.path.len();
        self.open.files.push(file);
        full
    }

    /// The task of the files that are left, if there are any.
    pub(crate) fn finish(&mut self) -> Option<Chunk> {
        let next = Self::new(usize::try_from(self.slots).unwrap_or(usize::MAX));
        let seen = self.seen.saturating_add(self.cost);
        let last = std::mem::replace(self, Self { seen, ..next });
        (!last.open.files.is_empty()).then_some(last.open)
    }

    /// Whether `file` belongs to the next task: this one is closer to its target without it.
    fn is_full_for(&self, file: &File) -> bool {
        let target = match self.seen {
            0 => MIN_COST / FIRST_SHARE,
            seen => (seen / self.slots.saturating_mul(TASKS_A_SLOT)).clamp(MIN_COST, MAX_COST),
        };
        !self.open.files.is_empty()
            && (self.cost.saturating_add(cost(file) / 2) > target
                || self.open.bytes.saturating_add(file.size / 2) > MAX_BYTES
                || self.path_bytes + file.path.len() > MAX_PATH_BYTES)
    }
}

fn cost(file: &File) -> u64 {
    file.size.saturating_add(FILE_COST)
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

    fn plan(files: &[File], slots: usize) -> Vec<Chunk> {
        let mut planner = Planner::new(slots);
        let mut chunks = Vec::new();
        for file in files {
            chunks.extend(planner.add(file.clone()));
        }
        chunks.extend(planner.finish());
        assert_eq!(planner.finish(), None);
        chunks
    }

    fn chunk_cost(chunk: &Chunk) -> u64 {
        chunk.files.iter().map(cost).sum()
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_task_in_order(
            sizes in prop::collection::vec(0_u64..3_000_000, 0..400),
            slots in 0_usize..40,
        ) {
            let files = files(&sizes);
            let chunks = plan(&files, slots);
            prop_assert!(chunks.iter().all(|chunk| !chunk.files.is_empty()));
            let planned: Vec<File> = chunks.into_iter().flat_map(|chunk| chunk.files).collect();
            prop_assert_eq!(planned, files);
        }

        #[test]
        fn no_task_costs_more_than_its_share_of_what_was_before_and_half_of_its_last_file(
            sizes in prop::collection::vec(0_u64..3_000_000, 1..400),
            slots in 1_usize..40,
        ) {
            let mut seen = 0;
            for chunk in plan(&files(&sizes), slots) {
                let share = (seen / (slots as u64 * 2)).clamp(MIN_COST, MAX_COST);
                let last = chunk.files.last().map_or(0, cost);
                let whole = chunk_cost(&chunk);
                prop_assert!(chunk.files.len() == 1 || whole <= share + last / 2 + 1);
                seen += whole;
            }
        }
    }

    #[test]
    fn tasks_grow_with_the_tree_and_the_last_ones_are_even() {
        let chunks = plan(&files(&[40_000; 5_000]), 12);
        assert!((60..=120).contains(&chunks.len()), "{}", chunks.len());
        let last = chunk_cost(&chunks[chunks.len() - 2]);
        let all: u64 = chunks.iter().map(chunk_cost).sum();
        assert!(last * 12 < all, "{last} of {all} at the end");
    }

    #[test]
    fn the_first_task_is_small_and_waits_for_no_more_files() {
        let mut planner = Planner::new(12);
        let mut files = files(&[40_000; 5]).into_iter();
        let first = files.find_map(|file| planner.add(file)).expect("a task");
        assert!(first.files.len() <= 2, "{first:?}");
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
    fn a_task_has_no_more_bytes_than_its_output_may_have() {
        let chunks = plan(&files(&[1024 * 1024; 500]), 1);
        assert!(chunks.iter().all(|chunk| chunk.bytes <= MAX_BYTES));
        assert!(chunks.iter().any(|chunk| chunk.bytes == MAX_BYTES));
    }

    #[test]
    fn a_task_of_long_paths_stays_small() {
        let file = |i: usize| File {
            path: format!("{i}/{}", "x".repeat(4_000)),
            size: 0,
        };
        let files: Vec<File> = (0..200).map(file).collect();
        for chunk in plan(&files, 1) {
            let paths: usize = chunk.files.iter().map(|f| f.path.len()).sum();
            assert!(paths <= MAX_PATH_BYTES);
        }
    }
}
