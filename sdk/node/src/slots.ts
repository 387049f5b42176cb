// How many tasks run at a time. A slot is taken before a task starts.

import type { Lane } from "./wire/lane.js";

/** Gives a slot back; calling it twice is calling it once. */
export type Release = () => void;

/**
 * The slots of a worker: some for any lane, and one that only Control may take, so that a cancel
 * or pause never waits behind work.
 */
export class Slots {
  #any: number;
  #control: number;

  /** `returned` is called whenever a slot comes back. */
  constructor(readonly total: number, servesControl: boolean, private readonly returned: () => void) {
    this.#any = total;
    this.#control = servesControl ? 1 : 0;
  }

  /** How many tasks of `lane` could start now. */
  free(lane: Lane): number {
    return lane === "Control" ? this.#any + this.#control : this.#any;
  }

  /** Takes a slot for a task of `lane`, the reserved one first when it may. */
  take(lane: Lane): Release | undefined {
    if (lane === "Control" && this.#control > 0) {
      this.#control -= 1;
      return this.#once(() => (this.#control += 1));
    }
    if (this.#any === 0) return undefined;
    this.#any -= 1;
    return this.#once(() => (this.#any += 1));
  }

  /** Slots for any lane that are taken. */
  get busy(): number {
    return this.total - this.#any;
  }

  #once(giveBack: () => void): Release {
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      giveBack();
      this.returned();
    };
  }
}
