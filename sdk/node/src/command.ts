// What a caller submits, and what it gets for it.

import type { Effect } from "./wire/headers.js";
import type { TaskResult } from "./wire/result.js";
import type { RetryPolicy } from "./wire/retry.js";

/** What a session runs. */
export interface SessionCommand {
  /** What to do: the name of a worker's tool. */
  readonly commandType: string;
  /** The tool's input: any JSON value. Default: `{}`. */
  readonly payload?: unknown;
  /** Runs it in this process, when its lane is handled here. */
  execute?(): unknown;
  /** Default: a new one. The same id again finds the result that is there. */
  readonly taskId?: string;
  /** From submit to result, in milliseconds. Default: the lane's. */
  readonly timeoutMs?: number;
  /** Default: `once` on Execute and Generate, else `idempotent`. */
  readonly effect?: Effect;
  /** Default: four attempts for `idempotent`, one for `once`. */
  readonly retry?: RetryPolicy;
}

/** What a handler of external tasks in this process answers. */
export interface ExternalTaskResult {
  readonly success: boolean;
  readonly result?: unknown;
  readonly error?: string | null;
}

/** A task that was submitted. */
export class TaskHandle {
  constructor(readonly taskId: string, private readonly answer: Promise<TaskResult>) {
    // Whoever does not ask for the result does not want to hear of its failure either.
    answer.catch(() => undefined);
  }

  /**
   * The task's result, also when it failed: `success` and `error_kind` tell. Throws only when the
   * outcome cannot be known here: the broker refused the task, did not answer, or the session was
   * closed.
   */
  result(): Promise<TaskResult> {
    return this.answer;
  }
}
