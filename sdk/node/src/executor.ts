// A task's way through a worker: checked, claimed, run, its result stored, then acknowledged.
//
// The order is what makes it safe. Every check comes before the handler sees the payload; the
// result is stored before the task is acknowledged, so a crash in between repeats the delivery,
// and whoever gets it finds the result and only acknowledges.

import * as answers from "./answers.js";
import { BadBlob, getBlob } from "./broker/blobs.js";
import type { Broker } from "./broker/broker.js";
import { BrokerError, reasonOf } from "./broker/errors.js";
import { readTaskMarker, readTaskRecord, writeTaskRecord } from "./broker/records.js";
import { hasResult } from "./broker/results.js";
import type { Cancels } from "./cancels.js";
import type { Delivery } from "./delivery.js";
import { attemptOf, conclude, judge, type Job, type Settlement } from "./judge.js";
import { Lease } from "./lease.js";
import type { Log } from "./log.js";
import type { Progress } from "./progress.js";
import type { Settler } from "./settle.js";
import type { Release } from "./slots.js";
import { ExternalTask, type StopReason } from "./task.js";
import { mayBeACopy } from "./trust.js";
import { returned, thrown, type Verdict } from "./verdict.js";
import { defaultEffect, defaultRetry } from "./wire/headers.js";
import { EMPTY_RECORD } from "./wire/record.js";

/** Runs the tasks of one command type. Returns a result, or throws a verdict. */
export type Handler = (task: ExternalTask) => unknown;

/** How long a handler may take to answer after it was told to stop, in milliseconds. */
export const STOP_GRACE_MS = 800;

/** Timers cannot be longer. */
const LONGEST_TIMER_MS = 0x7fff_ffff;

/** Takes deliveries to their end. One a worker. */
export class Executor {
  readonly #running = new Set<(reason: StopReason) => void>();
  #stopping = false;

  constructor(
    private readonly broker: Broker,
    private readonly workerId: string,
    private readonly handlers: ReadonlyMap<string, Handler>,
    private readonly cancels: Cancels,
    private readonly progress: Progress,
    private readonly settler: Settler,
    private readonly ackWaitMs: number,
    private readonly log: Log,
  ) {}

  /** Takes one delivery to its end. `release` is called as soon as the handler has ended. */
  async run(delivery: Delivery, release: Release): Promise<void> {
    const lease = new Lease(this.broker, delivery, this.ackWaitMs);
    try {
      const job = await this.#read(delivery, lease);
      if (!job) return;
      const settlement = await this.#decide(delivery, lease, job);
      release();
      await this.settler.settle(delivery, lease, job, settlement);
    } finally {
      lease.end();
      release();
    }
  }

  /** Ends all handlers because the worker does; what starts from now on is ended at once. */
  stopNow(): void {
    this.#stopping = true;
    for (const stop of this.#running) stop("shutdown");
  }

  async #read(delivery: Delivery, lease: Lease): Promise<Job | undefined> {
    const { stored } = delivery;
    const { blob } = stored.headers;
    let body: Uint8Array;
    try {
      body = blob === undefined ? stored.body : await getBlob(this.broker, blob);
      const task = stored.read(body);
      const effect = stored.headers.effect ?? defaultEffect(task.lane);
      const retry = stored.headers.retry ?? defaultRetry(effect);
      return { task, encoding: stored.encoding(body), effect, retry, record: EMPTY_RECORD, revision: 0, attempt: 0, startedAtMs: 0 };
    } catch (error) {
      if (error instanceof BrokerError && !(error instanceof BadBlob)) this.log.warn(`a task's body was not there in time: ${error.message}`);
      else if (lease.isHeld()) await this.settler.buryUnreadable(delivery, reasonOf(error));
      return undefined;
    }
  }

  async #decide(delivery: Delivery, lease: Lease, job: Job): Promise<Settlement> {
    try {
      return (await this.#examine(delivery, job)) ?? (await this.#start(delivery, lease, job));
    } catch (error) {
      this.log.warn(`task ${job.task.task_id} was left for later: ${reasonOf(error)}`);
      return { is: "withhold" };
    }
  }

  /** What can be said of a task before its handler sees it. On a first delivery this asks nobody. */
  async #examine(delivery: Delivery, job: Job): Promise<Settlement | undefined> {
    const { session_id: session, task_id: id, command_type: command } = job.task;
    let marker = this.cancels.marker(session, id);
    const { signatures } = this.broker;
    const copied = signatures.tasks && mayBeACopy(delivery.stored.storedAtMs, job.task);
    if (delivery.delivered > 1 || copied === true) {
      const [done, found, cancelled] = await Promise.all([
        hasResult(this.broker, session, id), readTaskRecord(this.broker, session, id), readTaskMarker(this.broker, session, id),
      ]);
      if (done) return { is: "acknowledge" };
      job.record = found.record;
      job.revision = found.revision;
      marker ??= cancelled;
    }
    if (signatures.tasks) {
      try {
        signatures.checkTask(signatures.tasks, delivery.stored, job.task);
      } catch (error) {
        this.log.warn(`task ${id} was refused: ${reasonOf(error)}`);
        return { is: "answer", result: answers.refused(reasonOf(error)) };
      }
    }
    const judged = judge(job, delivery.delivered, marker, this.broker.clock.nowMs());
    if (judged) return judged;
    // Its paths mean files that are not here: it must not run among others.
    if (this.handlers.has(command)) {
      return delivery.stored.headers.workspace === undefined ? undefined : { is: "answer", result: answers.noWorkspace() };
    }
    return { is: "answer", result: answers.unknownCommand(command, [...this.handlers.keys()].sort()) };
  }

  async #start(delivery: Delivery, lease: Lease, job: Job): Promise<Settlement> {
    const handler = this.handlers.get(job.task.command_type);
    if (!handler || !lease.isHeld()) return { is: "withhold" };
    job.attempt = attemptOf(job, delivery.delivered);
    if (job.effect === "once") await this.#claim(job);
    job.startedAtMs = this.broker.clock.nowMs();
    this.broker.emit("queue.command.started", job.task.session_id, {
      task_id: job.task.task_id, lane: job.task.lane, command_type: job.task.command_type,
      attempt: job.attempt, worker_id: this.workerId,
    });
    const { verdict, stopped } = await this.#runHandler(handler, job, lease);
    if (stopped === "lease lost" || !lease.isHeld()) return { is: "withhold" };
    if (stopped === undefined) return verdict ? conclude(verdict, job, Math.random()) : { is: "withhold" };
    if (stopped === "shutdown" && job.effect === "idempotent") return { is: "hand back" };
    const partial = verdict?.is === "done" ? verdict.result.result : {};
    return { is: "answer", result: answers.stopped(stopped, job.task, partial) };
  }

  /**
   * Takes the right to start a `once` task. Throws when it is not to be had: our own write whose
   * answer was lost looks the same, and the next delivery is answered by what the record says.
   */
  async #claim(job: Job): Promise<void> {
    const { session_id: session, task_id: id, deadline_ms: deadline } = job.task;
    const claim = { worker_id: this.workerId, attempt: job.attempt, at_ms: this.broker.clock.nowMs() };
    job.record = { ...job.record, claim };
    job.revision = await writeTaskRecord(this.broker, session, id, job.record, job.revision, deadline);
  }

  async #runHandler(handler: Handler, job: Job, lease: Lease): Promise<{ verdict?: Verdict | undefined; stopped?: StopReason }> {
    const { session_id: session, task_id: id, deadline_ms: deadlineMs } = job.task;
    const controller = new AbortController();
    let stop: (reason: StopReason) => void = () => undefined;
    const halted = new Promise<StopReason>((resolve) => (stop = resolve));
    const left = Math.min(Math.max(deadlineMs - this.broker.clock.nowMs(), 0), LONGEST_TIMER_MS);
    const deadline = setTimeout(() => { stop("deadline"); }, left);
    const uninterested = this.cancels.interest(session, id, () => { stop("cancelled"); });
    void lease.lost.then(() => { stop("lease lost"); });
    this.#running.add(stop);
    if (this.#stopping) stop("shutdown");
    const show = this.progress.of(session, id);
    const task = new ExternalTask(job.task, { clock: this.broker.clock, attempt: job.attempt, signal: controller.signal, show });
    const verdict = invoke(handler, task);
    try {
      const first = await Promise.race([verdict, halted]);
      if (typeof first !== "string") return { verdict: first };
      controller.abort(first);
      return { verdict: await withinGrace(verdict), stopped: first };
    } finally {
      clearTimeout(deadline);
      uninterested();
      this.#running.delete(stop);
    }
  }
}

/** Calls a handler; whatever it does is a verdict. */
async function invoke(handler: Handler, task: ExternalTask): Promise<Verdict> {
  try {
    return returned(await handler(task));
  } catch (error) {
    return thrown(error);
  }
}

/** What a stopped handler still answers. One that never ends is left alone: JavaScript cannot end it. */
async function withinGrace(verdict: Promise<Verdict>): Promise<Verdict | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<undefined>((resolve) => (timer = setTimeout(() => { resolve(undefined); }, STOP_GRACE_MS)));
  try {
    return await Promise.race([verdict, over]);
  } finally {
    clearTimeout(timer);
  }
}
