// What happens, told to whoever listens. Best effort: nothing depends on an event.

import { DecodeError } from "./encoding.js";
import { Fields } from "./fields.js";
import type { Lane } from "./lane.js";
import { readLane } from "./task.js";

const KINDS = [
  "queue.command.submitted", "queue.command.started", "queue.command.completed", "queue.command.retry",
  "queue.command.dead_lettered", "queue.command.failed", "queue.command.timeout", "queue.lane.pressure",
  "queue.lane.idle", "queue.alert", "queue.shutdown.started", "queue.shutdown.complete",
] as const;

/** What happened. */
export type EventKind = (typeof KINDS)[number];

/** One thing that happened. What does not apply is absent. */
export interface Event {
  readonly kind: EventKind;
  readonly session_id: string;
  /** Broker time, milliseconds since 1970. */
  readonly time_ms: number;
  readonly task_id?: string;
  readonly lane?: Lane;
  readonly command_type?: string;
  readonly attempt?: number;
  readonly worker_id?: string;
  readonly duration_ms?: number;
  readonly error?: string;
  /** How long the next attempt waits. */
  readonly delay_ms?: number;
}

const TEXTS = ["task_id", "command_type", "worker_id", "error"] as const;
const COUNTS = ["attempt", "duration_ms", "delay_ms"] as const;

/** Reads a decoded event. Throws `DecodeError` when it is none, or of a kind that is not known. */
export function readEvent(value: unknown): Event {
  const fields = new Fields("event", value);
  const kind = KINDS.find((known) => known === fields.text("kind"));
  if (kind === undefined) throw new DecodeError(`unknown kind of event ${String(fields.any("kind"))}`);
  const rest = [
    ["lane", readLane(fields)],
    ...TEXTS.map((name) => [name, fields.text(name)]),
    ...COUNTS.map((name) => [name, fields.count(name)]),
  ].filter(([, found]) => found !== undefined);
  return {
    kind,
    session_id: fields.required("session_id", fields.text("session_id")),
    time_ms: fields.required("time_ms", fields.count("time_ms")),
    ...(Object.fromEntries(rest as [string, unknown][]) as Partial<Event>),
  };
}
