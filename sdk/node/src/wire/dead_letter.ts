// A dead letter: what could not be done, kept whole. Always JSON.

import { Fields } from "./fields.js";
import type { Lane } from "./lane.js";
import { readNote, type AttemptNote } from "./record.js";
import { readLane } from "./task.js";

export interface DeadLetter {
  readonly task_id: string;
  readonly session_id: string;
  readonly lane: Lane;
  readonly command_type: string;
  readonly error: string;
  /** How many attempts were started. */
  readonly attempts: number;
  /** Broker time, milliseconds since 1970. */
  readonly failed_at: number;
  readonly history: readonly AttemptNote[];
  /** Null when larger than 16 KiB; `body` has it all the same. */
  readonly payload: unknown;
  readonly subject: string;
  readonly headers: readonly (readonly [string, string])[];
  /** Base64 of the message's body. */
  readonly body: string;
}

/** Reads a decoded dead letter. */
export function readDeadLetter(value: unknown): DeadLetter {
  const fields = new Fields("dead letter", value);
  const text = (name: string): string => fields.required(name, fields.text(name));
  const list = (name: string): unknown[] => {
    const items = fields.any(name);
    return Array.isArray(items) ? items : [];
  };
  return {
    task_id: text("task_id"),
    session_id: text("session_id"),
    lane: fields.required("lane", readLane(fields)),
    command_type: text("command_type"),
    error: text("error"),
    attempts: fields.count("attempts") ?? 0,
    failed_at: fields.count("failed_at") ?? 0,
    history: list("history").map(readNote),
    payload: fields.any("payload") ?? null,
    subject: text("subject"),
    headers: list("headers") as [string, string][],
    body: text("body"),
  };
}
