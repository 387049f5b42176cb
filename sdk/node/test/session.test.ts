// A caller's session: with Rust workers, with Node workers, and without any.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { Reject, Session, type Event, type SessionOptions } from "../src/index.js";
import { Rig, until } from "./support.js";

const HOUR = 3_600_000;

async function open(rig: Rig, t: { after(then: () => Promise<void>): void }, options: SessionOptions = {}): Promise<Session> {
  const session = await Session.open({ servers: rig.url, sessionId: rig.session, ...options });
  t.after(() => session.close());
  return session;
}

test("a Rust worker runs what a Node caller submits, in both encodings, small and large", async (t) => {
  const rig = await Rig.start(t);
  const text = "0123456789abcdef\n".repeat(40_000);
  await writeFile(join(rig.directory, "large.txt"), text);
  const rust = rig.rust("a3s-worker", ["--worker-id", "rust"]);
  await until("the Rust worker", () => (rust.stderr + rust.stdout).includes('ready for tasks'));
  for (const encoding of ["messagepack", "json"] as const) {
    const session = await open(rig, t, { external: true, encoding, sessionId: `${rig.session}-${encoding}` });
    const read = await (await session.submitByTool("read", { commandType: "read", payload: { path: "large.txt" } })).result();
    assert.deepEqual([read.success, read.worker_id, read.lane], [true, "rust", "Query"], read.error ?? "");
    const content = "x".repeat(600_000);
    const write = await (await session.submitByTool("write", { commandType: "write", payload: { path: `${encoding}.txt`, content } })).result();
    assert.deepEqual([write.success, (write.result as { bytes: number }).bytes, write.lane], [true, 600_000, "Execute"], write.error ?? "");
    const failed = await (await session.submitByTool("bash", { commandType: "bash", payload: { command: "exit 7" } })).result();
    assert.deepEqual([failed.success, failed.error_kind, (failed.result as { exit_code: number }).exit_code], [false, null, 7]);
  }
  await rig.nothingIsLeft();
});

test("lanes hold what is too much, and statistics and metrics say so", async (t) => {
  const rig = await Rig.start(t);
  const session = await open(rig, t, { maxConcurrency: { Query: 2 } });
  await session.setLaneHandler("Query", { mode: "External", timeoutMs: 120_000 });
  assert.deepEqual(await session.getLaneHandler("query"), { mode: "External", timeoutMs: 120_000 });
  const handles = [];
  for (let at = 0; at < 5; at += 1) handles.push(await session.submit("Query", { commandType: "echo", payload: at }));
  const stats = await until("two at the broker", async () => {
    const now = await session.queueStats();
    return (await rig.broker.jsm.streams.info(rig.broker.names.tasks)).state.messages === 2 && now;
  });
  assert.deepEqual([stats.pendingCount, stats.activeCount, stats.externalCount, stats.perLane.Query.handlerMode], [3, 2, 2, "External"]);
  await rig.worker({ echo: (task) => ({ output: task.payload as number }) });
  const outputs = await Promise.all(handles.map(async (handle) => (await handle.result()).result));
  assert.deepEqual(outputs, [0, 1, 2, 3, 4].map((output) => ({ output })));
  const metrics = await until("five ends", async () => {
    const now = await session.queueMetrics();
    return now.totalProcessed === 5 && now;
  });
  assert.deepEqual([metrics.successRate, metrics.counters["lane.commands.completed.query"]], [1, 5]);
  assert.ok(metrics.p95Latency >= metrics.avgLatency * 0.5 && metrics.p95Latency > 0);
  assert.deepEqual((await session.queueStats()).totalActive, 0);
  await rig.nothingIsLeft();
});

test("a lane that is Internal runs here, and Hybrid tells of it", async (t) => {
  const rig = await Rig.start(t);
  const session = await open(rig, t);
  const command = { commandType: "sum", payload: {}, execute: () => ({ output: 3 }) };
  assert.deepEqual((await (await session.submit("Query", command)).result()).result, { output: 3 });
  const lost = await (await session.submit("Query", { commandType: "sum" })).result();
  assert.match(lost.error ?? "", /set its lane to External/);
  await session.setLaneHandler("Query", { mode: "Hybrid" });
  const heard: Event[] = [];
  const listening = (async () => { for await (const event of session.events()) heard.push(event); })();
  await rig.nc.flush();
  const failing = await session.submit("Query", { commandType: "sum", execute: () => { throw new Error("no"); } });
  assert.deepEqual([(await failing.result()).success, (await failing.result()).error], [false, "no"]);
  await until("three events", () => heard.filter((event) => event.task_id === failing.taskId).length === 3);
  assert.deepEqual(heard.filter((event) => event.task_id === failing.taskId).map((event) => [event.kind, event.error]),
    [["queue.command.submitted", undefined], ["queue.command.started", undefined], ["queue.command.failed", "no"]]);
  await session.close();
  await listening;
});

test("external tasks can be handled in this process, by a callback or by polling", async (t) => {
  const rig = await Rig.start(t);
  const session = await open(rig, t, { external: true });
  session.setExternalTaskHandler((task) => Promise.resolve({ success: true, result: { output: `handled ${task.id}` } }));
  const first = await session.submit("Query", { commandType: "read", taskId: "first" });
  assert.deepEqual((await first.result()).result, { output: "handled first" });
  session.setExternalTaskHandler(undefined);
  assert.deepEqual(await session.pendingExternalTasks(), []);
  const second = await session.submit("Query", { commandType: "read", taskId: "second" });
  const [task] = await session.pendingExternalTasks();
  assert.equal(task?.taskId, "second");
  assert.deepEqual(await session.pendingExternalTasks(), [], "two pollers never get the same task");
  assert.equal(await session.completeExternalTask("second", { success: false, result: {}, error: "no" }), true);
  assert.equal(await session.completeExternalTask("second", { success: true }), false);
  assert.equal((await second.result()).error, "no");
});

test("a cancelled task ends wherever it is", async (t) => {
  const rig = await Rig.start(t);
  await rig.workerProcess("w");
  const session = await open(rig, t, { external: true, maxConcurrency: { Query: 1 } });
  const running = await session.submit("Query", { commandType: "wait", payload: { ms: HOUR } });
  const waiting = await session.submit("Query", { commandType: "wait", payload: { ms: HOUR } });
  await rig.event("started", running.taskId);
  assert.equal(await session.cancel(waiting.taskId), true);
  assert.deepEqual([(await waiting.result()).error_kind, (await waiting.result()).attempt], ["cancelled", 0]);
  assert.equal(await session.cancel(running.taskId), true);
  const result = await running.result();
  assert.deepEqual([result.error_kind, result.worker_id, (result.result as { output: string }).output], ["cancelled", "w", "half of it"]);
  assert.equal(await session.cancel("nobody-knows-it"), false);
  await rig.nothingIsLeft();
});

test("nobody answers: the caller does, and takes the task back", async (t) => {
  const rig = await Rig.start(t);
  const session = await open(rig, t, { external: true });
  const late = await (await session.submit("Query", { commandType: "read", timeoutMs: 300 })).result();
  assert.deepEqual([late.error_kind, late.worker_id], ["timed_out", "coordinator"]);
  const cancelled = await session.submit("Query", { commandType: "read" });
  await until("it to be accepted", async () => (await rig.broker.jsm.streams.info(rig.broker.names.tasks)).state.messages === 1);
  await session.cancel(cancelled.taskId);
  assert.equal((await cancelled.result()).error_kind, "cancelled");
  await rig.nothingIsLeft();
});

test("dead letters are the session's, and a result is found again under its id", async (t) => {
  const rig = await Rig.start(t);
  let runs = 0;
  await rig.worker({ picky: () => { throw new Reject("never"); }, count: () => { runs += 1; return { runs }; } });
  const session = await open(rig, t, { external: true });
  const picky = await (await session.submit("Query", { commandType: "picky", payload: { a: 1 } })).result();
  assert.equal(picky.error_kind, "dead_lettered");
  assert.deepEqual((await session.deadLetters()).map((letter) => [letter.task_id, letter.error, letter.payload]), [[picky.task_id, "never", { a: 1 }]]);
  await (await session.submit("Query", { commandType: "count", taskId: "named" })).result();
  assert.deepEqual((await session.result("named"))?.result, { runs: 1 });
  assert.deepEqual((await (await session.submit("Query", { commandType: "count", taskId: "named" })).result()).result, { runs: 1 });
  assert.equal(runs, 1);
  const replayed = await rig.rust("a3s-coordinator", ["dlq", "ls", "--json"]).ended;
  assert.match(replayed.stdout, new RegExp(picky.task_id), replayed.stderr);
});

test("a caller hears its results after the server was killed", async (t) => {
  const rig = await Rig.start(t);
  await rig.workerProcess("w");
  const session = await open(rig, t, { external: true });
  const handle = await session.submit("Query", { commandType: "wait", payload: { ms: 1_500 } });
  await rig.event("started", handle.taskId);
  await rig.restartServer();
  assert.equal((await handle.result()).success, true);
});

test("a session with workers of its own has them alone, at most its concurrency", async (t) => {
  const rig = await Rig.start(t);
  const session = await open(rig, t, { own: true, external: true, maxConcurrency: { Query: 2 } });
  await assert.rejects(Session.open({ servers: rig.url, sessionId: rig.session, pool: "eu" }), /exists with the route "own"/);
  let [running, most] = [0, 0];
  await rig.worker({
    work: async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setTimeout(resolve, 50));
      running -= 1;
      return {};
    },
  }, { sessionId: rig.session, concurrency: 4 });
  const handles = await Promise.all(Array.from({ length: 8 }, () => session.submit("Query", { commandType: "work" })));
  for (const handle of handles) assert.equal((await handle.result()).success, true);
  assert.equal(most, 2);
  await rig.nothingIsLeft();
});

test("what cannot be submitted is refused before anything is sent", async (t) => {
  const rig = await Rig.start(t);
  const session = await open(rig, t, { external: true });
  await assert.rejects(session.submit("Quer" as "Query", { commandType: "x" }), /unknown lane "Quer"/);
  await assert.rejects(session.submit("Query", { commandType: "x", taskId: "a.b" }), /invalid task id/);
  await assert.rejects(session.submit("Query", { commandType: "x", timeoutMs: 0 }), /invalid timeout 0 ms/);
  const handle = await session.submit("Query", { commandType: "x", taskId: "same" });
  await assert.rejects(session.submit("Query", { commandType: "x", taskId: "same" }), /under way already/);
  await session.close();
  await assert.rejects(handle.result(), /was closed before task same ended/);
  await assert.rejects(session.submit("Query", { commandType: "x" }), /is closed/);
});
