// What a worker does with tasks, against a real server.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { deadLetters } from "../src/broker/dead_letters.js";
import { putBlob } from "../src/broker/blobs.js";
import { readTaskRecord, writeMarker, writeTaskRecord } from "../src/broker/records.js";
import { scan } from "../src/broker/scan.js";
import { encode } from "../src/wire/encoding.js";
import { EMPTY_RECORD } from "../src/wire/record.js";
import { Reject, Retry, Worker, type ExternalTask } from "../src/index.js";
import { executeTask } from "./reference.js";
import { BOUND_MS, Rig, Server, until } from "./support.js";

test("a task is answered in the encoding that it came in", async (t) => {
  const rig = await Rig.start(t);
  await rig.worker({ echo: (task) => task.payload as unknown });
  const payload = { text: "žluť", big: 18446744073709551615n, list: [1, 2.5, null] };
  for (const encoding of ["json", "messagepack"] as const) {
    const id = `in-${encoding}`;
    await rig.submit("query", encode(encoding, { task_id: id, command_type: "echo", payload }), { "A3s-Reply-To": "" });
    const result = await rig.result(id);
    assert.deepEqual([result.success, result.result, result.attempt], [true, payload, 1]);
    const stored = await rig.broker.last(rig.broker.names.results, rig.broker.names.result(rig.session, id));
    assert.match(stored?.header("Content-Type") ?? "", encoding === "json" ? /json/ : /msgpack/);
  }
  await rig.nothingIsLeft();
});

test("the reference's function runs unchanged, whatever key style it uses", async (t) => {
  const rig = await Rig.start(t);
  const file = join(rig.directory, "hello.txt");
  await writeFile(file, "hello\n");
  await rig.worker({ read: executeTask, bash: executeTask, other: executeTask });
  const read = await rig.result(await rig.submit("query", { command_type: "read", payload: { path: file } }));
  assert.deepEqual([read.success, read.result], [true, { content: "hello\n" }]);
  const failed = await rig.result(await rig.submit("execute", { command_type: "bash", payload: { command: "echo out; exit 3" } }));
  assert.deepEqual([failed.success, failed.result, failed.error_kind], [false, { stdout: "out\n", stderr: "", exitCode: 3 }, null]);
  const other = await rig.result(await rig.submit("query", { command_type: "other" }));
  assert.equal(other.error, "Unknown command type: other");
  assert.equal(await seen(rig, (task) => [task.id, task.task_id, task.taskId, Reflect.get(task, "id")].every((id) => id === task.task_id)), true);
  assert.equal(await seen(rig, (task) => task.commandType === task.command_type && task.sessionId === task.session_id), true);
  assert.equal(await seen(rig, (task) => task.remainingMs() > 0 && task.remaining_ms() <= task.timeoutMs && !task.isTimedOut()), true);
});

/** What a handler sees of a task. */
async function seen(rig: Rig, look: (task: ExternalTask) => unknown): Promise<unknown> {
  const tool = `look-${rig.events.length}-${Math.random().toString(36).slice(2)}`;
  await rig.worker({ [tool]: (task) => ({ seen: look(task) }) }, { pool: tool });
  const result = await rig.result(await rig.submit(`query.${tool}`, { command_type: tool }));
  return (result.result as { seen: unknown }).seen;
}

test("a command that no tool has says which there are", async (t) => {
  const rig = await Rig.start(t);
  await rig.worker({ read: () => ({}), grep: () => ({}) });
  const result = await rig.result(await rig.submit("query", { command_type: "fly" }));
  assert.deepEqual([result.error_kind, result.error], ["unknown_command", "Unknown command type: fly; this worker has grep, read"]);
  await rig.nothingIsLeft();
});

test("what is said of a tool is told to whoever asks", async (t) => {
  const rig = await Rig.start(t);
  const worker = await rig.worker({ plain: () => ({}) });
  const info = { description: "Reviews a file.", input_schema: { type: "object" }, annotations: { read_only: true } };
  const ask = async (): Promise<Record<string, unknown>> =>
    (await rig.nc.request(`a3s.worker.${worker.id}`, "", { timeout: BOUND_MS })).json();
  const before = await ask();
  assert.deepEqual([before.tool_info, before.tool_digest], [{}, undefined]);
  worker.tool("review", () => ({}), info);
  const after = await ask();
  assert.deepEqual([after.tools, after.tool_info], [["plain", "review"], { review: info }]);
  assert.match(String(after.tool_digest), /^[0-9a-f]{16}$/);
});

test("a task that names a workspace is refused, and not run elsewhere", async (t) => {
  const rig = await Rig.start(t);
  let calls = 0;
  await rig.worker({ read: () => { calls += 1; return {}; } });
  const result = await rig.result(await rig.submit("query", { command_type: "read" }, { "A3s-Workspace": "00".repeat(32) }));
  assert.deepEqual([result.success, result.error_kind, calls], [false, "refused", 0]);
  assert.match(result.error ?? "", /--sync/);
  await rig.nothingIsLeft();
});

test("a handler has another attempt when it asks for one, and its notes are kept", async (t) => {
  const rig = await Rig.start(t);
  await rig.worker({
    flaky: (task) => {
      if (task.attempt < 3) throw new Retry(`busy ${task.attempt}`);
      return { output: "at last" };
    },
  });
  for (const lane of ["query", "execute"]) {
    const headers = { "A3s-Max-Attempts": "3", "A3s-Retry-Delay": "fixed:10" };
    const id = await rig.submit(lane, { command_type: "flaky" }, headers);
    const result = await rig.result(id);
    assert.deepEqual([result.success, result.attempt], [true, 3], lane);
    const { record } = await readTaskRecord(rig.broker, rig.session, id);
    assert.deepEqual(record.attempts.map((note) => note.error), ["busy 1", "busy 2"]);
    await rig.event("retry", id);
  }
  await rig.nothingIsLeft();
});

test("a task whose attempts are used up, or that can never succeed, is a dead letter", async (t) => {
  const rig = await Rig.start(t);
  await rig.worker({ flaky: () => { throw new Retry("busy"); }, picky: () => { throw new Reject("no such world"); } });
  const headers = { "A3s-Max-Attempts": "2", "A3s-Retry-Delay": "fixed:10" };
  const flaky = await rig.submit("query", { command_type: "flaky", payload: { a: 1 } }, headers);
  const picky = await rig.submit("query", { command_type: "picky" });
  assert.deepEqual([(await rig.result(flaky)).error_kind, (await rig.result(picky)).error_kind], ["dead_lettered", "dead_lettered"]);
  const letters = await deadLetters(rig.broker, rig.session);
  const letter = letters.find((found) => found.task_id === flaky);
  assert.deepEqual([letter?.error, letter?.attempts, letter?.payload, letter?.history.length], ["busy (attempt 2 of 2)", 2, { a: 1 }, 1]);
  assert.deepEqual(letter?.headers.find(([name]) => name === "A3s-Max-Attempts"), ["A3s-Max-Attempts", "2"]);
  assert.deepEqual(JSON.parse(Buffer.from(letter.body, "base64").toString()), { task_id: flaky, command_type: "flaky", payload: { a: 1 } });
  assert.equal(letters.find((found) => found.task_id === picky)?.error, "no such world");
  await rig.nothingIsLeft();
});

test("what cannot be read is buried with the reason", async (t) => {
  const rig = await Rig.start(t);
  await rig.worker({ read: () => ({}) });
  const bad: [string, RegExp][] = [
    ["{", /not valid JSON/],
    [JSON.stringify({ payload: 1 }), /no command_type/],
    [JSON.stringify({ command_type: "read", session_id: "other" }), /not the subject's/],
    [JSON.stringify({ command_type: "read", task_id: "a.b" }), /invalid task id/],
  ];
  for (const [at, [body, reason]] of bad.entries()) {
    const id = `bad-${at}`;
    await rig.submit("query", body, { "A3s-Reply-To": rig.broker.names.result(rig.session, id) });
    const result = await rig.result(id);
    assert.deepEqual([result.error_kind, result.command_type, result.attempt], ["dead_lettered", "", 0]);
    assert.match(result.error ?? "", reason);
  }
  await rig.submit("query", "", { "A3s-Reply-To": "", "A3s-Blob": "sha256-00.gone" });
  const letters = await until("five letters", async () => {
    const found = await deadLetters(rig.broker, rig.session);
    return found.length === 5 && found;
  });
  assert.match(letters.at(-1)?.task_id ?? "", /^t\d+$/);
  await rig.nothingIsLeft();
});

test("a handler is stopped at the deadline, and what it had by then is kept", async (t) => {
  const rig = await Rig.start(t);
  const heard: unknown[] = [];
  await rig.worker({
    slow: (task) => new Promise((resolve) => {
      task.signal.addEventListener("abort", () => {
        heard.push(task.signal.reason, task.isTimedOut());
        resolve({ output: "half" });
      });
    }),
    deaf: () => new Promise(() => undefined),
  });
  const slow = await rig.result(await rig.submit("query", { command_type: "slow", timeout_ms: 300 }));
  assert.deepEqual([slow.error_kind, slow.error, slow.result], ["timed_out", "timed out after 300 ms", { output: "half" }]);
  assert.deepEqual(heard, ["deadline", true]);
  const deaf = await rig.result(await rig.submit("query", { command_type: "deaf", timeout_ms: 100 }));
  assert.deepEqual([deaf.error_kind, deaf.result], ["timed_out", {}]);
  const late = await rig.result(await rig.submit("query", { command_type: "slow" }, { "A3s-Deadline": "1" }));
  assert.deepEqual([late.error_kind, late.attempt], ["timed_out", 0]);
  await rig.nothingIsLeft();
});

test("a cancelled task is stopped where it runs, and not started where it waits", async (t) => {
  const rig = await Rig.start(t);
  let started = 0;
  await rig.worker({
    wait: (task) => new Promise((resolve) => {
      started += 1;
      task.signal.addEventListener("abort", () => { resolve({ output: task.signal.reason as string }); });
    }),
  }, { concurrency: 1 });
  const running = await rig.submit("query", { command_type: "wait" });
  const waiting = await rig.submit("query", { command_type: "wait" });
  await rig.event("started", running);
  const deadline = Date.now() + 60_000;
  await writeMarker(rig.broker, rig.session, waiting, "no need", deadline);
  await writeMarker(rig.broker, rig.session, running, "no need", deadline);
  const stopped = await rig.result(running);
  assert.deepEqual([stopped.error_kind, stopped.result, stopped.attempt], ["cancelled", { output: "cancelled" }, 1]);
  const never = await rig.result(waiting);
  assert.deepEqual([never.error_kind, never.error, never.attempt], ["cancelled", "cancelled before it was started: no need", 0]);
  assert.equal(started, 1);
  // A marker that was there before the worker was.
  const later = await rig.submit("query.later", { command_type: "wait" });
  await writeMarker(rig.broker, rig.session, later, "", deadline);
  await rig.worker({ wait: () => ({}) }, { pool: "later" });
  assert.equal((await rig.result(later)).error, "cancelled before it was started");
  await rig.nothingIsLeft();
});

test("a once task has its claim before it starts, and one that was claimed is never run again", async (t) => {
  const rig = await Rig.start(t);
  const claims: unknown[] = [];
  await rig.worker({
    pay: async (task) => {
      claims.push((await readTaskRecord(rig.broker, rig.session, task.id)).record.claim?.worker_id);
      return {};
    },
  }, { workerId: "payer" });
  assert.equal((await rig.result(await rig.submit("execute", { command_type: "pay" }))).success, true);
  assert.deepEqual(claims, ["payer"]);
  // Delivered for the first time while somebody else has claimed it: the compare-and-set refuses.
  const claim = { worker_id: "gone", attempt: 1, at_ms: 1 };
  await writeTaskRecord(rig.broker, rig.session, "twice", { ...EMPTY_RECORD, claim }, 0, Date.now() + 60_000);
  await rig.submit("execute", { task_id: "twice", command_type: "pay" });
  const result = await rig.result("twice");
  assert.deepEqual([result.error_kind, result.result], ["unknown", { claimed_by: "gone", attempt: 1, claimed_at_ms: 1 }]);
  assert.equal(claims.length, 1);
  await rig.nothingIsLeft();
});

test("large bodies go through the object store, both ways", async (t) => {
  const rig = await Rig.start(t);
  await rig.worker({ echo: (task) => task.payload as unknown });
  const payload = { text: "x".repeat(700_000) };
  const name = await putBlob(rig.broker, encode("json", { task_id: "large", command_type: "echo", payload }), "large");
  await rig.submit("query", "", { "A3s-Blob": name, "Content-Type": "application/json" });
  const result = await rig.result("large");
  assert.deepEqual(result.result, payload);
  const stored = await rig.broker.last(rig.broker.names.results, rig.broker.names.result(rig.session, "large"));
  assert.match(stored?.header("A3s-Blob") ?? "", /^sha256-[0-9a-f]{64}\.large-result$/);
  assert.equal(stored?.body.length, 0);
  await until("the task's body to be removed", async () => (await rig.broker.jsm.streams.info("OBJ_a3s_blobs")).state.messages < 12);
  await rig.nothingIsLeft();
});

test("a worker has no more tasks than slots, and takes the highest lane first", async (t) => {
  const rig = await Rig.start(t);
  const order: string[] = [];
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const first = await rig.submit("generate", { command_type: "work", payload: "generate" });
  await rig.worker({ work: async (task) => { order.push(task.payload as string); await gate; return {}; } }, { concurrency: 1 });
  await rig.event("started", first);
  const ids: string[] = [];
  for (const lane of ["generate", "execute", "query", "query"]) ids.push(await rig.submit(lane, { command_type: "work", payload: lane }));
  // The reserved slot: control does not wait for anybody.
  const control = await rig.submit("control", { command_type: "work", payload: "control" });
  await rig.event("started", control);
  const pending = await Promise.all(["query", "execute", "generate"].map(async (lane) =>
    (await rig.broker.jsm.consumers.info(rig.broker.names.tasks, `pool-default-${lane}`)).num_ack_pending));
  assert.deepEqual(pending, [0, 0, 1]);
  release();
  for (const id of ids) await rig.result(id);
  assert.deepEqual(order, ["generate", "control", "query", "query", "execute", "generate"]);
  await rig.nothingIsLeft();
});

test("a worker is seen while it lives, and says goodbye", async (t) => {
  const rig = await Rig.start(t);
  const worker = await rig.worker({ read: () => ({}) }, { workerId: "seen", labels: { region: "eu" }, lanes: ["query"] });
  const asked = (await rig.nc.request("a3s.worker.seen", "", { timeout: BOUND_MS })).json<Record<string, unknown>>();
  assert.deepEqual([asked.worker_id, asked.runtime, asked.lanes, asked.tools, asked.labels, asked.serves, asked.draining],
    ["seen", "node", ["Query"], ["read"], { region: "eu" }, { pool: "default" }, false]);
  const workers = await rig.rust("a3s-coordinator", ["workers", "--json"]).ended;
  assert.match(workers.stdout, /"worker_id":\s*"seen"/, workers.stderr);
  worker.stop();
  await until("the farewell", async () => !(await rig.rust("a3s-coordinator", ["workers", "--json"]).ended).stdout.includes('seen'));
});

test("progress is shown in numbered pieces", async (t) => {
  const rig = await Rig.start(t);
  const pieces: string[] = [];
  rig.nc.subscribe(`a3s.${rig.session}.output.*`, {
    callback: (_, message) => { pieces.push(`${message.headers?.get("A3s-Chunk") ?? ""} ${message.string()}`); },
  });
  await rig.nc.flush();
  await rig.worker({ talk: (task) => { task.progress("one"); task.progress(Buffer.from("two")); return {}; } });
  await rig.result(await rig.submit("query", { command_type: "talk" }));
  await until("two pieces", () => pieces.length === 2);
  assert.deepEqual(pieces, ["1 one", "2 two"]);
});

test("a result that cannot be sent is a failure that says so", async (t) => {
  const rig = await Rig.start(t);
  await rig.worker({ huge: () => ({ value: 1n << 70n }) });
  const result = await rig.result(await rig.submit("query", { command_type: "huge" }));
  assert.deepEqual([result.success, result.error_kind], [false, "other"]);
  assert.match(result.error ?? "", /needs more than 64 bits/);
});

test("a session's own worker takes its tasks alone, and one for a session on a pool is refused", async (t) => {
  const rig = await Rig.start(t);
  await rig.worker({ read: () => ({ output: "mine" }) }, { sessionId: rig.session });
  const id = await rig.submit("own.query", { command_type: "read" });
  assert.deepEqual((await rig.result(id)).result, { output: "mine" });
  const submitted = await rig.rust("a3s-coordinator", ["submit", "--session", rig.session, "--own", "read", "{}"]).ended;
  assert.deepEqual([submitted.code, submitted.stdout], [0, "mine\n"], submitted.stderr);
  const script = `import {Worker} from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)}; await new Worker().run();`;
  await rig.worker({}, { pool: "eu" });
  const session = "onpool";
  await rig.broker.publish(`$KV.a3s_sessions.${session}`, encode("json", { session_id: session, route: { pool: "eu" }, created_at_ms: 1 }));
  const refused = await rig.program(process.execPath, ["--input-type=module", "-e", script.replace("new Worker()", `new Worker({sessionId:"${session}"})`)]).ended;
  assert.match(refused.stderr, /sends its tasks to pool eu/);
  await rig.nothingIsLeft();
});

test("a worker serves pools with a policy, and starts in none that has another one", async (t) => {
  const rig = await Rig.start(t);
  for (const [pool, policy] of [["web", "near"], ["night", "overflow"]] as const) {
    const changed = await rig.rust("a3s-coordinator", ["pool", pool, "--policy", policy]).ended;
    assert.equal(changed.code, 0, changed.stderr);
  }
  const echo = { echo: (task: ExternalTask): unknown => task.payload };
  await rig.worker(echo, { pool: "web" });
  await rig.worker(echo, { pool: "night", helpWhen: 1 });
  for (const pool of ["web", "night"]) {
    const result = await rig.result(await rig.submit(`query.${pool}`, { command_type: "echo", payload: pool }));
    assert.deepEqual([result.success, result.result], [true, pool]);
  }
  const helper = new Worker({ servers: rig.url, pool: "web", helpWhen: 3, signals: false });
  await assert.rejects(helper.run(), /pool web --policy overflow/);
});

test("whether a task has a result can be asked without reading it", async (t) => {
  const rig = await Rig.start(t);
  const { broker } = rig;
  await broker.publish("a3s.s.result.t1", Buffer.from("{}"));
  assert.equal(await broker.holds("a3s.s.result.t1", "a3s._.result._"), true);
  assert.equal(await broker.holds("a3s.s.result.t2", "a3s._.result._"), false);
  const stored: string[] = [];
  for await (const message of scan(broker, "A3S_RESULTS", "a3s.*.result.*")) stored.push(message.subject);
  assert.deepEqual(stored, ["a3s.s.result.t1"]);
});

test("a server without room says what would make room", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "a3s-node-"));
  const server = new Server(directory, "1GB");
  t.after(async () => {
    await server.kill();
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  });
  const worker = new Worker({ servers: await server.address(), signals: false }).tool("greet", () => ({ output: "" }));
  await assert.rejects(worker.run(), /insufficient.*max_file_store/);
});
