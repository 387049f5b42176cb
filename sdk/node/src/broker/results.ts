// Results: the first one stored for a task is the only one.

import { contentType, decode, encode, encodingOf, type Encoding } from "../wire/encoding.js";
import { BLOB, CONTENT_TYPE } from "../wire/headers.js";
import { Untrusted, type Place } from "../trust.js";
import type { Lane } from "../wire/lane.js";
import { readResult, type TaskResult } from "../wire/result.js";
import { ANSWERS, bodyDigest, resultForm } from "../wire/signature.js";
import { BLOB_THRESHOLD, getBlob, putBlob } from "./blobs.js";
import type { Broker } from "./broker.js";
import { Denied, Unanswered } from "./errors.js";

/** How often a result without an answer is published again before the caller hears of it. */
const TRIES = 3;

/**
 * Publishes a task's result in the task's encoding. `true`: it is the outcome; our own result,
 * stored by a try whose answer was lost, counts. `false`: there was another one before. Signed where
 * there is a key; `answers` is the signature of its task's message.
 */
export async function publishResult(broker: Broker, result: TaskResult, encoding: Encoding, answers?: string): Promise<boolean> {
  const subject = broker.names.result(result.session_id, result.task_id);
  const headers: [string, string][] = [[CONTENT_TYPE, contentType(encoding)]];
  let body = encode(encoding, result);
  if (body.length > BLOB_THRESHOLD) {
    headers.push([BLOB, await putBlob(broker, body, `${result.task_id}-result`)]);
    body = new Uint8Array();
  }
  const { key } = broker.signatures;
  if (key) {
    if (answers !== undefined) headers.push([ANSWERS, answers]);
    const header = (name: string): string | undefined => headers.find(([known]) => known === name)?.[1];
    headers.push(...key.headers(resultForm({ ...result, subject }, header, bodyDigest(body, header))));
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
export async function findResult(
  broker: Broker, session: string, task: string, answers?: string,
): Promise<TaskResult | undefined> {
  const found = await broker.last(broker.names.results, broker.names.result(session, task));
  return found && readResultMessage(broker, found.header, found.body, { session, task, answers });
}

/** Whether a task has a result. Cheaper than reading it. */
export async function hasResult(broker: Broker, session: string, task: string): Promise<boolean> {
  const subject = broker.names.result(session, task);
  try {
    return (await broker.last(broker.names.results, subject)) !== undefined;
  } catch (error) {
    // A credential that may not read results may ask this.
    if (error instanceof Denied) return broker.holds(subject, broker.names.result("_", "_"));
    throw error;
  }
}

/**
 * Decodes a result's message. Where results are checked, one that is not believed is replaced by one
 * that says so.
 */
export async function readResultMessage(
  broker: Broker, header: (name: string) => string | undefined, body: Uint8Array, place: Place,
): Promise<TaskResult> {
  const blob = header(BLOB);
  const whole = blob === undefined ? body : await getBlob(broker, blob);
  const { signatures } = broker;
  const encoding = encodingOf(header(CONTENT_TYPE), whole);
  if (!signatures.results) return readResult(decode(encoding, whole));
  let lane: Lane = "Query";
  try {
    const result = readOrRefuse(encoding, whole);
    lane = result.lane;
    signatures.checkResult(signatures.results, broker.names, place, result, header, whole);
    if (place.answers !== undefined && place.answers !== header(ANSWERS)) {
      throw new Untrusted("it answers another task, or an earlier one of this id");
    }
    return result;
  } catch (error) {
    if (!(error instanceof Untrusted)) throw error;
    signatures.refused += 1;
    return disbelieved(lane, place, error.message);
  }
}

function readOrRefuse(encoding: Encoding, body: Uint8Array): TaskResult {
  try {
    return readResult(decode(encoding, body));
  } catch {
    throw new Untrusted("it is no result");
  }
}

function disbelieved(lane: Lane, place: Place, why: string): TaskResult {
  const error = `the result that the broker has of this task is not believed: ${why}; nobody knows whether the task was run`;
  return {
    task_id: place.task, session_id: place.session, lane, command_type: "", success: false, result: {}, error,
    error_kind: "unknown", attempt: 0, worker_id: "coordinator", started_at_ms: 0, duration_ms: 0,
  };
}

async function isOurs(broker: Broker, result: TaskResult): Promise<boolean> {
  try {
    const stored = await findResult(broker, result.session_id, result.task_id);
    return stored?.worker_id === result.worker_id && stored.started_at_ms === result.started_at_ms;
  } catch (error) {
    // Who may not read it cannot know; there is one, and that is what matters.
    if (error instanceof Denied) return false;
    throw error;
  }
}
