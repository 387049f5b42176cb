// A task on its way through this process, from submit to its result.

import type { WireTask } from "./broker/stored_task.js";
import type { SessionCommand } from "./command.js";
import { ExternalTask, type StopReason } from "./task.js";
import type { Clock } from "./wire/clock.js";
import type { Effect } from "./wire/headers.js";
import type { ErrorKind, TaskResult } from "./wire/result.js";
import type { RetryPolicy } from "./wire/retry.js";

/** Who runs it: `internal` and `hybrid`: its own `execute`. `external`: a worker. `callback`, `host`: this process, told of external tasks. */
export type How = "internal" | "hybrid" | "external" | "callback" | "host";

/** One task. Its end is told once. */
export class Job {
  readonly submitted = performance.now();
  readonly controller = new AbortController();
  /** Where it is stored, once the broker has accepted it. */
  accepted: { readonly stream: string; readonly seq: number; readonly blob: string | undefined } | undefined;
  /** What its result must name, where it is signed and its id is new. */
  answers: string | undefined;
  /** Its message's signature, where it is signed. */
  signature: string | undefined;
  /** Broker time; 0 before this process started it. */
  startedAtMs = 0;
  readonly ended: Promise<TaskResult>;
  readonly #atEnd: ((result: TaskResult | undefined) => void)[] = [];
  #over = false;
  #resolve: (result: TaskResult) => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;

  constructor(
    readonly task: WireTask,
    readonly command: SessionCommand,
    readonly how: How,
    readonly effect: Effect,
    readonly retry: RetryPolicy,
    private readonly clock: Clock,
  ) {
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** Calls `then` at its end, before its caller hears of it; without a result when that is not known. */
  atEnd(then: (result: TaskResult | undefined) => void): void {
    this.#atEnd.push(then);
  }

  /** It has this result; `false`: it had one before. */
  end(result: TaskResult): boolean {
    if (!this.#finish(result)) return false;
    this.#resolve(result);
    return true;
  }

  /** Its outcome cannot be known here. */
  fail(error: Error): boolean {
    if (!this.#finish(undefined)) return false;
    this.#reject(error);
    return true;
  }

  #finish(result: TaskResult | undefined): boolean {
    if (this.#over) return false;
    this.#over = true;
    for (const then of this.#atEnd) then(result);
    return true;
  }

  /** Tells whoever runs it in this process to stop. */
  stop(reason: StopReason): void {
    this.controller.abort(reason);
  }

  /** As a handler in this process sees it. */
  external(): ExternalTask {
    const show = (): void => undefined;
    return new ExternalTask(this.task, { clock: this.clock, attempt: 1, signal: this.controller.signal, show });
  }

  /** A result that this process gives. */
  result(success: boolean, result: unknown, error: string | null, kind: ErrorKind | null): TaskResult {
    const { task_id, session_id, lane, command_type } = this.task;
    const now = this.clock.nowMs();
    return {
      task_id, session_id, lane, command_type, success, result, error, error_kind: kind,
      attempt: this.startedAtMs > 0 ? 1 : 0, worker_id: "coordinator", started_at_ms: this.startedAtMs,
      duration_ms: this.startedAtMs > 0 ? Math.max(now - this.startedAtMs, 0) : 0,
    };
  }
}
