// Workers and callers with the keys that `a3s-coordinator init` writes, against a server with the
// permissions that it writes: what they may do they do, what they may not is said at once.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import type { Broker } from "../src/broker/broker.js";
import { Denied } from "../src/broker/errors.js";
import { writeMarker } from "../src/broker/records.js";
import { findResult, hasResult } from "../src/broker/results.js";
import { scan } from "../src/broker/scan.js";
import { Reject, RetryAfter, type ExternalTask, type TaskResult, type WorkerOptions } from "../src/index.js";
import type { Handler } from "../src/executor.js";
import { Installation, type Served } from "./installation.js";
import { until } from "./support.js";

const HOUR = 3_600_000;

/** More than the broker sends without asking whether it arrives, and far more than a message holds. */
const LARGE = "0123456789abcdef".repeat(400_000);

/** What one request without an answer costs: who waits for less has not waited for one. */
const A_TIMEOUT_MS = 5_000;

/** What waits until it is stopped, and says what it had. */
const wait = (task: ExternalTask): Promise<unknown> => new Promise((resolve) => {
  const timer = setTimeout(() => { resolve({}); }, HOUR);
  task.signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve({ output: "half of it" });
  });
});

/** Tools, and how often each was called. */
function tools(): { calls: Map<string, number>; handlers: Record<string, Handler> } {
  const calls = new Map<string, number>();
  const handlers: Record<string, Handler> = {
    echo: (task) => task.payload as unknown,
    talk: (task) => { task.progress("a word"); return {}; },
    flaky: (task) => {
      if (task.attempt < 2) throw new RetryAfter("busy", 10);
      return { attempt: task.attempt };
    },
    picky: () => { throw new Reject("never"); },
    wait,
  };
  for (const [name, handler] of Object.entries(handlers)) {
    handlers[name] = (task) => {
      calls.set(name, (calls.get(name) ?? 0) + 1);
      return handler(task);
    };
  }
  return { calls, handlers };
}

async function isEmpty(broker: Broker): Promise<void> {
  for (const stream of [broker.names.tasks, broker.names.own]) {
    await until(`an empty ${stream}`, async () => (await broker.jsm.streams.info(stream)).state.messages === 0);
  }
}

function deniedNothing(...served: Served[]): void {
  for (const { said } of served) assert.deepEqual(said.filter((text) => text.includes("not permitted")), []);
}

interface Kind {
  readonly of: string;
  readonly init: string[];
  readonly roles: string[];
  readonly session: string;
  readonly own: boolean;
}

const KINDS: Kind[] = [
  { of: "a pool", init: [], roles: ["worker-pool-default"], session: "demo", own: false },
  { of: "a session", init: ["--session", "alice"], roles: ["worker-session-alice"], session: "alice", own: true },
  {
    of: "a pool's lanes", init: ["--lanes", "query,execute"], session: "demo", own: false,
    roles: ["worker-pool-default.query", "worker-pool-default.execute"],
  },
  {
    of: "a session's lanes", init: ["--session", "alice", "--lanes", "query,execute"], session: "alice", own: true,
    roles: ["worker-session-alice.query", "worker-session-alice.execute"],
  },
];

for (const { of, init, roles, session, own } of KINDS) {
  test(`the worker of ${of} does its whole work with its key`, async (t) => {
    const installation = await (await Installation.start(t, init)).withStreams();
    const admin = await installation.connect("coordinator");
    const heard: string[] = [];
    admin.nc.subscribe(`a3s.${session}.>`, { callback: (_, message) => { heard.push(message.subject); } });
    const subject = (lane: string): string => `a3s.${session}${own ? ".own" : ""}.${lane}`;
    const publish = (id: string, body: unknown): Promise<unknown> =>
      admin.publish(subject("query"), Buffer.from(typeof body === "string" ? body : JSON.stringify(body)), [["A3s-Reply-To", `a3s.${session}.result.${id}`]]);
    const result = (id: string): Promise<TaskResult> => until(`the result of ${id}`, () => findResult(admin, session, id));

    // Cancelled while it waited, before any worker was there: its marker is kept.
    await writeMarker(admin, session, "kept", "too late", Date.now() + HOUR);
    await publish("kept", { task_id: "kept", command_type: "echo" });
    const { calls, handlers } = tools();
    const began = performance.now();
    const served: Served[] = [];
    for (const role of roles) served.push(await installation.worker(role, handlers));
    assert.ok(performance.now() - began < A_TIMEOUT_MS, "nothing that is denied delays a start");
    const kept = await result("kept");
    assert.deepEqual([kept.error_kind, kept.error, kept.attempt], ["cancelled", "cancelled before it was started: too late", 0]);
    assert.equal(calls.get("echo"), undefined);

    // What the coordinator in Rust submits: small, large both ways, once, a second attempt, none.
    const submit = async (type: string, lane: string, payload: string, ...more: string[]): Promise<TaskResult> => {
      const route = own ? ["--own"] : [];
      const args = ["submit", type, payload, "--lane", lane, "--session", session, "--json", ...route, ...more];
      const { stdout, stderr } = await installation.coordinator("coordinator", args).ended;
      assert.notEqual(stdout, "", stderr);
      return JSON.parse(stdout) as TaskResult;
    };
    for (const lane of ["query", "execute"]) {
      const small = await submit("echo", lane, '{"a":1}', "--effect", lane === "query" ? "idempotent" : "once");
      assert.deepEqual([small.success, small.result], [true, { a: 1 }], small.error ?? "");
    }
    const file = join(installation.directory, "large.json");
    writeFileSync(file, JSON.stringify({ text: LARGE }));
    const large = await submit("echo", "query", `@${file}`);
    assert.equal((large.result as { text: string }).text, LARGE, large.error ?? "");
    const flaky = await submit("flaky", "query", "{}");
    assert.deepEqual([flaky.success, flaky.result], [true, { attempt: 2 }], flaky.error ?? "");
    const picky = await submit("picky", "execute", "{}", "--id", "picky");
    assert.equal(picky.error_kind, "dead_lettered");
    await publish("nonsense", "nonsense");
    assert.equal((await result("nonsense")).error_kind, "dead_lettered");
    const letters = await installation.done("coordinator", ["dlq", "ls", "--json"]);
    for (const text of ["picky", "nonsense"]) assert.match(letters, new RegExp(text));

    // Cancelled while it runs, and while it waits for a slot.
    const running = submit("wait", "query", "{}", "--id", "running");
    await until("the task runs", () => calls.get("wait") === 1);
    await installation.done("coordinator", ["task", "cancel", "running", "--session", session]);
    const stopped = await running;
    assert.deepEqual([stopped.error_kind, stopped.result], ["cancelled", { output: "half of it" }]);
    await writeMarker(admin, session, "waits", "", Date.now() + HOUR);
    await publish("waits", { task_id: "waits", command_type: "echo" });
    assert.deepEqual([(await result("waits")).error_kind, (await result("waits")).attempt], ["cancelled", 0]);

    // It is seen, and what it tells is heard.
    await submit("talk", "query", "{}", "--id", "talk");
    const workers = await installation.done("coordinator", ["workers", "--json"]);
    for (const { worker } of served) {
      assert.match(workers, new RegExp(worker.id));
      const answer = await admin.request(`a3s.worker.${worker.id}`);
      assert.equal(answer.json<{ worker_id: string }>().worker_id, worker.id);
      assert.equal((await admin.request(`$SRV.PING.a3s-worker.${worker.id}`)).json<{ id: string }>().id, worker.id);
    }
    for (const subject of [`a3s.${session}.output.talk`, `a3s.${session}.event.queue.command.completed`]) {
      await until(subject, () => heard.includes(subject));
    }
    await isEmpty(admin);
    deniedNothing(...served);
    // A pool's worker looks for a result that it may not read before it buries what it cannot read.
    if (!own) assert.deepEqual(installation.violations.filter((text) => !text.startsWith("$JS.API.DIRECT.GET.A3S_RESULTS.")), []);
    // The task's body is gone, the result's is kept.
    const bodies = new Set<string>();
    for await (const chunk of scan(admin, "OBJ_a3s_blobs", "$O.a3s_blobs.C.*")) if (chunk.body.length > 0) bodies.add(chunk.subject);
    assert.equal(bodies.size, 1);
  });
}

test("a process with the environment of its role works, and what it had when it was killed goes to another", async (t) => {
  const installation = await (await Installation.start(t)).withStreams();
  const first = await installation.workerProcess("worker-pool-default", { A3S_WORKER_ID: "first" });
  const submitted = installation.coordinator("coordinator", ["submit", "wait", '{"ms":4000}', "--lane", "query", "--timeout", "100s", "--json"]);
  const admin = await installation.connect("coordinator");
  await until("the task runs", async () => (await admin.jsm.consumers.info("A3S_TASKS", "pool-default-query")).num_ack_pending === 1);
  first.signal("SIGKILL");
  const second = await installation.workerProcess("worker-pool-default", { A3S_WORKER_ID: "second" });
  const { stdout, stderr } = await submitted.ended;
  assert.notEqual(stdout, "", stderr);
  assert.deepEqual((JSON.parse(stdout) as TaskResult).result, { waited: true, by: "second" });
  second.signal("SIGTERM");
  assert.equal((await second.ended).code, 0);
  assert.doesNotMatch(second.stderr, /not permitted/);
  await isEmpty(admin);
});

test("a worker of a region works with its key, by the region's own server", async (t) => {
  const init = ["--region", "eu", "--leaf-listen", "127.0.0.1:-1"];
  const installation = await (await Installation.start(t, init)).withStreams();
  const servers = await installation.leaf("eu");
  const admin = await installation.connect("coordinator");
  const leaf = await installation.connect("worker-pool-eu", servers);
  // Until the link is up nobody answers for the hub's domain.
  await until("the link", () => leaf.request(leaf.api("CONSUMER.INFO.A3S_TASKS.pool-eu-query")).catch(() => undefined));
  await writeMarker(admin, "demo", "kept", "too late", Date.now() + HOUR);
  await admin.publish("a3s.demo.query.eu", Buffer.from('{"task_id":"kept","command_type":"echo"}'));
  const served = await installation.worker("worker-pool-eu", tools().handlers, { servers });
  assert.equal((await until("a result", () => findResult(admin, "demo", "kept"))).error_kind, "cancelled");
  const file = join(installation.directory, "large.json");
  writeFileSync(file, JSON.stringify({ text: LARGE }));
  const large = await installation.done("coordinator", ["submit", "echo", `@${file}`, "--pool", "eu", "--json"]);
  assert.equal(((JSON.parse(large) as TaskResult).result as { text: string }).text, LARGE);
  assert.match(await installation.done("coordinator", ["workers", "--json"]), new RegExp(served.worker.id));
  deniedNothing(served);
  await isEmpty(admin);
});

/** A worker's start that fails, and soon. */
async function refused(installation: Installation, role: string, options: WorkerOptions, ...texts: string[]): Promise<void> {
  const began = performance.now();
  await assert.rejects(installation.worker(role, tools().handlers, options), (error) => {
    const message = error instanceof Error ? error.message : "";
    for (const text of texts) assert.ok(message.includes(text), `${text} is not in: ${String(error)}`);
    return true;
  });
  assert.ok(performance.now() - began < A_TIMEOUT_MS, `${role} is told after ${performance.now() - began} ms`);
}

test("a worker whose key is not enough for what it is to serve is told at its start", async (t) => {
  const init = ["--pool", "eu", "--pool", "us", "--session", "alice", "--lanes", "query,execute"];
  const installation = await (await Installation.start(t, init)).withStreams();
  const query = "worker-pool-eu.query";
  const notEnough = `nkey file ${installation.settings(query).NATS_NKEY ?? ""} is not enough for this worker: serve lane execute (lanes names others): `
    + "not permitted to publish to $JS.API.CONSUMER.INFO.A3S_TASKS.pool-eu-execute";
  await refused(installation, query, { lanes: ["query", "execute"] }, notEnough, "a3s-coordinator doctor");
  await refused(installation, query, { pool: "us" }, "serve lane query", "pool-us-query");
  await refused(installation, "worker-session-alice.query", { lanes: ["execute"] }, "serve lane execute", "own-alice-execute");
  await refused(installation, "worker-session-alice.query", { sessionId: "bob" }, "serve lane query", "own-bob-query");
  await refused(installation, "observer", { lanes: ["query"] }, "observer.nk is not enough", "not permitted");
  // The other side: with what they are for, they start.
  await installation.worker(query, {});
  await installation.worker("worker-session-alice.query", {});
});

test("a key without one of the rights of its work is told at its start which", async (t) => {
  const lacks: [string, string[]][] = [
    ["\"a3s.*.result.*\"", ["store results: not permitted to publish to a3s.no-session.result."]],
    ["CONSUMER.MSG.NEXT.A3S_TASKS.pool-default-query\"", ["pull tasks of lane query: not permitted to publish to"]],
    ["CONSUMER.CREATE.A3S_CANCELS", ["hear which tasks are cancelled: not permitted to publish to $JS.API.CONSUMER.CREATE.A3S_CANCELS."]],
    [" \"a3s.*.cancel.*\"", ["hear which tasks are cancelled: not permitted to subscribe to a3s.*.cancel.*"]],
  ];
  for (const [line, texts] of lacks) {
    const installation = await (await Installation.start(t, [], line)).withStreams();
    await refused(installation, "worker-pool-default", {}, ...texts);
  }
});

test("a key without its inbox is told how to name it", async (t) => {
  const installation = await (await Installation.start(t)).withStreams();
  const { nkey } = installation.options("worker-pool-default");
  const bare = join(installation.directory, "bare.nk");
  writeFileSync(bare, readFileSync(nkey, "utf8").split("\n").filter((line) => line.startsWith("SU")).join("\n"), { mode: 0o600 });
  await refused(installation, "worker-pool-default", { nkey: bare }, "not permitted to subscribe to _INBOX.", "inboxPrefix");
  await installation.worker("worker-pool-default", {}, { nkey: bare, inboxPrefix: "_INBOX_worker-pool-default" });
});

test("a worker that comes before the streams is told who creates them", async (t) => {
  const installation = await Installation.start(t, ["--session", "alice"]);
  await refused(installation, "worker-pool-default", {}, "is not enough for this worker: create ", "started once");
  await refused(installation, "worker-session-alice", {}, "is not enough for this worker: create ", "started once");
});

test("what a worker only tells is denied without an end to its work, and said once", async (t) => {
  const installation = await (await Installation.start(t, [], "\"a3s.*.event.>\"")).withStreams();
  const served = await installation.worker("worker-pool-default", tools().handlers);
  for (let at = 0; at < 2; at += 1) await installation.done("coordinator", ["submit", "echo", "{}", "--session", "demo"]);
  const denied = (): string[] => served.said.filter((text) => text.includes("not permitted to publish to a3s.demo.event."));
  await until("a word of it", () => denied().length > 0);
  assert.equal(denied().length, 1);
});

async function asksInVain(broker: Broker, subjects: string[]): Promise<void> {
  const began = performance.now();
  for (const subject of subjects) {
    const asked = broker.request(subject, "{}");
    await assert.rejects(asked, (error) => error instanceof Denied && error.message.includes(`not permitted to publish to ${subject};`), subject);
  }
  assert.ok(performance.now() - began < A_TIMEOUT_MS, "each was told at once");
}

async function listensInVain(broker: Broker, subjects: string[]): Promise<void> {
  for (const subject of subjects) {
    await assert.rejects(broker.listen(subject, "spy", () => undefined), (error) =>
      error instanceof Denied && error.message.includes(`spy: not permitted to subscribe to ${subject}`), subject);
  }
}

test("what a worker may not do is refused, and the call that waited says so at once", async (t) => {
  const installation = await (await Installation.start(t, ["--pool", "eu", "--session", "alice"])).withStreams();
  await installation.worker("worker-pool-eu", {});
  const broker = await installation.connect("worker-pool-eu");
  await asksInVain(broker, [
    "a3s.demo.query", "a3s.demo.query.eu", "a3s.demo.cancel.t", "$KV.a3s_sessions.demo",
    "$JS.API.STREAM.INFO.A3S_TASKS", "$JS.API.STREAM.CREATE.A3S_TASKS", "$JS.API.STREAM.PURGE.OBJ_a3s_blobs",
    "$JS.API.STREAM.MSG.GET.OBJ_a3s_blobs", "$JS.API.STREAM.MSG.DELETE.A3S_TASKS", "$JS.API.DIRECT.GET.A3S_CANCELS",
    "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.demo.result.t", "$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-default-query",
    "$JS.API.CONSUMER.CREATE.A3S_TASKS.mine.a3s.*.query", "$JS.API.CONSUMER.CREATE.A3S_DLQ.mine.a3s.*.dlq.*.*",
  ]);
  await until("the server's word of it", () => installation.violations.includes("a3s.demo.query"));
  await listensInVain(broker, ["a3s.>", "a3s.*.result.*", "a3s.*.query", "_INBOX.>", "_INBOX_coordinator.>"]);
  await assert.rejects(async () => { for await (const letter of scan(broker, "A3S_DLQ", "a3s.*.dlq.*.*")) assert.fail(letter.subject); }, Denied);
  // The other side: what it needs passes.
  const admin = await installation.connect("coordinator");
  for (const id of ["t1", "t2", "t3"]) await writeMarker(admin, "demo", id, "", Date.now() + HOUR);
  assert.equal((await broker.last("A3S_CANCELS", "a3s.demo.cancel.t2"))?.sequence, 2);
  const markers: string[] = [];
  for await (const marker of scan(broker, "A3S_CANCELS", "a3s.*.cancel.*", 2)) markers.push(marker.subject);
  assert.deepEqual(markers, ["a3s.demo.cancel.t2", "a3s.demo.cancel.t3"]);
  assert.equal((await broker.request("$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-eu-query", '{"batch":1,"no_wait":true}')).headers?.code, 404);

  const alice = await installation.connect("worker-session-alice");
  await asksInVain(alice, [
    "a3s.alice.own.query", "a3s.bob.result.t", "a3s.bob.claim.t", "$KV.a3s_sessions.bob", "$JS.API.CONSUMER.CREATE.A3S_CANCELS.mine.a3s.*.cancel.*",
  ]);
  await listensInVain(alice, ["a3s.*.cancel.*", "a3s.bob.cancel.*", "a3s.alice.>"]);
});

test("a pool's worker sees whether a task has a result, and cannot read it", async (t) => {
  const installation = await (await Installation.start(t)).withStreams();
  await (await installation.connect("coordinator")).publish("a3s.s.result.t1", Buffer.from("{}"));
  const worker = await installation.connect("worker-pool-default");
  assert.deepEqual([await hasResult(worker, "s", "t1"), await hasResult(worker, "s", "t2")], [true, false]);
  await assert.rejects(findResult(worker, "s", "t1"), Denied);
});

for (const own of [false, true]) {
  test(`the caller of a session ${own ? "with workers of its own" : "on a pool"} does its whole work with its key`, async (t) => {
    const installation = await (await Installation.start(t, ["--session", "alice"])).withStreams();
    const session = await installation.session("coordinator-session-alice", { sessionId: "alice", own: own || undefined });
    const { calls, handlers } = tools();
    const served = await installation.worker(own ? "worker-session-alice" : "worker-pool-default", handlers);
    const small = await (await session.submit("query", { commandType: "echo", payload: { a: 1 }, taskId: "small" })).result();
    assert.deepEqual([small.success, small.result], [true, { a: 1 }], small.error ?? "");
    assert.deepEqual((await session.result("small"))?.result, { a: 1 });
    const large = await (await session.submit("execute", { commandType: "echo", payload: { text: LARGE } })).result();
    assert.equal((large.result as { text: string }).text, LARGE, large.error ?? "");
    const picky = await (await session.submit("query", { commandType: "picky" })).result();
    assert.equal(picky.error_kind, "dead_lettered");
    assert.deepEqual((await session.deadLetters()).map((letter) => letter.task_id), [picky.task_id]);
    const running = await session.submit("query", { commandType: "wait" });
    await until("the task runs", () => calls.get("wait") === 1);
    await session.cancel(running.taskId);
    assert.deepEqual([(await running.result()).error_kind, (await running.result()).result], ["cancelled", { output: "half of it" }]);
    deniedNothing(served);
    served.worker.stop();
    // Nobody answers: it does so itself, and cannot take the task back.
    const late = await (await session.submit("query", { commandType: "echo", timeoutMs: 300 })).result();
    assert.deepEqual([late.error_kind, late.worker_id], ["timed_out", "coordinator"]);
  });
}

test("the caller of a session touches no other, and is told so at once", async (t) => {
  const installation = await (await Installation.start(t, ["--session", "alice", "--session", "bob"])).withStreams();
  const began = performance.now();
  await assert.rejects(installation.session("coordinator-session-alice", { sessionId: "bob" }), /open session bob: not permitted to publish to .*a3s_sessions\.bob/);
  await assert.rejects(installation.session("worker-pool-default", { sessionId: "alice" }), /open session alice: not permitted/);
  assert.ok(performance.now() - began < A_TIMEOUT_MS);
  const alice = await installation.connect("coordinator-session-alice");
  await asksInVain(alice, [
    "a3s.bob.query", "a3s.bob.own.query", "a3s.bob.result.t", "a3s.bob.cancel.t", "$KV.a3s_workers.w1", "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.bob.result.t",
    "$JS.API.CONSUMER.CREATE.A3S_DLQ.mine.a3s.*.dlq.*.*", "$JS.API.STREAM.MSG.DELETE.A3S_TASKS", "$JS.API.STREAM.PURGE.A3S_DLQ",
  ]);
  await listensInVain(alice, ["a3s.bob.>", "a3s.*.done.*", "a3s.>"]);
});

test("the caller's session is the one that its file names, and who may not create the streams is told who may", async (t) => {
  const installation = await Installation.start(t, ["--session", "alice"]);
  await assert.rejects(installation.session("coordinator-session-alice", { sessionId: "alice" }), /create stream .*started once.*not permitted/);
  await installation.withStreams();
  process.env.A3S_SESSION = installation.settings("coordinator-session-alice").A3S_SESSION;
  t.after(() => { delete process.env.A3S_SESSION; });
  assert.equal((await installation.session("coordinator-session-alice")).id, "alice");
});
