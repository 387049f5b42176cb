// External tasks that the host of this process pulls and completes itself. A task is leased to one
// puller, so that two never get the same one.

import type { Job } from "./job.js";

/** How long a puller has for a task before it is offered again, unless it may start once only; in milliseconds. */
const LEASE_MS = 30_000;

export class HostTasks {
  readonly #tasks = new Map<string, { readonly job: Job; leasedUntil: number }>();
  #pulls = false;

  /** Whether somebody has asked for tasks. */
  get isPulling(): boolean { return this.#pulls; }

  get size(): number { return this.#tasks.size; }

  offer(job: Job): void {
    this.#tasks.set(job.task.task_id, { job, leasedUntil: -Infinity });
  }

  /** The tasks that nobody has, leased from now. `now` is monotonic, in milliseconds. */
  lease(now: number): Job[] {
    this.#pulls = true;
    const free = [...this.#tasks.values()].filter(({ leasedUntil }) => leasedUntil <= now);
    for (const task of free) task.leasedUntil = task.job.effect === "once" ? Infinity : now + LEASE_MS;
    return free.map(({ job }) => job);
  }

  /** Takes a task out; `undefined` when it is not there. */
  withdraw(taskId: string): Job | undefined {
    const found = this.#tasks.get(taskId);
    this.#tasks.delete(taskId);
    return found?.job;
  }
}
