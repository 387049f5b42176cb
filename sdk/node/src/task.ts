// A task as a handler sees it. Every field has the names of all languages, so that a function
// written for another worker of A3S runs unchanged.

import type { WireTask } from "./broker/stored_task.js";
import type { Clock } from "./wire/clock.js";
import type { Lane } from "./wire/lane.js";

/** Why a running handler must stop; the `reason` of {@link ExternalTask.signal}. */
export type StopReason = "deadline" | "cancelled" | "lease lost" | "shutdown";

/** What a task is given beside what is on the wire. */
export interface TaskContext {
  readonly clock: Clock;
  /** From 1. */
  readonly attempt: number;
  readonly signal: AbortSignal;
  readonly show: (chunk: string | Uint8Array) => void;
}

/** One task. What is spread or written as JSON are the fields of the wire. */
export class ExternalTask {
  readonly task_id: string;
  readonly session_id: string;
  readonly lane: Lane;
  /** Which handler runs it. */
  readonly command_type: string;
  /** The handler's input: any JSON value, integers beyond 2^53 as `bigint`. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- its shape is between caller and handler
  readonly payload: any;
  /** From submit to result, in milliseconds. */
  readonly timeout_ms: number;
  readonly #deadlineMs: number;
  readonly #context: TaskContext;

  constructor(task: WireTask, context: TaskContext) {
    this.task_id = task.task_id;
    this.session_id = task.session_id;
    this.lane = task.lane;
    this.command_type = task.command_type;
    this.payload = task.payload;
    this.timeout_ms = task.timeout_ms;
    this.#deadlineMs = task.deadline_ms;
    this.#context = context;
  }

  get id(): string { return this.task_id; }
  get taskId(): string { return this.task_id; }
  get sessionId(): string { return this.session_id; }
  get commandType(): string { return this.command_type; }
  get timeoutMs(): number { return this.timeout_ms; }
  /** When its time is over: the broker's clock, milliseconds since 1970. */
  get deadlineMs(): number { return this.#deadlineMs; }
  get deadline_ms(): number { return this.#deadlineMs; }
  /** Which attempt this is, from 1. */
  get attempt(): number { return this.#context.attempt; }

  /**
   * Aborted when the handler must stop; its `reason` is a {@link StopReason}. Give it to `fetch`,
   * `exec` and timers. What a handler returns within 0.8 s after it is kept with the outcome.
   */
  get signal(): AbortSignal { return this.#context.signal; }

  /** How long it may still take, in milliseconds; 0 when its time is over. */
  remainingMs(): number {
    return Math.max(this.#deadlineMs - this.#context.clock.nowMs(), 0);
  }

  /** Whether its time is over. */
  isTimedOut(): boolean {
    return this.remainingMs() === 0;
  }

  remaining_ms(): number { return this.remainingMs(); }
  is_timed_out(): boolean { return this.isTimedOut(); }

  /** Shows a piece of output to whoever watches now. Never waits; the result is to have it all the same. */
  progress(chunk: string | Uint8Array): void {
    this.#context.show(chunk);
  }
}
