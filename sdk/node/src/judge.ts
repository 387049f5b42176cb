// What is to be done about a task. Pure: it is told what the broker and the handler said.

import * as answers from "./answers.js";
import type { WireTask } from "./broker/stored_task.js";
import type { ToolResult, Verdict } from "./verdict.js";
import type { Encoding } from "./wire/encoding.js";
import type { Effect } from "./wire/headers.js";
import type { CancelMarker, TaskRecord } from "./wire/record.js";
import { maxAttempts, retryDelayMs, type RetryPolicy } from "./wire/retry.js";

/** A decoded task with what its message and record say. */
export interface Job {
  readonly task: WireTask;
  readonly encoding: Encoding;
  readonly effect: Effect;
  readonly retry: RetryPolicy;
  record: TaskRecord;
  /** What the record is to be written over; 0: there is none. */
  revision: number;
  /** From 1; 0 before one was started. */
  attempt: number;
  /** Broker time; 0 before it was started. */
  startedAtMs: number;
}

/** What is to be done about a task after it was looked at or run. */
export type Settlement =
  /** Store this result, then acknowledge. */
  | { readonly is: "answer"; readonly result: ToolResult }
  /** Keep it among the dead letters, store a failed result, acknowledge. */
  | { readonly is: "bury"; readonly error: string }
  /** Have it delivered again after the delay; the attempt counts. */
  | { readonly is: "again"; readonly error: string; readonly delayMs: number }
  /** Have it delivered again now; nothing happened. */
  | { readonly is: "hand back" }
  /** It has a result already. */
  | { readonly is: "acknowledge" }
  /** Somebody else has it by now, or the broker does not answer: say nothing. */
  | { readonly is: "withhold" };

/**
 * Which attempt a start now would be. An `idempotent` task's attempts are its deliveries less what
 * was handed back; a `once` task's are its claims, because it may be delivered again as long as
 * nobody has claimed it. Later than every attempt that is noted in any case: a server that was killed
 * counts on from less than it had delivered.
 */
export function attemptOf(job: Job, delivered: number): number {
  const { attempts, handed_back: handedBack } = job.record;
  if (job.effect === "once") return attempts.length + 1;
  const noted = Math.max(0, ...attempts.map((note) => note.attempt));
  return Math.max(delivered - handedBack, noted + 1);
}

/** What record, marker and deadline say, in the order that matters: what happened comes before what is wished. */
export function judge(job: Job, delivered: number, marker: CancelMarker | undefined, nowMs: number): Settlement | undefined {
  if (job.record.claim) return { is: "answer", result: answers.unknown(job.record.claim) };
  if (marker) return { is: "answer", result: answers.cancelled(marker) };
  if (nowMs >= job.task.deadline_ms) return { is: "answer", result: answers.tooLate(job.task) };
  const attempts = maxAttempts(job.retry);
  return attemptOf(job, delivered) > attempts ? { is: "bury", error: answers.exhausted(job.record, attempts) } : undefined;
}

/** What a verdict means for the task. `jitter`, between 0 and 1, spreads tasks that failed together. */
export function conclude(verdict: Verdict, job: Job, jitter: number): Settlement {
  if (verdict.is === "done") return { is: "answer", result: verdict.result };
  if (verdict.is === "reject") return { is: "bury", error: verdict.error };
  if (job.attempt >= maxAttempts(job.retry)) {
    return { is: "bury", error: `${verdict.error} (attempt ${job.attempt} of ${job.attempt})` };
  }
  const delayMs = verdict.delayMs ?? retryDelayMs(job.retry, job.attempt, jitter);
  return { is: "again", error: verdict.error, delayMs };
}
