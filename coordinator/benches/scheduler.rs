//! What it costs to decide which task starts next, with few and with many that wait.
//!
//! Guards against regressions only; what a task costs in all is for `cargo xtask bench`. The
//! scheduler is no part of the library's interface, so its files are compiled here once more.

#[path = "../src/boost.rs"]
#[allow(dead_code, reason = "a part of it is measured")]
mod boost;
#[path = "../src/scheduler/mod.rs"]
#[allow(dead_code, reason = "a part of it is measured")]
mod scheduler;

use std::hint::black_box;
use std::time::Duration;

use a3s_shared::protocol::SessionLane;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio::time::Instant;

use boost::Boost;
use scheduler::{Scheduler, Waiting};

/// More than ever start here, so that no lane is full.
const CAP: usize = 1_000_000;

fn waiting(now: Instant, number: u64) -> Waiting<u64> {
    Waiting {
        item: number,
        submitted: now,
        deadline: now + Duration::from_mins(1),
        holds_slot: true,
    }
}

/// A scheduler in which so many tasks wait, evenly over the lanes.
fn filled(now: Instant, tasks: u64, boost: Boost) -> Scheduler<u64> {
    let mut scheduler = Scheduler::new([CAP; 4], boost, None);
    for (number, lane) in (0..tasks).zip(SessionLane::ALL.into_iter().cycle()) {
        let _ = scheduler.push(lane, waiting(now, number));
    }
    scheduler
}

/// One task comes, the next one starts, one ends: the queue keeps its length.
fn turns(c: &mut Criterion) {
    let boosts = [
        ("plain", Boost::default()),
        ("boosted", Boost::standard(Duration::from_mins(5))),
    ];
    let mut group = c.benchmark_group("turn");
    for (name, boost) in boosts {
        for tasks in [0_u64, 1_000, 10_000] {
            let now = Instant::now();
            let mut scheduler = filled(now, tasks, boost);
            group.bench_function(BenchmarkId::new(name, tasks), |b| {
                b.iter(|| {
                    let _ = scheduler.push(SessionLane::Query, waiting(now, 0));
                    if let Some((lane, task)) = scheduler.next(black_box(now)) {
                        scheduler.finish(lane, task.holds_slot);
                    }
                });
            });
        }
    }
}

/// Looking for what is late, when nothing is.
fn expiry(c: &mut Criterion) {
    let now = Instant::now();
    let mut scheduler = filled(now, 10_000, Boost::default());
    c.bench_function("expire/none of 10000", |b| {
        b.iter(|| scheduler.expire(black_box(now)));
    });
}

criterion_group!(benches, turns, expiry);
criterion_main!(benches);
