// The golden messages of the wire: what the Rust side writes, this side reads, and the other way
// round.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { StoredTask } from "../src/broker/stored_task.js";
import { decode, encode, encodingOf, type Encoding } from "../src/wire/encoding.js";
import { readDeadLetter } from "../src/wire/dead_letter.js";
import { readEvent } from "../src/wire/event.js";
import { readPresence, readSessionRecord } from "../src/wire/fleet.js";
import { Names } from "../src/wire/names.js";
import { readMarker, readRecord } from "../src/wire/record.js";
import { readResult } from "../src/wire/result.js";
import { formatRetryDelay, maxAttempts } from "../src/wire/retry.js";
import { defaultEffect, defaultRetry } from "../src/wire/headers.js";
import { readTask } from "../src/wire/task.js";
import { REPOSITORY } from "./support.js";

const DIRECTORY = join(REPOSITORY, "shared/fixtures");

interface Message {
  readonly name: string;
  readonly type: keyof typeof READERS;
  readonly file: string;
  readonly encoding: Encoding;
  readonly golden: boolean;
  readonly headers?: Record<string, string>;
  readonly value?: unknown;
  readonly error?: string;
}

interface DeliveredTask {
  readonly name: string;
  readonly stream: string;
  readonly subject: string;
  readonly sequence: number;
  readonly stored_at_ms: number;
  readonly headers: Record<string, string>;
  readonly body: string;
  readonly task?: Record<string, unknown>;
  readonly error?: string;
  readonly no_task?: boolean;
}

const READERS = {
  task: readTask, result: readResult, record: readRecord, cancel: readMarker, dead_letter: readDeadLetter,
  event: readEvent, presence: readPresence, session: readSessionRecord,
};

// By our own decoder: the index holds integers that `JSON.parse` would round.
const INDEX = decode("json", readFileSync(join(DIRECTORY, "fixtures.json"))) as { messages: Message[]; deliveries: DeliveredTask[] };

test("the index is not empty", () => {
  assert.ok(INDEX.messages.length > 50 && INDEX.deliveries.length > 5);
});

for (const message of INDEX.messages) {
  test(`message: ${message.name}`, () => {
    const body = readFileSync(join(DIRECTORY, message.file));
    const read = (): unknown => READERS[message.type](decode(message.encoding, body));
    if (message.error !== undefined) {
      assert.throws(read);
      return;
    }
    assert.equal(encodingOf(message.headers?.["Content-Type"], body), message.encoding);
    assert.deepEqual(read(), message.value);
    // Byte for byte: field order, integer widths and all.
    if (message.golden) {
      assert.deepEqual(Buffer.from(encode(message.encoding, decode(message.encoding, body))).toString("latin1"),
        body.toString("latin1"));
    }
  });
}

for (const delivery of INDEX.deliveries) {
  test(`delivery: ${delivery.name}`, () => {
    const names = new Names("a3s");
    const address = names.parseTask(delivery.subject);
    if (delivery.no_task === true) {
      assert.equal(address, undefined);
      return;
    }
    assert.ok(address);
    const body = Buffer.from(delivery.body);
    const stored = new StoredTask(
      names, address, delivery.stream, delivery.subject, delivery.sequence, delivery.stored_at_ms, Object.entries(delivery.headers), body);
    if (delivery.error !== undefined) {
      assert.throws(() => stored.read(body));
      return;
    }
    const task = stored.read(body);
    const effect = stored.headers.effect ?? defaultEffect(task.lane);
    const retry = stored.headers.retry ?? defaultRetry(effect);
    const made: Record<string, unknown> = {
      ...task, effect, max_attempts: maxAttempts(retry), encoding: stored.encoding(body),
      retry_delay: formatRetryDelay(retry),
    };
    const expected = delivery.task ?? {};
    for (const [field, value] of Object.entries(expected)) {
      assert.ok(field in made, `this test does not know the field ${field}`);
      assert.deepEqual(made[field], value, field);
    }
  });
}
