// The lease on a delivered task: the broker waits for us as long as we say that we work.

import type { Broker } from "./broker/broker.js";
import { WORKING, type Delivery } from "./delivery.js";

/** The wait before a renewal without an answer is repeated, in milliseconds. */
const REPEAT_AFTER_MS = 500;

/**
 * Keeps the lease of one delivery, from its arrival until {@link end}. It is ours until `ack_wait`
 * after the last moment at which the broker is known to have heard of us.
 */
export class Lease {
  /** Fires when the lease is lost for good. */
  readonly lost: Promise<void>;
  #confirmed: number;
  #renewal: NodeJS.Timeout | undefined;
  #loss: NodeJS.Timeout | undefined;
  #ended = false;
  #lose: () => void = () => undefined;

  constructor(private readonly broker: Broker, private readonly delivery: Delivery, private readonly ackWaitMs: number) {
    this.#confirmed = delivery.received;
    this.lost = new Promise((resolve) => (this.#lose = resolve));
    this.#schedule(this.#confirmed + ackWaitMs / 3);
  }

  /**
   * Whether the task is still ours. Also right after the whole process was stopped for a while: the
   * monotonic clock goes on.
   */
  isHeld(): boolean {
    return performance.now() - this.#confirmed < this.ackWaitMs;
  }

  /** No more renewals: the broker was answered, or nobody will. */
  end(): void {
    this.#ended = true;
    clearTimeout(this.#renewal);
    clearTimeout(this.#loss);
  }

  #schedule(at: number): void {
    if (this.#ended) return;
    const now = performance.now();
    clearTimeout(this.#loss);
    this.#loss = setTimeout(() => { this.#check(); }, this.#confirmed + this.ackWaitMs - now);
    this.#renewal = setTimeout(() => void this.#renew(), at - now);
  }

  #check(): void {
    if (this.isHeld()) return;
    this.end();
    this.#lose();
  }

  /** A renewal counts from when it was sent, and only when the broker confirmed it. */
  async #renew(): Promise<void> {
    this.#check();
    if (this.#ended) return;
    const sent = performance.now();
    const heard = await this.delivery.answerOnce(this.broker, WORKING);
    this.#check();
    if (heard) this.#confirmed = sent;
    this.#schedule(heard ? sent + this.ackWaitMs / 3 : performance.now() + Math.min(REPEAT_AFTER_MS, this.ackWaitMs / 6));
  }
}
