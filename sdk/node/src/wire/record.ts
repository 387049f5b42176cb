// What is remembered of a task beside its message: who claimed it, how attempts ended, and the
// wish that it ends. Always JSON.

import { Fields } from "./fields.js";

/** The right of a worker to start a `once` task. */
export interface Claim {
  readonly worker_id: string;
  readonly attempt: number;
  readonly at_ms: number;
}

/** How an attempt ended that is followed by another one. */
export interface AttemptNote extends Claim {
  readonly error: string;
}

/** One a task, written by compare-and-set. */
export interface TaskRecord {
  readonly claim?: Claim;
  /** Deliveries that were given back unharmed: they are no attempts. */
  readonly handed_back: number;
  /** Oldest first. */
  readonly attempts: readonly AttemptNote[];
}

/** The wish that a task ends. */
export interface CancelMarker {
  readonly reason: string;
  readonly at_ms: number;
}

export const EMPTY_RECORD: TaskRecord = { handed_back: 0, attempts: [] };

/** Reads a decoded record. */
export function readRecord(value: unknown): TaskRecord {
  const fields = new Fields("record", value);
  const claim = fields.any("claim");
  const notes = fields.any("attempts") ?? [];
  if (!Array.isArray(notes)) throw new TypeError("attempts is no list");
  return {
    ...(claim !== undefined && { claim: readClaim(new Fields("claim", claim)) }),
    handed_back: fields.count("handed_back") ?? 0,
    attempts: notes.map(readNote),
  };
}

/** Reads a decoded cancel marker; both fields may be missing. */
export function readMarker(value: unknown): CancelMarker {
  const fields = new Fields("cancel marker", value);
  return { reason: fields.text("reason") ?? "", at_ms: fields.count("at_ms") ?? 0 };
}

/** Reads a decoded note of an attempt. */
export function readNote(value: unknown): AttemptNote {
  const fields = new Fields("note of an attempt", value);
  return { ...readClaim(fields), error: fields.required("error", fields.text("error")) };
}

function readClaim(fields: Fields): Claim {
  return {
    worker_id: fields.required("worker_id", fields.text("worker_id")),
    attempt: fields.required("attempt", fields.count("attempt")),
    at_ms: fields.required("at_ms", fields.count("at_ms")),
  };
}
