//! Reading a ledger: the files of a directory become one account a task.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;

use super::lines::{AtTheEnd, Event, Run, Submit, View};
use super::{Account, BROKER, Execution, FAULTS, Ledger, RUN, SUBMITS, TOLD};

/// Reads one JSON file of the ledger in `dir`.
pub(crate) fn json<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T> {
    let path = dir.join(name);
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} makes no sense", path.display()))
}

/// The lines of a journal that can be read, and how many cannot; none when there is no file.
pub(crate) fn journal<T: DeserializeOwned>(dir: &Path, name: &str) -> (Vec<T>, usize) {
    let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty());
    let (read, torn): (Vec<_>, Vec<_>) = lines.map(serde_json::from_str).partition(Result::is_ok);
    (
        read.into_iter().filter_map(Result::ok).collect(),
        torn.len(),
    )
}

impl Ledger {
    /// Reads the ledger of a run that is over.
    ///
    /// # Errors
    /// When a file is missing that every run has.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let run: Run = json(dir, RUN)?;
        let mut ledger = Self {
            run,
            ..Self::default()
        };
        let (submits, torn) = journal(dir, SUBMITS);
        ledger.torn += torn;
        ledger.take_submits(submits);
        let (told, torn) = journal::<View>(dir, TOLD);
        ledger.torn += torn;
        for view in told {
            ledger.of(&view.task.clone()).views.push(view);
        }
        let (events, torn) = journal(dir, FAULTS);
        ledger.torn += torn;
        ledger.take_events(events);
        ledger.take_executions(dir)?;
        ledger.take_end(json(dir, BROKER)?);
        Ok(ledger)
    }

    fn of(&mut self, task: &str) -> &mut Account {
        self.tasks.entry(task.to_owned()).or_default()
    }

    fn take_submits(&mut self, submits: Vec<Submit>) {
        for submit in submits {
            match submit {
                Submit::Began { at_ms } => self.end_open_submits(at_ms),
                Submit::Intent { task, at_ms } => self.of(&task).intents_ms.push(at_ms),
                Submit::Sent { task, at_ms } => {
                    let account = self.of(&task);
                    account.last_submit_ms = account.last_submit_ms.max(at_ms);
                }
                Submit::Accepted { task, at_ms } => {
                    self.of(&task).accepted_ms.get_or_insert(at_ms);
                }
                Submit::Ended(view) => {
                    let account = self.of(&view.task);
                    account.views.push(view);
                }
                Submit::Trouble { task, error, .. } => self.of(&task).troubles.push(error),
            }
        }
    }

    /// What was intended and not known to be sent may have been sent until the process ended.
    fn end_open_submits(&mut self, at_ms: u64) {
        for account in self.tasks.values_mut() {
            let open = account
                .intents_ms
                .last()
                .is_some_and(|&intent| account.last_submit_ms < intent);
            if open {
                account.last_submit_ms = at_ms;
            }
        }
    }

    fn take_events(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Struck(struck) => self.faults.push(struck),
                Event::Worker(life) => self.workers.push(life),
            }
        }
        self.faults.sort_by_key(|struck| struck.from_ms);
    }

    /// Reads what the tool wrote: `start|end TASK RUN WORKER-PID MICROSECONDS STATUS`.
    fn take_executions(&mut self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with("attempts.") {
                continue;
            }
            // What is judged is what is on the disk.
            let path = dir.join(&name);
            let synced = fs::File::open(&path).and_then(|file| file.sync_all());
            let text = synced
                .and_then(|()| fs::read_to_string(&path))
                .with_context(|| format!("cannot read {name}"))?;
            for line in text.lines() {
                if self.take_execution(line).is_none() {
                    self.torn += 1;
                }
            }
        }
        for account in self.tasks.values_mut() {
            account
                .executions
                .sort_by_key(|execution| execution.start_ms);
        }
        Ok(())
    }

    fn take_execution(&mut self, line: &str) -> Option<()> {
        let [what, task, run, pid, at_us, status] =
            line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let at_ms = at_us.parse::<u64>().ok()? / 1_000;
        let executions = &mut self.of(task).executions;
        match what {
            "start" => executions.push(Execution {
                run: run.to_owned(),
                worker_pid: pid.parse().ok()?,
                start_ms: at_ms,
                end: None,
            }),
            // Its start is above: the same process wrote it into the same file.
            "end" => {
                let begun = executions
                    .iter_mut()
                    .find(|execution| execution.run == run)?;
                begun.end = Some((at_ms, status.parse().ok()?));
            }
            _ => return None,
        }
        Some(())
    }

    fn take_end(&mut self, end: AtTheEnd) {
        for stored in end.results {
            let account = self.of(&stored.task);
            account.stored = Some(stored);
        }
        for letter in end.letters {
            let account = self.of(&letter.task);
            account.letter = Some(letter);
        }
        self.left = end.left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_counted_and_costs_no_other_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).expect("a file");
        };
        write(RUN, &serde_json::to_string(&Run::default()).expect("json"));
        write(
            BROKER,
            &serde_json::to_string(&AtTheEnd::default()).expect("json"),
        );
        write(
            SUBMITS,
            "\n{\"what\":\"intent\",\"task\":\"t0\",\"at_ms\":5}\n{\"what\":\"int\n\
             {\"what\":\"began\",\"at_ms\":9}\n",
        );
        write(
            "attempts.7.log",
            "start t0 a-1 7 1000000 -\nend t0 a-1 7 2000000 3\nstart t0 b",
        );
        let ledger = Ledger::read(dir.path()).expect("a ledger");
        let account = &ledger.tasks["t0"];
        assert_eq!(ledger.torn, 2);
        assert_eq!(
            (account.intents_ms.as_slice(), account.last_submit_ms),
            (&[5][..], 9)
        );
        assert_eq!(account.executions[0].end, Some((2_000, 3)));
    }
}
