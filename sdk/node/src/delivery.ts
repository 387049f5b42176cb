// One delivery of a task: what the broker handed over, and the ways to answer the broker.

import type { Msg } from "@nats-io/transport-node";

import type { Broker } from "./broker/broker.js";
import { BrokerError } from "./broker/errors.js";
import { readReply } from "./broker/reply.js";
import { StoredTask } from "./broker/stored_task.js";

/** How often an answer to the broker is repeated before it is left to the redelivery. */
const ANSWER_TRIES = 3;

/** What the broker is told of a delivery. */
export const DONE = "+ACK";
/** Still at work on it. */
export const WORKING = "+WPI";

/** Not settled: deliver it again after `delayMs`. */
export function again(delayMs: number): string {
  return delayMs > 0 ? `-NAK {"delay": ${Math.round(delayMs * 1e6)}}` : "-NAK";
}

/** A delivery whose subject and broker data are understood; its body may still be nonsense. */
export class Delivery {
  /** On the monotonic clock, in milliseconds. */
  readonly received = performance.now();

  private constructor(
    readonly stored: StoredTask,
    /** How often the broker has delivered it, this time included. */
    readonly delivered: number,
    readonly reply: string,
  ) {}

  /** Reads what the broker says of a message. `undefined` when it is no delivery of a task. */
  static read(broker: Broker, message: Msg): Delivery | undefined {
    const address = broker.names.parseTask(message.subject);
    const reply = readReply(message.reply);
    if (!address || !reply || message.reply === undefined) return undefined;
    const headers: [string, string][] = [];
    for (const [name, values] of message.headers ?? []) for (const value of values) headers.push([name, value]);
    const { stream, sequence, storedAtMs } = reply;
    const task = new StoredTask(broker.names, address, stream, message.subject, sequence, storedAtMs, headers, message.data);
    return new Delivery(task, Math.max(reply.delivered, 1), message.reply);
  }

  /** Tells the broker, and waits for its word that it heard. `false`: it did not answer. */
  async answer(broker: Broker, text: string): Promise<boolean> {
    for (let tries = 0; tries < ANSWER_TRIES; tries += 1) {
      if (await this.answerOnce(broker, text)) return true;
    }
    return false;
  }

  /** As {@link answer}, without repetition. */
  async answerOnce(broker: Broker, text: string): Promise<boolean> {
    try {
      await broker.request(this.reply, text);
      return true;
    } catch (error) {
      if (error instanceof BrokerError) return false;
      throw error;
    }
  }
}
