// Results: the first one stored for a task is the only one.

import { contentType, decode, encode, encodingOf, type Encoding } from "../wire/encoding.js";
import { BLOB, CONTENT_TYPE } from "../wire/headers.js";
import { readResult, type TaskResult } from "../wire/result.js";
import { BLOB_THRESHOLD, getBlob, putBlob } from "./blobs.js";
import type { Broker } from "./broker.js";
import { Unanswered } from "./errors.js";

/** How often a result without an answer is published again before the caller hears of it. */
const TRIES = 3;

/**
 * Publishes a task's result in the task's encoding. `true`: it is the outcome; our own result,
 * stored by a try whose answer was lost, counts. `false`: there was another one before.
 */
export async function publishResult(broker: Broker, result: TaskResult, encoding: Encoding): Promise<boolean> {
  const subject = broker.names.result(result.session_id, result.task_id);
  const headers: [string, string][] = [[CONTENT_TYPE, contentType(encoding)]];
  let body = encode(encoding, result);
  if (body.length > BLOB_THRESHOLD) {
    headers.push([BLOB, await putBlob(broker, body, `${result.task_id}-result`)]);
    body = new Uint8Array();
  }
  for (let tries = 1; ; tries += 1) {
    try {
      const first = await broker.publishFirst(subject, body, headers, 0);
      return first || (tries > 1 && (await isOurs(broker, result)));
    } catch (error) {
      if (!(error instanceof Unanswered) || tries === TRIES) throw error;
    }
  }
}

/** The result of a task, `undefined` when there is none (yet, or any more: they are kept a day). */
export async function findResult(broker: Broker, session: string, task: string): Promise<TaskResult | undefined> {
  const found = await broker.last(broker.names.results, broker.names.result(session, task));
  return found && readResultMessage(broker, found.header, found.body);
}

/** Whether a task has a result. Cheaper than reading it. */
export async function hasResult(broker: Broker, session: string, task: string): Promise<boolean> {
  return (await broker.last(broker.names.results, broker.names.result(session, task))) !== undefined;
}

/** Decodes a result's message. */
export async function readResultMessage(
  broker: Broker, header: (name: string) => string | undefined, body: Uint8Array,
): Promise<TaskResult> {
  const blob = header(BLOB);
  const whole = blob === undefined ? body : await getBlob(broker, blob);
  return readResult(decode(encodingOf(header(CONTENT_TYPE), whole), whole));
}

async function isOurs(broker: Broker, result: TaskResult): Promise<boolean> {
  const stored = await findResult(broker, result.session_id, result.task_id);
  return stored?.worker_id === result.worker_id && stored.started_at_ms === result.started_at_ms;
}
