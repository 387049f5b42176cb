//! What is measured: a base point, and from it one axis at a time.

use serde::Serialize;

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Cell {
    /// What `--only` is compared with.
    pub(crate) name: String,
    /// Tasks submitted and not yet answered.
    pub(crate) in_flight: usize,
    /// Worker processes.
    pub(crate) workers: usize,
    /// Bytes of a task's body.
    pub(crate) body: usize,
    /// Whether bodies are JSON instead of MessagePack.
    pub(crate) json: bool,
    /// Sessions, to which tasks go in turn.
    pub(crate) sessions: usize,
    /// One task in so many milliseconds, instead of as many as can be.
    pub(crate) every_ms: Option<u64>,
}

/// The base point.
pub(super) fn base() -> Cell {
    Cell {
        name: String::new(),
        in_flight: 64,
        workers: 1,
        body: 256,
        json: false,
        sessions: 1,
        every_ms: None,
    }
}

fn cell(name: &str, change: impl FnOnce(&mut Cell)) -> Cell {
    let mut cell = base();
    name.clone_into(&mut cell.name);
    change(&mut cell);
    cell
}

/// All measurements; a `quick` run leaves out the one that takes longest to set up.
pub(crate) fn cells(quick: bool) -> Vec<Cell> {
    let mut cells = vec![
        cell("64 in flight", |_| {}),
        cell("1 in flight", |c| c.in_flight = 1),
        cell("16 in flight", |c| c.in_flight = 16),
        cell("512 in flight", |c| c.in_flight = 512),
        cell("4 workers", |c| c.workers = 4),
        cell("4 KiB", |c| c.body = 4 * 1024),
        cell("64 KiB", |c| c.body = 64 * 1024),
        cell("JSON", |c| c.json = true),
        cell("100 sessions", |c| c.sessions = 100),
        cell("one every 50 ms", |c| {
            c.in_flight = 1;
            c.every_ms = Some(50);
        }),
    ];
    if !quick {
        cells.push(cell("10000 sessions", |c| c.sessions = 10_000));
    }
    cells
}

/// The backlogs that workers are to drain.
pub(crate) fn backlogs(quick: bool) -> &'static [u64] {
    if quick {
        &[10_000, 100_000]
    } else {
        &[10_000, 100_000, 1_000_000]
    }
}
