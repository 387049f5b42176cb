// What happens to tasks when workers die, freeze, drain or lose their server. Everything here is
// real: the server, the processes and the signals.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readTaskRecord } from "../src/broker/records.js";
import { BOUND_MS, Rig, until } from "./support.js";

const HOUR = 3_600_000;

test("a killed worker does not lose its task", async (t) => {
  const rig = await Rig.start(t);
  const first = await rig.workerProcess("first");
  const id = await rig.submit("query", { command_type: "wait", payload: { ms: 1_000 } });
  await rig.event("started", id);
  await rig.workerProcess("second");
  first.signal("SIGKILL");
  const again = await rig.event("started", id, (event) => event.attempt === 2);
  assert.equal(again.worker_id, "second");
  const result = await rig.result(id);
  assert.deepEqual([result.success, result.attempt, result.worker_id], [true, 2, "second"]);
  await rig.nothingIsLeft();
});

test("a once task of a killed worker is unknown, and is not run again", async (t) => {
  const rig = await Rig.start(t);
  const first = await rig.workerProcess("first");
  const id = await rig.submit("execute", { command_type: "wait", payload: { ms: HOUR } });
  await rig.event("started", id);
  first.signal("SIGKILL");
  await rig.workerProcess("second");
  const result = await rig.result(id);
  assert.deepEqual([result.error_kind, (result.result as { claimed_by: string }).claimed_by], ["unknown", "first"]);
  assert.equal(rig.events.filter((event) => event.kind === "queue.command.started" && event.task_id === id).length, 1);
  await rig.nothingIsLeft();
});

test("a task that outlives its lease many times is delivered once", async (t) => {
  const rig = await Rig.start(t);
  await rig.workerProcess("only");
  const id = await rig.submit("query", { command_type: "wait", payload: { ms: 7_000 } });
  const result = await rig.result(id);
  assert.deepEqual([result.success, result.attempt], [true, 1]);
  assert.equal(rig.events.filter((event) => event.kind === "queue.command.started").length, 1);
  await rig.nothingIsLeft();
});

test("a frozen worker stops its handler when it wakes, and says nothing", async (t) => {
  const rig = await Rig.start(t);
  const frozen = await rig.workerProcess("frozen");
  const id = await rig.submit("query", { command_type: "wait", payload: { ms: 6_000 } });
  await rig.event("started", id);
  frozen.signal("SIGSTOP");
  await rig.workerProcess("second");
  await rig.event("started", id, (event) => event.worker_id === "second");
  frozen.signal("SIGCONT");
  await until("the frozen worker to let go", () => frozen.stderr.includes(`task ${id} was left to its redelivery`));
  const result = await rig.result(id);
  assert.deepEqual([result.worker_id, result.success], ["second", true]);
  // The broker may have delivered it to the frozen worker's waiting pull in between.
  assert.ok(result.attempt >= 2, String(result.attempt));
  await rig.nothingIsLeft();
});

test("a draining worker hands back what it cannot finish, and it costs no attempt", async (t) => {
  const rig = await Rig.start(t);
  const first = await rig.workerProcess("first", { A3S_DRAIN: "0" });
  const headers = { "A3s-Max-Attempts": "1" };
  const id = await rig.submit("query", { command_type: "wait", payload: { ms: 2_000 } }, headers);
  await rig.event("started", id);
  first.signal("SIGTERM");
  assert.equal((await first.ended).code, 0, first.stderr);
  assert.equal((await readTaskRecord(rig.broker, rig.session, id)).record.handed_back, 1);
  await rig.workerProcess("second");
  const result = await rig.result(id);
  assert.deepEqual([result.success, result.attempt, result.worker_id], [true, 1, "second"]);
  await rig.nothingIsLeft();
});

test("a draining worker finishes what it can, and answers for a once task that it stopped", async (t) => {
  const rig = await Rig.start(t);
  const patient = await rig.workerProcess("patient", { A3S_DRAIN: "60", A3S_POOL: "default" });
  const finished = await rig.submit("query", { command_type: "wait", payload: { ms: 1_000 } });
  await rig.event("started", finished);
  patient.signal("SIGTERM");
  assert.equal((await patient.ended).code, 0, patient.stderr);
  assert.deepEqual([(await rig.result(finished)).worker_id, (await rig.result(finished)).success], ["patient", true]);
  const hasty = await rig.workerProcess("hasty", { A3S_DRAIN: "60" });
  const once = await rig.submit("execute", { command_type: "wait", payload: { ms: HOUR } });
  await rig.event("started", once);
  hasty.signal("SIGTERM");
  await until("the drain", () => rig.broker.last("KV_a3s_workers", "$KV.a3s_workers.hasty").then((found) =>
    found && (JSON.parse(Buffer.from(found.body).toString()) as { draining: boolean }).draining));
  // The second signal does not wait for the drain time.
  hasty.signal("SIGTERM");
  const result = await rig.result(once);
  assert.deepEqual([result.error_kind, (result.result as { output: string }).output], ["unknown", "half of it"]);
  assert.equal((await hasty.ended).code, 0, hasty.stderr);
  await rig.nothingIsLeft();
});

test("a server that was killed costs neither task nor worker", async (t) => {
  const rig = await Rig.start(t);
  await rig.workerProcess("w");
  const running = await rig.submit("query", { command_type: "wait", payload: { ms: 1_500 } });
  await rig.event("started", running);
  await rig.restartServer();
  assert.equal((await rig.result(running)).success, true);
  const later = await until("a task to be accepted", () => rig.submit("query", { command_type: "noop" }).catch(() => undefined));
  assert.equal((await rig.result(later)).success, true);
  // A marker is heard over the new connection too.
  const id = await rig.submit("query", { command_type: "wait", payload: { ms: HOUR } });
  await rig.event("started", id);
  const cancelled = await rig.rust("a3s-coordinator", ["task", "cancel", id, "--session", rig.session]).ended;
  assert.equal(cancelled.code, 0, cancelled.stderr);
  assert.equal((await rig.result(id)).error_kind, "cancelled");
  await rig.nothingIsLeft();
});

test("two kinds of workers share the lanes", async (t) => {
  const rig = await Rig.start(t);
  await rig.workerProcess("node", { A3S_LANES: "query" });
  const rust = rig.rust("a3s-worker", ["--worker-id", "rust", "--lanes", "query", "-j", "2"]);
  await until("the Rust worker", () => (rust.stderr + rust.stdout).includes('ready for tasks'));
  const ids = await Promise.all(Array.from({ length: 40 }, () => rig.submit("query", { command_type: "ls", payload: { path: "." } })));
  const by = new Set<string>();
  for (const id of ids) {
    const result = await rig.result(id);
    by.add(result.worker_id);
    // The Node worker has no `ls`, and says so; the Rust one has.
    assert.equal(result.error_kind, result.worker_id === "node" ? "unknown_command" : null, JSON.stringify(result));
  }
  assert.deepEqual([...by].sort(), ["node", "rust"], `both took some within ${BOUND_MS} ms`);
  await rig.nothingIsLeft();
});
