//! What a search cost and found, for `--stats`. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::request::Found;

/// Sums over all tasks.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Lines with a match.
    matches: u64,
    matched_files: u64,
    files: u64,
    bytes: u64,
    tasks: u64,
    workers: BTreeMap<String, Share>,
}

/// What one worker did.
#[derive(Debug, Default)]
struct Share {
    tasks: u64,
    milliseconds: u64,
}

impl Stats {
    /// Adds a task: what it found in how many bytes, and which worker took how long.
    pub(crate) fn add(&mut self, found: &Found, bytes: u64, worker: &str, milliseconds: u64) {
        self.matches += found.matched_lines;
        self.matched_files += found.files_matched;
        self.files += found.files_searched;
        self.bytes += bytes;
        self.tasks += 1;
        let share = self.workers.entry(worker.to_owned()).or_default();
        share.tasks += 1;
        share.milliseconds += milliseconds;
    }

    /// A line on all, and one for each worker.
    pub(crate) fn report(&self, elapsed: Duration) -> String {
        let mut report = format!(
            "{} matches in {} files; searched {} files, {} MiB, in {} tasks and {:.3} s",
            self.matches,
            self.matched_files,
            self.files,
            self.bytes / (1024 * 1024),
            self.tasks,
            elapsed.as_secs_f64(),
        );
        for (worker, share) in &self.workers {
            let seconds = Duration::from_millis(share.milliseconds).as_secs_f64();
            let tasks = share.tasks;
            report.push_str(&format!(
                "\n  worker {worker}: {tasks} tasks, {seconds:.3} s"
            ));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tasks_add_up_and_workers_are_told_apart() {
        let found = json!({"files_searched": 10, "files_matched": 2, "matched_lines": 3});
        let found = Found::read(found).expect("a result");
        let mut stats = Stats::default();
        stats.add(&found, 1024 * 1024, "w1", 1_000);
        stats.add(&found, 1024 * 1024, "w2", 500);
        stats.add(&found, 0, "w1", 250);
        assert_eq!(
            stats.report(Duration::from_millis(1_500)),
            "9 matches in 6 files; searched 30 files, 2 MiB, in 3 tasks and 1.500 s\n  \
             worker w1: 2 tasks, 1.250 s\n  worker w2: 1 tasks, 0.500 s"
        );
    }
}
