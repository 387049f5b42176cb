// What is decided without a broker: pulls, slots, verdicts, attempts, encodings.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readReply } from "../src/broker/reply.js";
import { configure } from "../src/config.js";
import { attemptOf, conclude, judge, type Job } from "../src/judge.js";
import { Pulls, type Pull } from "../src/pulls.js";
import { Slots } from "../src/slots.js";
import { said } from "../src/turn.js";
import { InvalidInput, Reject, Retry, RetryAfter, returned, thrown } from "../src/verdict.js";
import { DecodeError, decode, encode } from "../src/wire/encoding.js";
import { readHeaders, type Effect } from "../src/wire/headers.js";
import type { Lane } from "../src/wire/lane.js";
import { Names } from "../src/wire/names.js";
import { EMPTY_RECORD } from "../src/wire/record.js";
import { DEFAULT_RETRY, maxAttempts, retryDelayMs } from "../src/wire/retry.js";
import { readTask } from "../src/wire/task.js";

const brief = (pulls: Pull[]): unknown[] => pulls.map((pull) => [pull.lane, pull.batch, pull.waits]);

/** Answers every sweep with "nothing" until all lanes are armed. */
function settle(pulls: Pulls, now: number): Pull[] {
  for (;;) {
    const sent = pulls.plan(now, () => 4);
    if (sent.every((pull) => pull.waits)) return sent;
    for (const pull of sent) pulls.status(pull.lane, pull.id, "empty", now);
  }
}

test("lanes are asked top-down and armed when all are empty", () => {
  const pulls = new Pulls(["Execute", "Control", "Query"], false);
  assert.deepEqual(brief(pulls.plan(0, () => 4)), [["Control", 4, false]]);
  assert.deepEqual(pulls.plan(0, () => 4), [], "one pull a lane, and lower lanes wait");
  pulls.status("Control", 1, "empty", 0);
  assert.deepEqual(brief(settle(pulls, 0)), [["Control", 1, true], ["Query", 1, true], ["Execute", 1, true]]);
});

test("a pull may bring something until it did", () => {
  const pulls = new Pulls(["Query"], false);
  assert.equal(pulls.anyWait(), false);
  const [sweep] = pulls.plan(0, () => 1);
  assert.equal(pulls.anyWait(), true);
  pulls.status("Query", sweep?.id ?? 0, "empty", 0);
  assert.equal(pulls.anyWait(), false);
  pulls.plan(0, () => 1);
  assert.equal(pulls.anyWait(), true);
  pulls.arrived("Query");
  assert.equal(pulls.anyWait(), false);
});

test("an arrival makes its lane unknown and only that lane is swept", () => {
  const pulls = new Pulls(["Execute", "Control", "Query"], false);
  settle(pulls, 0);
  pulls.arrived("Execute");
  assert.deepEqual(brief(pulls.plan(0, () => 3)), [["Execute", 3, false]]);
});

test("a lower lane waits while a higher one is asked", () => {
  const pulls = new Pulls(["Execute", "Control", "Query"], false);
  settle(pulls, 0);
  pulls.arrived("Query");
  pulls.arrived("Execute");
  pulls.plan(0, () => 1);
  assert.equal(pulls.mayStart("Execute", 0), undefined);
  assert.equal(pulls.mayStart("Query", 0), 0);
});

test("nothing is asked without a free slot", () => {
  const pulls = new Pulls(["Execute", "Control", "Query"], false);
  assert.deepEqual(pulls.plan(0, () => 0), []);
  assert.deepEqual(brief(pulls.plan(0, (lane) => (lane === "Control" ? 1 : 0))), [["Control", 1, false]]);
});

test("a lane that was empty when the last slot went is asked first when one returns", () => {
  const pulls = new Pulls(["Query", "Generate"], false);
  const [query] = pulls.plan(0, () => 1);
  pulls.status("Query", query?.id ?? 0, "empty", 0);
  assert.deepEqual(brief(pulls.plan(0, () => 1)), [["Generate", 1, false]]);
  pulls.arrived("Generate");
  assert.deepEqual(pulls.plan(0, () => 0), []);
  assert.deepEqual(brief(pulls.plan(9_000, () => 1)), [["Query", 1, false]]);
});

test("a silent broker is asked again, and one that was heard is not", () => {
  const pulls = new Pulls(["Control", "Query"], false);
  const [control] = settle(pulls, 0);
  pulls.status("Control", control?.id ?? 0, "heartbeat", 2_000);
  assert.equal(pulls.wakeAt(), 4_500);
  assert.deepEqual(brief(pulls.plan(4_500, () => 1)), [["Query", 1, false]]);
});

test("a refused pull is repeated a little later, and the word of an earlier pull is ignored", () => {
  const pulls = new Pulls(["Query"], false);
  const [sweep] = pulls.plan(0, () => 1);
  pulls.status("Query", (sweep?.id ?? 0) + 7, "empty", 0);
  assert.deepEqual(pulls.plan(0, () => 1), []);
  pulls.status("Query", sweep?.id ?? 0, "refused", 0);
  assert.deepEqual(pulls.plan(499, () => 1), []);
  assert.deepEqual(brief(pulls.plan(500, () => 1)), [["Query", 1, false]]);
});

test("own lanes are armed at once, and a lower lane's task waits a moment for a higher one's", () => {
  const pulls = new Pulls(["Control", "Execute"], true);
  assert.deepEqual(brief(pulls.plan(0, () => 4)), [["Control", 1, true], ["Execute", 1, true]]);
  pulls.arrived("Execute");
  assert.equal(pulls.mayStart("Control", 0), 0);
  assert.equal(pulls.mayStart("Execute", 0), 5);
});

test("control has a slot that no other lane can take", () => {
  let returns = 0;
  const slots = new Slots(1, true, () => { returns += 1; });
  const query = slots.take("Query");
  assert.ok(query);
  assert.equal(slots.take("Query"), undefined);
  assert.ok(slots.take("Control"));
  assert.equal(slots.take("Control"), undefined);
  query();
  query();
  assert.deepEqual([returns, slots.busy, slots.free("Query"), slots.free("Control")], [1, 0, 1, 1]);
});

function job(effect: Effect): Job {
  const lane: Lane = "Query";
  const task = { task_id: "t", session_id: "s", lane, command_type: "read", payload: null, timeout_ms: 10, deadline_ms: 100 };
  return { task, encoding: "json", effect, retry: DEFAULT_RETRY, record: EMPTY_RECORD, revision: 0, attempt: 1, startedAtMs: 0 };
}

const kind = (settlement: ReturnType<typeof judge>): unknown => settlement?.is === "answer" ? settlement.result.error_kind : settlement?.is;

test("what happened comes before what is wished, and that before the time", () => {
  const once = job("once");
  assert.equal(judge(once, 1, undefined, 99), undefined, "it is to be run");
  assert.equal(kind(judge(once, 9, undefined, 100)), "timed_out");
  const marker = { reason: "", at_ms: 0 };
  assert.equal(kind(judge(once, 9, marker, 100)), "cancelled");
  once.record = { ...EMPTY_RECORD, claim: { worker_id: "w", attempt: 1, at_ms: 1 } };
  assert.equal(kind(judge(once, 9, marker, 100)), "unknown");
});

test("deliveries are attempts of idempotent tasks only, and what was handed back is none", () => {
  const idempotent = job("idempotent");
  assert.equal(judge(idempotent, 4, undefined, 0), undefined);
  assert.equal(kind(judge(idempotent, 5, undefined, 0)), "bury");
  idempotent.record = { ...EMPTY_RECORD, handed_back: 1 };
  assert.equal(judge(idempotent, 5, undefined, 0), undefined);
  assert.equal(judge(job("once"), 50, undefined, 0), undefined, "nobody has claimed it yet");
  const tried = job("once");
  tried.record = { ...EMPTY_RECORD, attempts: [{ worker_id: "w", attempt: 1, at_ms: 1, error: "busy" }] };
  assert.equal(attemptOf(tried, 7), 2);
});

test("an attempt is later than every attempt that is noted", () => {
  const tried = job("idempotent");
  tried.record = { ...EMPTY_RECORD, attempts: [{ worker_id: "w", attempt: 3, at_ms: 1, error: "busy" }] };
  assert.equal(attemptOf(tried, 2), 4, "a server that was killed counts less than it delivered");
  assert.equal(attemptOf(tried, 6), 6);
});

test("another attempt is had until none is left", () => {
  const tried = job("idempotent");
  assert.deepEqual(conclude(thrown(new Retry("busy")), tried, 1), { is: "again", error: "busy", delayMs: 100 });
  assert.deepEqual(conclude(thrown(new RetryAfter("busy", 7)), tried, 1), { is: "again", error: "busy", delayMs: 7 });
  tried.attempt = 4;
  assert.deepEqual(conclude(thrown(new Retry("busy")), tried, 1), { is: "bury", error: "busy (attempt 4 of 4)" });
  assert.deepEqual(conclude(thrown(new Reject("never")), job("once"), 0), { is: "bury", error: "never" });
});

test("what a handler returns is its result, and what it throws is a failure that says why", () => {
  const done = (result: unknown): unknown => ({ is: "done", result });
  assert.deepEqual(returned({ success: false, result: { a: 1 }, error: "no" }), done({ success: false, result: { a: 1 }, error: "no", error_kind: null }));
  assert.deepEqual(returned("text"), done({ success: true, result: "text", error: null, error_kind: null }));
  assert.deepEqual(returned(undefined), done({ success: true, result: {}, error: null, error_kind: null }));
  assert.deepEqual(thrown(new Error("no")), done({ success: false, result: {}, error: "no", error_kind: null }));
  assert.deepEqual(thrown(new InvalidInput("no")), done({ success: false, result: {}, error: "no", error_kind: "invalid_input" }));
});

test("delays double, are capped, and are spread over the upper half", () => {
  assert.deepEqual([retryDelayMs(DEFAULT_RETRY, 1, 0), retryDelayMs(DEFAULT_RETRY, 1, 1), retryDelayMs(DEFAULT_RETRY, 3, 1)], [50, 100, 400]);
  assert.equal(retryDelayMs(DEFAULT_RETRY, 60, 1), 30_000);
});

test("headers that cannot be read have their defaults", () => {
  const read = (pairs: Record<string, string>): ReturnType<typeof readHeaders> => readHeaders((name) => pairs[name]);
  const nonsense = read({ "A3s-Deadline": "soon", "A3s-Max-Attempts": "-1", "A3s-Retry-Delay": "linear:3", "A3s-Effect": "twice" });
  assert.deepEqual([nonsense.deadlineMs, nonsense.retry, nonsense.effect], [undefined, undefined, undefined]);
  const none = read({ "A3s-Max-Attempts": "9", "A3s-Retry-Delay": "none" }).retry;
  assert.equal(none && maxAttempts(none), 1);
});

test("integers of 64 bits survive both encodings, and smaller ones are numbers", () => {
  const value = { big: (1n << 64n) - 1n, small: -(1n << 63n), exact: 2 ** 53 - 1, negative: -(2 ** 40), text: "12345678901234567890" };
  for (const encoding of ["messagepack", "json"] as const) {
    assert.deepEqual(decode(encoding, encode(encoding, value)), value, encoding);
    assert.throws(() => encode(encoding, { more: 1n << 64n }), /more than 64 bits/);
  }
  // A whole number in the body of a message, where Rust expects an integer and not a float.
  assert.equal(encode("messagepack", 2 ** 40)[0], 0xcf);
});

test("what JSON cannot say is not sent, and not taken", () => {
  for (const encoding of ["messagepack", "json"] as const) {
    const value = { at: new Date(0), gone: undefined, nan: NaN, list: [undefined], fn: () => 1 };
    assert.deepEqual(decode(encoding, encode(encoding, value)), { at: "1970-01-01T00:00:00.000Z", nan: null, list: [null] });
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    assert.throws(() => encode(encoding, circle), /nests deeper/);
  }
  assert.throws(() => decode("messagepack", Uint8Array.of(0xc4, 1, 0)), DecodeError);
  assert.throws(() => decode("json", Uint8Array.of(0x22, 0xff, 0x22)), DecodeError);
});

test("a field is given under one of its names only", () => {
  assert.throws(() => readTask({ task_id: "a", id: "a", command_type: "x" }), /names of one field/);
  assert.throws(() => readTask(["a"]), DecodeError);
});

test("subjects of tasks are read back, and others are none", () => {
  const names = new Names("a3s");
  for (const route of ["own", { pool: "default" }, { pool: "eu" }] as const) {
    assert.deepEqual(names.parseTask(names.task("s", "Query", route)), { session: "s", lane: "Query", route });
  }
  for (const subject of ["a3s.s.result.t", "a3s.s.Query", "a3s.s.rate", "a3s.s", "b.s.query", "a3s.s.query.eu.x"]) {
    assert.equal(names.parseTask(subject), undefined, subject);
  }
});

test("a configuration that cannot work says what can", () => {
  const refused: [Parameters<typeof configure>[0], RegExp][] = [
    [{ sessionId: "a", pool: "b" }, /not both/],
    [{ sessionId: "a.b" }, /invalid session id "a.b"/],
    [{ pool: "query" }, /meaning of its own/],
    [{ lanes: [] }, /no lanes/],
    [{ concurrency: 0 }, /use 1 to 4096/],
    [{ workerId: "" }, /invalid worker id/],
  ];
  for (const [options, message] of refused) assert.throws(() => configure(options, {}), message);
  assert.deepEqual(configure({}, { SESSION_ID: "abc", A3S_LANES: "query,control", A3S_DRAIN: "2" }).serves, { session: "abc" });
  assert.deepEqual(configure({ pool: "eu" }, { SESSION_ID: "abc" }).serves, { pool: "eu" }, "what is given comes before the environment");
});

test("who says no distance is last, and only a helper names a threshold", () => {
  const told = (env: NodeJS.ProcessEnv): unknown => said(configure({}, env).turn);
  assert.deepEqual(told({}), { group: "workers", priority: 9 });
  assert.deepEqual(told({ A3S_DISTANCE: "0" }), { group: "workers", priority: 0 });
  assert.deepEqual(told({ A3S_HELP_WHEN: "20" }), { group: "workers", min_pending: 20 });
  for (const wrong of [{ distance: 10 }, { helpWhen: 0 }, { distance: 1, helpWhen: 1 }, { sessionId: "s", distance: 1 }]) {
    assert.throws(() => configure(wrong, {}), RangeError);
  }
});

test("the reply subject of a delivery is read, as older and newer servers write it", () => {
  const read = { stream: "A3S_TASKS", delivered: 2, sequence: 30, delivery: 4, storedAtMs: 1_700_000_000_000, pending: 5 };
  const tail = "A3S_TASKS.pool-default-query.2.30.4.1700000000000000000.5";
  for (const reply of [`$JS.ACK.${tail}`, `$JS.ACK._.ACCOUNT.${tail}`, `$JS.ACK.hub.ACCOUNT.${tail}.token`]) {
    assert.deepEqual(readReply(reply), read, reply);
  }
  for (const reply of [undefined, "", "$JS.FC.A3S_CANCELS.scan.1", "$JS.ACK.A3S_TASKS", `_INBOX.${tail}`]) {
    assert.equal(readReply(reply), undefined, reply);
  }
});
