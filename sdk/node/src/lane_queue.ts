// What waits and what runs in one lane of a session, in order of submission. No I/O.

import type { Job } from "./job.js";
import type { LaneHandlerConfig } from "./wire/fleet.js";

/** Tasks of a lane that wait in this process; then the submitter waits. */
export const MAX_WAITING = 10_000;

export class LaneQueue {
  readonly #waiting: Job[] = [];
  readonly #room: (() => void)[] = [];
  #active = 0;

  /** `cap`: how many run at a time. */
  constructor(readonly cap: number, public handler: LaneHandlerConfig) {}

  get pending(): number { return this.#waiting.length; }
  get active(): number { return this.#active; }

  /** Resolves when another task may wait here, or with `false` after `ms`. */
  async room(ms: number): Promise<boolean> {
    const until = performance.now() + ms;
    while (this.#waiting.length >= MAX_WAITING) {
      const left = until - performance.now();
      if (left <= 0) return false;
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#room.push(resolve);
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
    return true;
  }

  add(job: Job): void {
    this.#waiting.push(job);
  }

  /** Takes a job out that waits; `false` when it does not. */
  remove(job: Job): boolean {
    const at = this.#waiting.indexOf(job);
    if (at < 0) return false;
    this.#waiting.splice(at, 1);
    this.#room.shift()?.();
    return true;
  }

  /** The next job that may start. It counts as active until {@link done}. */
  next(): Job | undefined {
    if (this.#active >= this.cap) return undefined;
    const job = this.#waiting.shift();
    if (!job) return undefined;
    this.#active += 1;
    this.#room.shift()?.();
    return job;
  }

  /** A job starts that this queue does not hold back. */
  pass(): void {
    this.#active += 1;
  }

  done(): void {
    this.#active -= 1;
  }
}
