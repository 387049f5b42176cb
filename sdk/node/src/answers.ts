// The results that a worker gives without, or instead of, a handler's own. Pure.

import type { WireTask } from "./broker/stored_task.js";
import type { StopReason } from "./task.js";
import type { ToolResult } from "./verdict.js";
import type { CancelMarker, Claim, TaskRecord } from "./wire/record.js";
import type { ErrorKind } from "./wire/result.js";

function failure(kind: ErrorKind, error: string, result: unknown = {}): ToolResult {
  return { success: false, result, error, error_kind: kind };
}

/** The deadline passed before the task was started. */
export function tooLate(task: WireTask): ToolResult {
  return failure("timed_out", `timed out before it was started: its ${task.timeout_ms} ms were over in the queue`);
}

/** Cancelled before it was started. */
export function cancelled(marker: CancelMarker): ToolResult {
  const reason = marker.reason === "" ? "" : `: ${marker.reason}`;
  return failure("cancelled", `cancelled before it was started${reason}`);
}

/** A `once` task whose worker is gone. */
export function unknown(claim: Claim): ToolResult {
  const error = `worker ${claim.worker_id} started it and was not heard of again; it may have had its effect, so it is not run a second time`;
  return failure("unknown", error, { claimed_by: claim.worker_id, attempt: claim.attempt, claimed_at_ms: claim.at_ms });
}

/** No attempt is left, or none can succeed. */
export function givenUp(error: string): ToolResult {
  return failure("dead_lettered", `${error}; kept among the dead letters`);
}

/** Why the attempts are used up, from the last of them that left a word. */
export function exhausted(record: TaskRecord, attempts: number): string {
  const last = record.attempts.at(-1);
  return last
    ? `${attempts} attempts failed, the last one with: ${last.error}`
    : `${attempts} attempts were started and none ended: each lost its worker`;
}

/** This worker has no such tool. */
export function unknownCommand(command: string, tools: readonly string[]): ToolResult {
  return failure("unknown_command", `Unknown command type: ${command}; this worker has ${tools.join(", ")}`);
}

/** The task is to run in a tree of files, which only workers in Rust can make. */
export function noWorkspace(): ToolResult {
  const error = "the task names a workspace (--sync), and this worker makes none: "
    + "send such tasks to a pool of a3s-worker processes";
  return failure("refused", error);
}

/** The task's signature does not count here. */
export function refused(why: string): ToolResult {
  return failure("refused", `refused by the trust list of this worker: ${why}`);
}

/** A handler was stopped. What it produced until then is kept. */
export function stopped(reason: StopReason, task: WireTask, partial: unknown): ToolResult {
  if (reason === "deadline") return failure("timed_out", `timed out after ${task.timeout_ms} ms`, partial);
  if (reason === "cancelled") return failure("cancelled", "cancelled while it ran", partial);
  const error = "its worker was stopped while it ran; it may have had its effect, so it is not run a second time";
  return failure("unknown", error, partial);
}
