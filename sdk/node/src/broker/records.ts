// Task records (claims and attempts, by compare-and-set) and cancel markers.

import { isDeepStrictEqual } from "node:util";

import { decode, encode } from "../wire/encoding.js";
import { TTL } from "../wire/headers.js";
import { EMPTY_RECORD, readMarker, readRecord, type CancelMarker, type TaskRecord } from "../wire/record.js";
import type { Broker } from "./broker.js";
import { Unanswered } from "./errors.js";

/** How long a record outlives its task's deadline, in milliseconds. */
const KEPT_AFTER_DEADLINE_MS = 3_600_000;

/** The streams' own age limit is seven days. */
const LONGEST_TTL_S = 6 * 24 * 3_600;

/** A record and the sequence to write over; 0 when there is none. */
export interface Revised {
  readonly record: TaskRecord;
  readonly revision: number;
}

/** A task's record; an empty one of revision 0 when there is none. */
export async function readTaskRecord(broker: Broker, session: string, task: string): Promise<Revised> {
  const found = await broker.last(broker.names.claims, broker.names.claim(session, task));
  if (!found) return { record: EMPTY_RECORD, revision: 0 };
  return { record: readRecord(decode("json", found.body)), revision: found.sequence };
}

/** Writes a record over `revision` and returns the new one. Throws `Conflict` when somebody wrote meanwhile. */
export async function writeTaskRecord(
  broker: Broker, session: string, task: string, record: TaskRecord, revision: number, deadlineMs: number,
): Promise<number> {
  const subject = broker.names.claim(session, task);
  try {
    return (await broker.publish(subject, encode("json", record), [ttl(broker, deadlineMs)], revision)).seq;
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    // Stored or not: what is there now tells.
    const now = await readTaskRecord(broker, session, task);
    if (now.revision > revision && isDeepStrictEqual(now.record, record)) return now.revision;
    throw error;
  }
}

/** Marks a task as cancelled, durably. The marker goes an hour after `deadlineMs`. */
export async function writeMarker(broker: Broker, session: string, task: string, reason: string, deadlineMs: number): Promise<void> {
  const marker: CancelMarker = { reason, at_ms: broker.clock.nowMs() };
  await broker.publish(broker.names.cancel(session, task), encode("json", marker), [ttl(broker, deadlineMs)]);
}

/** A task's cancel marker, `undefined` when nobody wants it to end. */
export async function readTaskMarker(broker: Broker, session: string, task: string): Promise<CancelMarker | undefined> {
  const found = await broker.last(broker.names.cancels, broker.names.cancel(session, task));
  return found && markerOf(found.body);
}

/** The marker in a body; a body that makes no sense still is one. */
export function markerOf(body: Uint8Array): CancelMarker {
  try {
    return readMarker(decode("json", body));
  } catch {
    return { reason: "", at_ms: 0 };
  }
}

function ttl(broker: Broker, deadlineMs: number): [string, string] {
  const left = Math.max(deadlineMs - broker.clock.nowMs(), 0) + KEPT_AFTER_DEADLINE_MS;
  return [TTL, `${Math.min(Math.floor(left / 1000), LONGEST_TTL_S)}s`];
}
