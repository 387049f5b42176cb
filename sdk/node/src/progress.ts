// Partial output of running handlers, shown to whoever watches. Best effort and bounded.

import { headers as newHeaders } from "@nats-io/transport-node";

import type { Broker } from "./broker/broker.js";
import { CHUNK } from "./wire/headers.js";

/** The largest piece, in bytes; what is beyond it is cut off here (the result has it). */
const MAX_CHUNK = 64 * 1024;

/** Pieces shown within a second; what is beyond it is dropped here, so that no handler can fill the link. */
const A_SECOND = 1_024;

/** Shows the output of all tasks of a worker. */
export class Progress {
  #second = 0;
  #shown = 0;

  constructor(private readonly broker: Broker) {}

  /** The way for one task's output. */
  of(session: string, task: string): (chunk: string | Uint8Array) => void {
    const subject = this.broker.names.output(session, task);
    let number = 0;
    return (chunk) => {
      number += 1;
      if (!this.#hasRoom()) return;
      const body = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
      const headers = newHeaders();
      headers.set(CHUNK, number.toString());
      this.broker.nc.publish(subject, body.subarray(0, MAX_CHUNK), { headers });
    };
  }

  #hasRoom(): boolean {
    if (this.broker.nc.isClosed()) return false;
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) [this.#second, this.#shown] = [second, 0];
    this.#shown += 1;
    return this.#shown <= A_SECOND;
  }
}
