// Asks the broker for tasks and starts them. It decides nothing itself: `pulls` says what to ask,
// `slots` what fits, `executor` does the work.

import type { Msg, Subscription } from "@nats-io/transport-node";

import type { Binding } from "./binding.js";
import type { Broker } from "./broker/broker.js";
import { Delivery } from "./delivery.js";
import type { Executor } from "./executor.js";
import type { Log } from "./log.js";
import { EXPIRES_MS, HEARTBEAT_MS, Pulls, type Pull } from "./pulls.js";
import type { Settler } from "./settle.js";
import type { Slots } from "./slots.js";
import { LANES, laneId, parseLane, type Lane } from "./wire/lane.js";

/** How long a surplus task waits here for a slot before somebody else gets it, in milliseconds. */
const HELD_AT_MOST_MS = 1_000;

/** How long a draining worker waits for what the broker has sent already, in milliseconds. */
const DRAIN_AT_MOST_MS = 2_000;

/** How long nothing may come before a draining worker stops to listen, in milliseconds. */
const QUIET_MS = 100;

/** The longest time without a look around, in milliseconds. */
const LOOK_AROUND_MS = 1_000;

/** A worker's pulls and what they brought. */
export class Puller {
  /** When the broker last said anything; broker time, 0: never. */
  lastPullMs = 0;
  readonly #pulls: Pulls;
  readonly #inbox: string;
  readonly #held = new Map<Lane, Delivery[]>(LANES.map((lane) => [lane, []]));
  readonly #running = new Set<Promise<void>>();
  #subscription: Subscription | undefined;
  #timer: NodeJS.Timeout | undefined;
  #onHeard: (() => void) | undefined;
  #due = false;
  #stopped = false;

  constructor(
    private readonly broker: Broker,
    private readonly binding: Binding,
    private readonly slots: Slots,
    private readonly executor: Executor,
    private readonly settler: Settler,
    private readonly log: Log,
  ) {
    this.#pulls = new Pulls([...binding.consumers.keys()], binding.capped);
    this.#inbox = broker.inbox();
  }

  /** Listens, then asks for the first tasks. */
  async start(): Promise<void> {
    this.#subscription = await this.broker.listen(`${this.#inbox}.*.*`, "hear what pulls bring", (message) => { this.#onMessage(message); });
    this.broker.onReconnect(() => {
      this.#pulls.forgetAll();
      this.turn();
    });
    this.turn();
  }

  /** Something changed: look around, once for all that changes in this moment. */
  turn(): void {
    if (this.#due || this.#stopped) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (!this.#stopped) this.#lookAround();
    });
  }

  /** Ends the pulls at the broker and gives back what they brought. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await Promise.race([this.#listenToTheEnd(), new Promise((resolve) => setTimeout(resolve, DRAIN_AT_MOST_MS).unref())]);
    for (const deliveries of this.#held.values()) for (const delivery of deliveries.splice(0)) this.#handBack(delivery);
  }

  /**
   * The inbox is drained, not dropped: what the broker sent before it heard of the end has cost a
   * delivery. And what it is about to send at the moment it hears of it is lost for a lease, so
   * pulls that something waits for are filled first: that takes milliseconds.
   */
  async #listenToTheEnd(): Promise<void> {
    while (this.#pulls.anyWait() && await this.#hears()) { /* what came may have filled a pull */ }
    await this.#subscription?.drain().catch(() => undefined);
  }

  /** Whether a message comes within QUIET_MS. */
  #hears(): Promise<boolean> {
    return new Promise((resolve) => {
      const quiet = setTimeout(() => { resolve(false); }, QUIET_MS);
      this.#onHeard = () => {
        clearTimeout(quiet);
        resolve(true);
      };
    });
  }

  /** Resolves when nothing that was started is running any more. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #lookAround(): void {
    const holdUntil = this.#startWhatFits();
    this.#ask();
    clearTimeout(this.#timer);
    const now = performance.now();
    const wake = Math.min(this.#pulls.wakeAt(), holdUntil, now + LOOK_AROUND_MS);
    this.#timer = setTimeout(() => { this.turn(); }, Math.max(wake - now, 1));
  }

  /**
   * Starts held tasks, highest lane first, and gives back what waited too long. Returns when the
   * next held task may start, if time alone can tell.
   */
  #startWhatFits(): number {
    let waitUntil = Infinity;
    for (const [lane, deliveries] of this.#held) {
      for (let next = deliveries[0]; next; next = deliveries[0]) {
        const now = performance.now();
        const mayStart = this.#pulls.mayStart(lane, now);
        const free = this.slots.free(lane) > 0;
        const release = free && mayStart !== undefined && mayStart <= now ? this.slots.take(lane) : undefined;
        if (release) this.#track(this.executor.run(next, release));
        else if (now - next.received > HELD_AT_MOST_MS) this.#handBack(next);
        else {
          if (free && mayStart !== undefined) waitUntil = Math.min(waitUntil, mayStart);
          break;
        }
        deliveries.shift();
      }
    }
    return waitUntil;
  }

  #ask(): void {
    // What is held already has a claim on the slots that are free.
    const free = (lane: Lane): number => this.slots.free(lane) - (this.#held.get(lane)?.length ?? 0);
    for (const pull of this.#pulls.plan(performance.now(), free)) this.#send(pull);
  }

  #send(pull: Pull): void {
    const consumer = this.binding.consumers.get(pull.lane);
    if (consumer === undefined || this.broker.nc.isClosed()) return;
    const body = pull.waits
      ? { batch: pull.batch, expires: EXPIRES_MS * 1e6, idle_heartbeat: HEARTBEAT_MS * 1e6 }
      : { batch: pull.batch, no_wait: true };
    const subject = this.broker.api(`CONSUMER.MSG.NEXT.${this.binding.stream}.${consumer}`);
    this.broker.nc.publish(subject, JSON.stringify({ ...body, ...this.binding.turn }), { reply: `${this.#inbox}.${laneId(pull.lane)}.${pull.id}` });
  }

  #onMessage(message: Msg): void {
    this.lastPullMs = this.broker.clock.nowMs();
    this.#onHeard?.();
    const delivery = Delivery.read(this.broker, message);
    if (delivery) {
      const { lane } = delivery.stored.address;
      this.#pulls.arrived(lane);
      this.#held.get(lane)?.push(delivery);
    } else {
      this.#onStatus(message);
    }
    this.turn();
  }

  #onStatus(message: Msg): void {
    const [lane, id] = message.subject.split(".").slice(-2);
    const known = parseLane(lane ?? "");
    const code = message.headers?.code ?? 0;
    if (!known || code === 0) {
      this.log.warn(`a message that is no task came to the inbox of pulls: ${message.subject}`);
      return;
    }
    const status = code === 100 ? "heartbeat" : code === 404 || code === 408 ? "empty" : "refused";
    if (status === "refused") this.log.warn(`the broker refused a pull of ${known}: ${code} ${message.headers?.description ?? ""}`);
    this.#pulls.status(known, Number(id), status, performance.now());
  }

  #handBack(delivery: Delivery): void {
    this.#track(this.settler.returnUnstarted(delivery));
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => { this.log.warn(`a task was left to its redelivery: ${String(error)}`); })
      .finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }
}
