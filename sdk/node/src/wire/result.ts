// The body of a result, and the outcome that is read off it.

import { Fields } from "./fields.js";
import type { Lane } from "./lane.js";
import { readLane } from "./task.js";

const ERROR_KINDS = [
  "timed_out", "cancelled", "unknown", "dead_lettered", "unknown_command", "invalid_input", "refused", "other",
] as const;

/** Why there is no success, unless the tool itself ran and failed. */
export type ErrorKind = (typeof ERROR_KINDS)[number];

/** How a task ended. */
export type Outcome = "completed" | "failed" | "timed_out" | "cancelled" | "unknown" | "dead_lettered";

/** A task's result, as it is on the wire. */
export interface TaskResult {
  readonly task_id: string;
  readonly session_id: string;
  readonly lane: Lane;
  /** Empty when the task could not be read. */
  readonly command_type: string;
  readonly success: boolean;
  /** Kept also when `success` is false. */
  readonly result: unknown;
  readonly error: string | null;
  readonly error_kind: ErrorKind | null;
  /** From 1; 0 when none was started. */
  readonly attempt: number;
  readonly worker_id: string;
  /** Broker time, milliseconds since 1970; 0 when it was not started. */
  readonly started_at_ms: number;
  readonly duration_ms: number;
}

/** Reads a result's decoded body. Throws `DecodeError` when it is none. */
export function readResult(value: unknown): TaskResult {
  const fields = new Fields("result", value);
  const kind = fields.text("error_kind", "errorKind");
  return {
    task_id: fields.required("task_id", fields.text("task_id", "taskId")),
    session_id: fields.required("session_id", fields.text("session_id", "sessionId")),
    lane: fields.required("lane", readLane(fields)),
    command_type: fields.text("command_type", "commandType") ?? "",
    success: fields.required("success", fields.flag("success")),
    result: fields.any("result") ?? null,
    error: fields.text("error") ?? null,
    error_kind: kind === undefined ? null : (ERROR_KINDS.find((known) => known === kind) ?? "other"),
    attempt: fields.count("attempt") ?? 0,
    worker_id: fields.text("worker_id", "workerId") ?? "",
    started_at_ms: fields.count("started_at_ms", "startedAtMs") ?? 0,
    duration_ms: fields.count("duration_ms", "durationMs") ?? 0,
  };
}

/** How the task of a result ended. */
export function outcomeOf(result: Pick<TaskResult, "success" | "error_kind">): Outcome {
  if (result.success) return "completed";
  switch (result.error_kind) {
    case "timed_out":
    case "cancelled":
    case "unknown":
    case "dead_lettered":
      return result.error_kind;
    default:
      return "failed";
  }
}
