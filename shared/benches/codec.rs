//! What each message costs to write and to read: bodies and headers, no I/O.
//!
//! Guards against regressions only; what a task costs in all is for `cargo xtask bench`.

use std::hint::black_box;

use a3s_shared::protocol::{
    Effect, Encoding, ExternalTask, RetryPolicy, SessionLane, TaskBody, TaskHeaders, TaskResult,
    Token, clock,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

const ENCODINGS: [Encoding; 2] = [Encoding::MessagePack, Encoding::Json];
const SIZES: [usize; 3] = [256, 4 * 1024, 64 * 1024];

fn task(bytes: usize) -> ExternalTask {
    ExternalTask {
        task_id: Token::unique().into(),
        session_id: "abc123".to_owned(),
        lane: SessionLane::Query,
        command_type: "grep".to_owned(),
        payload: json!({"pattern": "fn main", "path": "x".repeat(bytes), "-i": true}),
        timeout_ms: 60_000,
        deadline_ms: clock::now_ms() + 60_000,
    }
}

fn result(bytes: usize) -> TaskResult {
    TaskResult {
        task_id: Token::unique().into(),
        session_id: "abc123".to_owned(),
        lane: SessionLane::Query,
        command_type: "grep".to_owned(),
        success: true,
        result: json!({"output": "x".repeat(bytes), "exit_code": 0}),
        error: None,
        error_kind: None,
        attempt: 1,
        worker_id: format!("w-{}", Token::unique()),
        started_at_ms: clock::now_ms(),
        duration_ms: 3,
    }
}

fn tasks(c: &mut Criterion) {
    let mut group = c.benchmark_group("task");
    for (encoding, size) in matrix() {
        let task = task(size);
        let body = encoding.encode(&task);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new(format!("write {encoding}"), size), |b| {
            b.iter(|| encoding.encode(black_box(&task)));
        });
        group.bench_function(BenchmarkId::new(format!("read {encoding}"), size), |b| {
            b.iter(|| encoding.decode::<TaskBody>(black_box(&body)));
        });
    }
}

fn results(c: &mut Criterion) {
    let mut group = c.benchmark_group("result");
    for (encoding, size) in matrix() {
        let result = result(size);
        let body = encoding.encode(&result);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new(format!("write {encoding}"), size), |b| {
            b.iter(|| encoding.encode(black_box(&result)));
        });
        group.bench_function(BenchmarkId::new(format!("read {encoding}"), size), |b| {
            b.iter(|| encoding.decode::<TaskResult>(black_box(&body)));
        });
    }
}

fn headers(c: &mut Criterion) {
    let headers = TaskHeaders {
        message_id: Some(format!("abc123.{}", Token::unique())),
        reply_to: Some(format!("a3s.abc123.result.{}", Token::unique())),
        deadline_ms: Some(clock::now_ms()),
        retry: Some(RetryPolicy::default()),
        effect: Some(Effect::Idempotent),
        content_type: Some(Encoding::MessagePack.content_type().to_owned()),
        traceparent: None,
        blob: None,
        workspace: None,
    };
    let pairs = headers.clone().into_pairs();
    c.bench_function("headers/write", |b| {
        b.iter(|| black_box(&headers).clone().into_pairs());
    });
    c.bench_function("headers/read", |b| {
        b.iter(|| TaskHeaders::read(pairs.iter().map(|(name, value)| (*name, value.as_str()))));
    });
    c.bench_function("id/new", |b| b.iter(Token::unique));
}

fn matrix() -> impl Iterator<Item = (Encoding, usize)> {
    ENCODINGS
        .into_iter()
        .flat_map(|encoding| SIZES.map(|size| (encoding, size)))
}

criterion_group!(benches, tasks, results, headers);
criterion_main!(benches);
