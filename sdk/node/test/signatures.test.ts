// Signatures: the vectors that every language proves, and what a worker and a caller do with them
// against the real server.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { findResult, publishResult } from "../src/broker/results.js";
import { Session, outcomeOf, type SessionOptions, type TaskResult, type Worker } from "../src/index.js";
import { Signatures, TrustList, Untrusted, type Role } from "../src/trust.js";
import { lane } from "../src/wire/lane.js";
import { SigningKey, isSignedBy, resultForm, taskForm } from "../src/wire/signature.js";
import { REPOSITORY, Rig, until } from "./support.js";

// Whoever runs the tests may have a key in its place.
process.env.XDG_CONFIG_HOME = tmpdir();

interface Vector {
  name: string; fields: Record<string, string>; body: string; canonical: string; key: string; signature: string;
}
interface Vectors {
  keys: { seed: string; public: string }[];
  tasks: Vector[];
  results: Vector[];
  trust: { list: string; role: Role; key: string; session: string; lane: string; tool: string; error: string | null }[];
}

const VECTORS = JSON.parse(readFileSync(join(REPOSITORY, "shared/fixtures/signatures/vectors.json"), "utf8")) as Vectors;
const [OURS = "", THEIRS = ""] = VECTORS.keys.map((key) => key.seed);
/** More than a message holds. */
const LARGE = 600_000;
const HEADERS: Record<string, string> = {
  "Nats-Msg-Id": "message_id", "A3s-Reply-To": "reply_to", "A3s-Deadline": "deadline",
  "A3s-Max-Attempts": "max_attempts", "A3s-Retry-Delay": "retry_delay", "A3s-Effect": "effect",
  "Content-Type": "content_type", "A3s-Workspace": "workspace", "A3s-Answers": "answers",
};

const sha256 = (text: string): Uint8Array => createHash("sha256").update(text).digest();

function form(kind: "tasks" | "results", { fields, body }: Vector): Uint8Array {
  const field = (name: string): string => fields[name] ?? "";
  const header = (name: string): string => field(HEADERS[name] ?? "");
  const ids = { subject: field("subject"), session_id: field("session_id"), task_id: field("task_id") };
  if (kind === "results") return resultForm({ ...ids, worker_id: field("worker_id") }, header, sha256(body));
  return taskForm({ ...ids, lane: lane(field("lane")), command_type: field("command_type") }, header, sha256(body));
}

for (const kind of ["tasks", "results"] as const) {
  test(`the vectors of ${kind} are made and verified byte for byte`, () => {
    const keys = new Map(VECTORS.keys.map((key) => [key.public, new SigningKey(`# mine\n${key.seed}\n`)]));
    for (const vector of VECTORS[kind]) {
      const key = keys.get(vector.key);
      assert.ok(key);
      assert.equal(key.id, vector.key);
      const bytes = form(kind, vector);
      assert.equal(Buffer.from(bytes).toString("hex"), vector.canonical, vector.name);
      assert.equal(key.sign(bytes), vector.signature, vector.name);
      assert.ok(isSignedBy(key.id, bytes, vector.signature));
      assert.ok(!isSignedBy(key.id, Buffer.concat([bytes, Buffer.of(0)]), vector.signature));
      assert.ok(!isSignedBy(key.id, bytes, `${vector.signature}=`));
    }
  });
}

test("trust lists answer as everywhere", () => {
  for (const { list, role, key, session, tool, error, ...vector } of VECTORS.trust) {
    const ask = (): void => { new TrustList(list, role).permit(role, key, session, lane(vector.lane), tool); };
    if (error === null) ask();
    else assert.throws(ask, (thrown: unknown) => thrown instanceof Untrusted && thrown.message === error);
  }
});

test("a list that would not do what it seems to say is an error", () => {
  const entry = `[[key]]\nkey = "${new SigningKey(OURS).id}"\n`;
  const rules = ["tool = []", 'sessions = ["a*b"]', 'lanes = ["fast"]', 'role = "boss"', "tools = 1", 'role = "worker"'];
  for (const text of ["", '[[key]]\nkey = "UABC"', "[[key]]", "keys = 1", ...rules.map((rule) => entry + rule)]) {
    assert.throws(() => new TrustList(text, "coordinator"), Error, text);
  }
});

function file(rig: Rig, name: string, text: string): string {
  const path = join(rig.directory, name);
  writeFileSync(path, text);
  chmodSync(path, 0o600);
  return path;
}

const list = (seed: string, rules = ""): string => `[[key]]\nkey = "${new SigningKey(seed).id}"\nname = "ci"\n${rules}\n`;

interface Text { text: string }

async function worker(rig: Rig, rules = ""): Promise<Worker> {
  const echo = ({ payload }: { payload: unknown }): unknown => ({ length: (payload as Text).text.length, text: (payload as Text).text });
  const [trust, signingKey] = [file(rig, "trust.toml", list(OURS, rules)), file(rig, "worker.nk", THEIRS)];
  return rig.worker({ echo, other: echo }, { trust, signingKey });
}

async function open(rig: Rig, t: TestContext, options: SessionOptions): Promise<Session> {
  const session = await Session.open({ servers: rig.url, external: true, ...options });
  t.after(() => session.close());
  return session;
}

function caller(rig: Rig, t: TestContext, options: SessionOptions = {}): Promise<Session> {
  const [signingKey, trustWorkers] = [file(rig, "ours.nk", OURS), file(rig, "workers.toml", list(THEIRS, 'role = "worker"'))];
  return open(rig, t, { signingKey, trustWorkers, ...options });
}

async function ask(session: Session, text: string, tool = "echo", where: "query" | "control" = "query"): Promise<TaskResult> {
  return (await session.submit(where, { commandType: tool, payload: { text } })).result();
}

test("what a trusted key signed is run and its answer believed, small and large", async (t) => {
  const rig = await Rig.start(t);
  await worker(rig);
  const session = await caller(rig, t);
  assert.deepEqual((await ask(session, "small")).result, { length: 5, text: "small" });
  const large = await ask(session, "x".repeat(LARGE));
  assert.equal((large.result as { length: number }).length, LARGE, large.error ?? "");
});

test("what is unsigned or not allowed is refused, and counted", async (t) => {
  const rig = await Rig.start(t);
  const { id } = await worker(rig, 'sessions = ["s"]\nlanes = ["query"]\ntools = ["echo"]');
  const unsigned = await ask(await open(rig, t, {}), "x");
  assert.deepEqual([unsigned.error_kind, unsigned.attempt], ["refused", 0]);
  assert.match(unsigned.error ?? "", /it is not signed/);
  const strange = await ask(await open(rig, t, { signingKey: file(rig, "stranger.nk", THEIRS) }), "x");
  assert.match(strange.error ?? "", /is not trusted as a coordinator/);
  const session = await caller(rig, t, { sessionId: "s" });
  assert.match((await ask(session, "x", "other")).error ?? "", /\(ci\) is not trusted with tool "other"/);
  assert.match((await ask(session, "x", "echo", "control")).error ?? "", /lane Control/);
  const elsewhere = await ask(await caller(rig, t, { sessionId: "elsewhere" }), "x");
  assert.match(elsewhere.error ?? "", /session elsewhere/);
  assert.ok((await ask(session, "x")).success);
  const heartbeat = (await rig.nc.request(`a3s.worker.${id}`)).json<{ refused: number }>();
  assert.equal(heartbeat.refused, 5);
});

test("an altered message is refused", async (t) => {
  const rig = await Rig.start(t);
  await worker(rig);
  const [key, subject, deadline] = [new SigningKey(OURS), "a3s.s.query", String(Date.now() + 60_000)];
  const alterations: [string, Record<string, string>, string?][] = [
    [subject, {}], ["a3s.s.control", {}], [subject, { "A3s-Deadline": `${deadline}0` }], [subject, { "Nats-Msg-Id": "s.again" }],
    [subject, { "A3s-Effect": "once" }], [subject, { "A3s-Workspace": "x" }],
    [subject, {}, '{"command_type":"echo","task_id":"t6","payload":{"text":"evil"}}'],
  ];
  for (const [at, [altered, headers, evil]] of alterations.entries()) {
    const id = `t${at}`;
    const body = JSON.stringify({ command_type: "echo", task_id: id, payload: { text: "good" } });
    const said = new Map([["Nats-Msg-Id", `s.${id}`], ["A3s-Deadline", deadline]]);
    const task = { subject, session_id: "s", task_id: id, lane: "Query", command_type: "echo" } as const;
    for (const [name, value] of key.headers(taskForm(task, (name) => said.get(name), sha256(body)))) said.set(name, value);
    for (const [name, value] of Object.entries(headers)) said.set(name, value);
    await rig.broker.publish(altered, Buffer.from(evil ?? body), [...said]);
    const result = await until(`the result of ${id}`, () => findResult(rig.broker, "s", id));
    if (at === 0) assert.ok(result.success, result.error ?? "");
    else assert.match(result.error ?? "", /it was altered/, id);
  }
});

test("a forged or replayed result is never the answer", async (t) => {
  const rig = await Rig.start(t);
  const session = await caller(rig, t, { sessionId: "s" });
  const signers: [string | undefined, RegExp][] = [
    [undefined, /it is not signed/], [OURS, /only a worker can say/], [THEIRS, /an earlier one of this id/],
  ];
  for (const [seed, rule] of signers) {
    rig.broker.signatures = new Signatures(seed === undefined ? undefined : new SigningKey(seed));
    const handle = await session.submit("query", { commandType: "echo", payload: { text: "x" } });
    const forged: TaskResult = {
      task_id: handle.taskId, session_id: "s", lane: "Query", command_type: "echo", success: true, result: "evil",
      error: null, error_kind: null, attempt: 1, worker_id: "w", started_at_ms: 1, duration_ms: 1,
    };
    assert.ok(await publishResult(rig.broker, forged, "json", "of another"));
    const result = await handle.result();
    assert.equal(outcomeOf(result), "unknown");
    assert.deepEqual(result.result, {});
    assert.match(result.error ?? "", rule);
  }
});

test("what is no result ends the wait too", async (t) => {
  const rig = await Rig.start(t);
  const session = await caller(rig, t, { sessionId: "s" });
  const handle = await session.submit("query", { commandType: "echo", payload: { text: "x" } });
  await rig.broker.publish(`a3s.s.result.${handle.taskId}`, Buffer.from("nonsense"));
  const result = await handle.result();
  assert.deepEqual([outcomeOf(result), result.success], ["unknown", false]);
  assert.match(result.error ?? "", /it is no result/);
});

test("the Rust programs and Node believe each other", async (t) => {
  const rig = await Rig.start(t);
  await worker(rig);
  const [key, workers] = [file(rig, "ours.nk", OURS), file(rig, "workers.toml", list(THEIRS, 'role = "worker"'))];
  const verb = ["submit", "--lane", "query", "echo", '{"text":"from rust"}'];
  const signed = await rig.rust("a3s-coordinator", [...verb, "--json", "--signing-key", key, "--trust-workers", workers]).ended;
  assert.equal(signed.code, 0, signed.stderr);
  assert.match(signed.stdout, /from rust/);
  const unsigned = await rig.rust("a3s-coordinator", verb).ended;
  assert.equal(unsigned.code, 1);
  assert.match(unsigned.stderr, /it is not signed/);
  const trust = file(rig, "trust.toml", list(OURS));
  const files = ["--trust", trust, "--signing-key", file(rig, "worker.nk", THEIRS)];
  const rust = rig.rust("a3s-worker", ["--worker-id", "rust", "--pool", "eu", ...files]);
  await until("the Rust worker", () => (rust.stderr + rust.stdout).includes("ready for tasks"));
  const session = await caller(rig, t, { pool: "eu" });
  const result = await (await session.submit("query", { commandType: "bash", payload: { command: "echo from node" } })).result();
  assert.equal((result.result as { stdout: string }).stdout, "from node\n", result.error ?? "");
});

test("files that cannot be used are said", async (t) => {
  const rig = await Rig.start(t);
  const key = file(rig, "open.nk", OURS);
  chmodSync(key, 0o644);
  assert.throws(() => Signatures.ofWorker({ signingKey: key }), /chmod 600/);
  assert.throws(() => Signatures.ofWorker({ trust: "/nowhere/trust.toml" }), /cannot read/);
  chmodSync(key, 0o600);
  assert.throws(() => Signatures.ofWorker({ trust: key }), /cannot use the trust list/);
  assert.throws(() => Signatures.ofCaller({ trustWorkers: key }, { XDG_CONFIG_HOME: rig.directory }), /needs a key too/);
});
