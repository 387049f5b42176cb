// Which tasks somebody wants to end: one watch for the whole worker.

import type { Broker } from "./broker/broker.js";
import { Denied } from "./broker/errors.js";
import { markerOf } from "./broker/records.js";
import { scan } from "./broker/scan.js";
import type { CancelMarker } from "./wire/record.js";

/** Markers that are remembered. Older ones are asked for when their task is redelivered. */
const REMEMBERED = 100_000;

/** The wait before a scan that failed is repeated, in milliseconds. */
const REPEAT_AFTER_MS = 500;

/** The same where it was not permitted: somebody has to change that. */
const DENIED_AFTER_MS = 30_000;

/** What a denial says that it kept us from. */
const FOLLOW = "hear which tasks are cancelled";

/** The cancel markers that the worker knows, and the running tasks that want to hear of new ones. */
export class Cancels {
  readonly #markers = new Map<string, CancelMarker>();
  readonly #running = new Map<string, () => void>();
  #scanned = 0;

  private constructor(private readonly broker: Broker, private readonly filter: string) {}

  /** Reads the markers that are kept, and follows new ones. `session`: of one session only. */
  static async follow(broker: Broker, session?: string): Promise<Cancels> {
    const cancels = new Cancels(broker, broker.names.cancel(session ?? "*", "*"));
    // Listen first: what is stored during the scan is heard twice rather than never.
    await broker.listen(cancels.filter, FOLLOW, (message) => { cancels.#note(message.subject, message.data); });
    await cancels.#scan();
    // What was stored while the connection was away was not heard.
    broker.onReconnect(() => void cancels.#scanUntilDone());
    return cancels;
  }

  /** The marker of a task, if it has one. */
  marker(session: string, task: string): CancelMarker | undefined {
    return this.#markers.get(`${session}.${task}`);
  }

  /** Calls `then` when the task is cancelled, at once if it is. Returns how to end the interest. */
  interest(session: string, task: string, then: () => void): () => void {
    const key = `${session}.${task}`;
    if (this.#markers.has(key)) then();
    this.#running.set(key, then);
    return () => { if (this.#running.get(key) === then) this.#running.delete(key); };
  }

  #note(subject: string, body: Uint8Array): void {
    const names = this.broker.names.sessionAndId(subject);
    if (!names) return;
    const key = `${names.session}.${names.id}`;
    this.#markers.set(key, markerOf(body));
    this.#running.get(key)?.();
    if (this.#markers.size > REMEMBERED) {
      const oldest = this.#markers.keys().next();
      if (!oldest.done) this.#markers.delete(oldest.value);
    }
  }

  async #scanUntilDone(): Promise<void> {
    while (!this.broker.nc.isClosed()) {
      try {
        await this.#scan();
        return;
      } catch (error) {
        const wait = error instanceof Denied ? DENIED_AFTER_MS : REPEAT_AFTER_MS;
        await new Promise((resolve) => setTimeout(resolve, wait).unref());
      }
    }
  }

  /** Reads what is stored behind what was read before. */
  async #scan(): Promise<void> {
    try {
      for await (const marker of scan(this.broker, this.broker.names.cancels, this.filter, this.#scanned + 1)) {
        this.#scanned = marker.sequence;
        this.#note(marker.subject, marker.body);
      }
    } catch (error) {
      throw this.broker.denied(error, FOLLOW) ?? error;
    }
  }
}
