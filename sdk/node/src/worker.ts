// A worker's life: it binds to its lanes, serves, drains, and says goodbye.

import { createHash } from "node:crypto";
import { hostname } from "node:os";

import { bind, question } from "./binding.js";
import { Denied } from "./broker/errors.js";
import { Cancels } from "./cancels.js";
import { configure, type WorkerConfig, type WorkerOptions } from "./config.js";
import { Executor, type Handler } from "./executor.js";
import { Announcer } from "./presence.js";
import { Progress } from "./progress.js";
import { Puller } from "./puller.js";
import { checkRights } from "./rights.js";
import { connect, type Connected } from "./runtime/connect.js";
import { Settler } from "./settle.js";
import { Slots } from "./slots.js";
import { labelsOf } from "./turn.js";
import { Signatures } from "./trust.js";
import { VERSION } from "./version.js";
import type { ToolInfo } from "./wire/fleet.js";

/** What is left to a stopped worker for its last words to the broker, in milliseconds. */
const FAREWELL_MS = 5_000;

/** Runs tasks. Register handlers with {@link tool}, then {@link run}. */
export class Worker {
  readonly #options: WorkerOptions;
  readonly #config: WorkerConfig;
  readonly #handlers = new Map<string, Handler>();
  readonly #info: Record<string, ToolInfo> = {};
  #drain: () => void = () => undefined;
  #stopNow: () => void = () => undefined;
  readonly #draining = new Promise<void>((resolve) => (this.#drain = resolve));
  readonly #stopping = new Promise<void>((resolve) => (this.#stopNow = resolve));
  #asked = 0;

  /** Throws a `RangeError` when the options cannot work. */
  constructor(options: WorkerOptions = {}) {
    this.#options = options;
    this.#config = configure(options);
  }

  /** This worker's id. */
  get id(): string {
    return this.#config.workerId;
  }

  /**
   * Runs tasks of `commandType` with `handler`: what it returns is the result, unless it throws
   * `Retry`, `RetryAfter`, `Reject` or `InvalidInput`. A handler that blocks the event loop for
   * longer than a lease (15 s) loses its task: give such work to a child process or a thread.
   * `info` is told to agents that may call it.
   */
  tool(commandType: string, handler: Handler, info?: ToolInfo): this {
    if (this.#handlers.has(commandType)) throw new RangeError(`tool ${JSON.stringify(commandType)} is registered twice`);
    this.#handlers.set(commandType, handler);
    if (info !== undefined) this.#info[commandType] = info;
    return this;
  }

  /**
   * Asks it to drain: no new tasks; running ones may finish within the drain time, then they are
   * handed back (or answered, if they are `once`). The second call stops them at once.
   */
  stop(): void {
    this.#asked += 1;
    this.#drain();
    if (this.#asked > 1) this.#stopNow();
  }

  /** Serves until {@link stop}, SIGTERM or SIGINT. Throws when it cannot start. */
  async run(): Promise<void> {
    const { log, signals } = this.#config;
    const onSignal = (): void => { this.stop(); };
    if (signals) for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal);
    try {
      const signatures = Signatures.ofWorker(this.#options);
      const connected = await connect(this.#options, `a3s-worker ${this.id}`);
      connected.broker.signatures = signatures;
      try {
        await this.#serve(connected);
      } catch (error) {
        if (!(error instanceof Denied)) throw error;
        throw new Error(`${connected.credential} is not enough for this worker: ${error.message}`, { cause: error });
      } finally {
        await within(FAREWELL_MS, connected.close());
      }
      log.info("drained");
    } finally {
      for (const signal of ["SIGTERM", "SIGINT"] as const) process.off(signal, onSignal);
    }
  }

  async #serve({ broker }: Connected): Promise<void> {
    const { serves, lanes, turn, concurrency, workerId, log, drainMs } = this.#config;
    broker.onDenied((denied) => { log.warn(denied.message); });
    const binding = await bind(broker, serves, lanes, turn);
    await checkRights(broker, serves, workerId, binding);
    await broker.compareClocks(question(binding));
    broker.onReconnect(() => void broker.compareClocks(question(binding)));
    const cancels = await Cancels.follow(broker, "session" in serves ? serves.session : undefined);
    const settler = new Settler(broker, workerId, log);
    const executor = new Executor(
      broker, workerId, this.#handlers, cancels, new Progress(broker), settler, binding.ackWaitMs, log);
    const slots = new Slots(concurrency, lanes.includes("Control"), () => { puller.turn(); });
    const puller = new Puller(broker, binding, slots, executor, settler, log);
    let draining = false;
    const startedAtMs = broker.clock.nowMs();
    const announcer = new Announcer(broker, () => ({
      worker_id: workerId, host: hostname(), pid: process.pid, version: VERSION, runtime: "node", serves, lanes,
      tools: [...this.#handlers.keys()].sort(), slots: concurrency, busy: slots.busy, done: settler.done,
      workspace: process.cwd(), labels: { ...this.#config.labels, ...labelsOf(turn) }, started_at_ms: startedAtMs,
      refused: broker.signatures.refused, last_pull_ms: puller.lastPullMs, seen_at_ms: broker.clock.nowMs(),
      draining, ...digestOf(this.#info),
    }), this.#info, log);

    await puller.start();
    await announcer.start();
    log.info(`worker ${workerId} is ready for tasks of ${JSON.stringify(serves)} in ${lanes.join(", ")}`);
    await Promise.race([this.#draining, broker.nc.closed()]);

    await puller.stop();
    draining = true;
    void announcer.announce();
    await within(drainMs, Promise.race([puller.idle(), this.#stopping]));
    executor.stopNow();
    if (!(await within(FAREWELL_MS, puller.idle()))) {
      log.warn("some tasks could not be given back; their leases end by themselves");
    }
    await within(FAREWELL_MS, announcer.depart());
  }
}

/** By which others see that what is said of the tools has changed; nothing when nothing is said. */
function digestOf(info: Readonly<Record<string, ToolInfo>>): { tool_digest?: string } {
  if (Object.keys(info).length === 0) return {};
  return { tool_digest: createHash("sha256").update(JSON.stringify(info)).digest("hex").slice(0, 16) };
}

/** Waits for `work`, but no longer than `ms`; `false` when it was longer. */
async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<boolean>((resolve) => (timer = setTimeout(() => { resolve(false); }, ms)));
  try {
    return await Promise.race([work.then(() => true), over]);
  } finally {
    clearTimeout(timer);
  }
}
