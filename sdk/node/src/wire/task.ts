// The body of a task.

import { DecodeError } from "./encoding.js";
import { Fields } from "./fields.js";
import { parseLane, type Lane } from "./lane.js";

/** How long a task has when nobody says, in milliseconds. */
export const DEFAULT_TIMEOUT_MS = 60_000;

/** A task's body; what is absent is told by subject and headers. */
export interface TaskBody {
  readonly task_id?: string;
  readonly session_id?: string;
  readonly lane?: Lane;
  readonly command_type: string;
  readonly payload: unknown;
  readonly timeout_ms?: number;
}

/** Reads a task's decoded body. Throws {@link DecodeError} when it can never be run. */
export function readTask(value: unknown): TaskBody {
  const fields = new Fields("task", value);
  const taskId = fields.text("task_id", "taskId", "id");
  const sessionId = fields.text("session_id", "sessionId");
  const lane = readLane(fields);
  const timeoutMs = fields.count("timeout_ms", "timeoutMs");
  return {
    ...(taskId !== undefined && { task_id: taskId }),
    ...(sessionId !== undefined && { session_id: sessionId }),
    ...(lane !== undefined && { lane }),
    command_type: fields.required("command_type", fields.text("command_type", "commandType")),
    payload: fields.any("payload") ?? null,
    ...(timeoutMs !== undefined && { timeout_ms: timeoutMs }),
  };
}

/** The field `lane`, in either casing. */
export function readLane(fields: Fields): Lane | undefined {
  const text = fields.text("lane");
  if (text === undefined) return undefined;
  const lane = parseLane(text);
  if (lane === undefined) throw new DecodeError(`unknown lane ${JSON.stringify(text)}`);
  return lane;
}
