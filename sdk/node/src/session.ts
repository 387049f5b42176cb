// A session: four lanes of tasks that this process submits and whose results it awaits.

import { deadLetters } from "./broker/dead_letters.js";
import { ensure, ensureConsumers } from "./broker/ensure.js";
import { writeMarker } from "./broker/records.js";
import { findResult } from "./broker/results.js";
import { openSession } from "./broker/sessions.js";
import { ownConsumers, poolConsumers } from "./broker/topology.js";
import { TaskHandle, type ExternalTaskResult, type SessionCommand } from "./command.js";
import { External, GRACE_MS } from "./external.js";
import { HostTasks } from "./host.js";
import { Job, type How } from "./job.js";
import { LaneQueue, MAX_WAITING } from "./lane_queue.js";
import { Metrics, type MetricsSnapshot } from "./metrics.js";
import { connect, type ConnectOptions, type Connected } from "./runtime/connect.js";
import { queueStats, type SessionQueueStats } from "./stats.js";
import type { ExternalTask } from "./task.js";
import { Signatures, type SignatureOptions } from "./trust.js";
import { returned, thrown } from "./verdict.js";
import type { DeadLetter } from "./wire/dead_letter.js";
import { decode, type Encoding } from "./wire/encoding.js";
import { readEvent, type Event, type EventKind } from "./wire/event.js";
import type { LaneHandlerConfig, Route } from "./wire/fleet.js";
import { defaultEffect, defaultRetry } from "./wire/headers.js";
import { DEFAULT_MAX_CONCURRENCY, LANES, lane as laneOf, laneOfTool, type Lane, type LaneId } from "./wire/lane.js";
import { outcomeOf, type TaskResult } from "./wire/result.js";
import { DEFAULT_TIMEOUT_MS } from "./wire/task.js";
import { DEFAULT_POOL, checkPool, checkToken, uniqueToken } from "./wire/token.js";

/** How a session is opened. What is not given is taken from the environment, then from the default. */
export interface SessionOptions extends ConnectOptions, SignatureOptions {
  /** `A3S_TRUST_WORKERS`: a file with the keys whose results are believed; needs a key. Default: all are. */
  trustWorkers?: string | undefined;
  /** `SESSION_ID`, or `A3S_SESSION`, which the files of `a3s-coordinator init` name. Default: a new one. */
  sessionId?: string | undefined;
  /** The pool whose workers run its tasks; excludes `own`. Default: `default`, or what the session has. */
  pool?: string | undefined;
  /** Its tasks go to workers that were started for this session alone. */
  own?: boolean | undefined;
  /** All lanes are handled by workers; else `setLaneHandler` says which. Default: false. */
  external?: boolean | undefined;
  /** How many tasks of a lane run at a time. Default: 2, 4, 2, 1. */
  maxConcurrency?: Partial<Record<Lane, number>> | undefined;
  /** From submit to result, in milliseconds. Default: 60,000. */
  defaultTimeoutMs?: number | undefined;
  /** Default: `messagepack`. */
  encoding?: Encoding | undefined;
}

/** Handles external tasks in this process. */
export type ExternalTaskHandler = (task: ExternalTask) => ExternalTaskResult | Promise<ExternalTaskResult>;

/** Four lanes of tasks. Open one with {@link Session.open}. */
export class Session {
  readonly #lanes: ReadonlyMap<Lane, LaneQueue>;
  readonly #jobs = new Map<string, Job>();
  readonly #external: External;
  readonly #host = new HostTasks();
  readonly #metrics = new Metrics();
  #handler: ExternalTaskHandler | undefined;
  #closed = false;

  private constructor(
    readonly id: string,
    readonly route: Route,
    private readonly connected: Connected,
    private readonly options: SessionOptions,
  ) {
    const handler: LaneHandlerConfig = {
      mode: options.external === true ? "External" : "Internal",
      timeoutMs: options.defaultTimeoutMs ?? DEFAULT_TIMEOUT_MS,
    };
    this.#lanes = new Map(LANES.map((lane) => {
      const cap = options.maxConcurrency?.[lane] ?? DEFAULT_MAX_CONCURRENCY[lane];
      if (!Number.isInteger(cap) || cap < 1) throw new RangeError(`invalid concurrency ${cap} of ${lane}: use 1 or more`);
      return [lane, new LaneQueue(cap, handler)];
    }));
    this.#external = new External(connected.broker, id, route, options.encoding ?? "messagepack");
  }

  /** Connects, and makes sure that what the session needs is there. */
  static async open(options: SessionOptions = {}): Promise<Session> {
    const id = checkToken("session id", options.sessionId ?? process.env.SESSION_ID ?? process.env.A3S_SESSION ?? uniqueToken());
    const wanted = wantedRoute(options);
    const signatures = Signatures.ofCaller(options);
    const connected = await connect(options, `a3s session ${id}`);
    connected.broker.signatures = signatures;
    try {
      const { broker } = connected;
      await ensure(broker);
      const { route } = await openSession(broker, id, wanted ?? { pool: DEFAULT_POOL });
      if (wanted && JSON.stringify(wanted) !== JSON.stringify(route)) {
        throw new Error(`session ${id} exists with the route ${JSON.stringify(route)}, not ${JSON.stringify(wanted)}: open it so, or use another id`);
      }
      const session = new Session(id, route, connected, options);
      const caps = { ...DEFAULT_MAX_CONCURRENCY, ...options.maxConcurrency };
      const consumers = route === "own" ? ownConsumers(broker.names, id, caps) : poolConsumers(broker.names, route.pool);
      await ensureConsumers(broker, broker.names.taskStream(route), consumers);
      await broker.compareClocks(`STREAM.INFO.${broker.names.taskStream(route)}`);
      session.#heedMarkers();
      await session.#external.listen();
      return session;
    } catch (error) {
      await connected.close();
      throw error;
    }
  }

  /** Says who handles a lane. Changes later tasks only. */
  setLaneHandler(lane: Lane | LaneId, handler: Partial<LaneHandlerConfig>): Promise<void> {
    const queue = this.#lane(lane);
    const timeoutMs = Math.max(handler.timeoutMs ?? this.options.defaultTimeoutMs ?? DEFAULT_TIMEOUT_MS, 1);
    queue.handler = { mode: handler.mode ?? queue.handler.mode, timeoutMs };
    return Promise.resolve();
  }

  /** Who handles a lane. */
  getLaneHandler(lane: Lane | LaneId): Promise<LaneHandlerConfig> {
    return Promise.resolve(this.#lane(lane).handler);
  }

  /**
   * Puts a task in a lane. Resolves when it waits there; 10,000 may, then this waits. Throws when the
   * id is in use in this process, the session is closed, or there was no room until the deadline.
   */
  async submit(lane: Lane | LaneId, command: SessionCommand): Promise<TaskHandle> {
    const name = laneOf(lane);
    const queue = this.#lane(lane);
    const how = this.#how(queue);
    const timeoutMs = command.timeoutMs ?? queue.handler.timeoutMs;
    if (!(timeoutMs > 0)) throw new RangeError(`invalid timeout ${timeoutMs} ms of ${command.commandType}: use 1 or more`);
    const id = checkToken("task id", command.taskId ?? uniqueToken());
    const { clock } = this.connected.broker;
    const deadlineMs = clock.nowMs() + timeoutMs;
    if (!(await queue.room(timeoutMs))) throw new Error(`lane ${name} is full: ${MAX_WAITING} tasks waited for ${timeoutMs} ms`);
    if (this.#closed) throw new Error(`session ${this.id} is closed`);
    if (this.#jobs.has(id)) throw new Error(`task ${id} is under way already: choose another id`);
    const effect = command.effect ?? defaultEffect(name);
    const job = new Job({
      task_id: id, session_id: this.id, lane: name, command_type: command.commandType,
      payload: command.payload ?? {}, timeout_ms: timeoutMs, deadline_ms: deadlineMs,
    }, command, how, effect, command.retry ?? defaultRetry(effect), clock);
    this.#jobs.set(id, job);
    this.#metrics.submitted(name);
    job.atEnd((result) => {
      this.#jobs.delete(id);
      if (result) this.#metrics.ended(result, performance.now() - job.submitted);
    });
    if (how !== "external") this.#tell("queue.command.submitted", job);
    // In an own lane the broker holds the line, over all workers and callers.
    if (how === "external" && this.route === "own") {
      queue.pass();
      void this.#run(job, queue);
    } else {
      queue.add(job);
      this.#endWaitingAt(job, queue);
      this.#pump(queue);
    }
    return new TaskHandle(id, job.ended);
  }

  /** As {@link submit}, to the lane of a tool: Query for those that read, else Execute. */
  submitByTool(tool: string, command: SessionCommand): Promise<TaskHandle> {
    return this.submit(laneOfTool(tool), command);
  }

  /**
   * The external tasks that nobody has taken yet, for this process to run and to complete. From the
   * first call on, external tasks are kept for it instead of being published.
   */
  pendingExternalTasks(): Promise<ExternalTask[]> {
    return Promise.resolve(this.#host.lease(performance.now()).map((job) => job.external()));
  }

  /** Completes a task of {@link pendingExternalTasks}; `false` for an unknown or completed one. */
  completeExternalTask(taskId: string, result: ExternalTaskResult): Promise<boolean> {
    const job = this.#host.withdraw(taskId);
    return Promise.resolve(job?.end(answer(job, result)) ?? false);
  }

  /** Handles external tasks in this process, without workers; `undefined` ends that. Changes later tasks only. */
  setExternalTaskHandler(handler: ExternalTaskHandler | undefined): void {
    this.#handler = handler;
  }

  /** What waits and what runs at this moment. */
  queueStats(): Promise<SessionQueueStats> {
    return Promise.resolve(queueStats(this.#lanes, this.#external.size + this.#host.size));
  }

  /** Counters and latencies since the session was opened here. */
  queueMetrics(): Promise<MetricsSnapshot> {
    return Promise.resolve(this.#metrics.snapshot());
  }

  /** The session's tasks that could not be done, oldest first. They are kept for 30 days. */
  deadLetters(): Promise<DeadLetter[]> {
    return deadLetters(this.connected.broker, this.id);
  }

  /** The result of any task of the session, `undefined` when there is none. They are kept for a day. */
  result(taskId: string): Promise<TaskResult | undefined> {
    return findResult(this.connected.broker, this.id, taskId);
  }

  /**
   * Ends a task: one that waits does not start, one that runs is stopped. `false`: it is not one of
   * this process; it is marked all the same, and ends if it has not.
   */
  async cancel(taskId: string, reason = "cancelled by its session"): Promise<boolean> {
    const job = this.#jobs.get(taskId);
    const { broker } = this.connected;
    if (job && this.#endWaiting(job, "cancelled", reason)) return true;
    if (!job || job.how === "external") {
      await writeMarker(broker, this.id, taskId, reason, job?.task.deadline_ms ?? broker.clock.nowMs());
    }
    if (!job) return false;
    if (job.how === "external") setTimeout(() => void this.#external.settle(job, "cancelled"), GRACE_MS).unref();
    else this.#stopHere(job, "cancelled", reason);
    return true;
  }

  /** What happens in the session from now on, in all processes. Ends with the loop or with {@link close}. */
  async *events(): AsyncGenerator<Event> {
    const { broker } = this.connected;
    const subscription = broker.nc.subscribe(broker.names.event(this.id, ">"));
    try {
      for await (const message of subscription) {
        let event: Event;
        try {
          event = readEvent(decode("json", message.data));
        } catch {
          continue;
        }
        yield event;
      }
    } finally {
      subscription.unsubscribe();
    }
  }

  /** Lets go of the session. What workers have runs on; its results are kept for a day. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#external.close();
    for (const job of this.#jobs.values()) {
      job.fail(new Error(`session ${this.id} was closed before task ${job.task.task_id} ended`));
      job.stop("shutdown");
    }
    await this.connected.close();
  }

  #lane(lane: Lane | LaneId): LaneQueue {
    const queue = this.#lanes.get(laneOf(lane));
    if (!queue) throw new RangeError(`unknown lane ${lane}`);
    return queue;
  }

  #how(queue: LaneQueue): How {
    if (queue.handler.mode === "Internal") return "internal";
    if (queue.handler.mode === "Hybrid") return "hybrid";
    if (this.#handler) return "callback";
    return this.#host.isPulling ? "host" : "external";
  }

  #pump(queue: LaneQueue): void {
    for (let job = queue.next(); job; job = queue.next()) void this.#run(job, queue);
  }

  async #run(job: Job, queue: LaneQueue): Promise<void> {
    this.#metrics.started(job.task.lane, performance.now() - job.submitted);
    job.atEnd(() => {
      queue.done();
      this.#pump(queue);
    });
    if (job.how === "external") {
      await this.#external.run(job, job.command.taskId !== undefined, () => { this.#tell("queue.command.submitted", job); });
    } else {
      this.#runHere(job);
    }
  }

  #runHere(job: Job): void {
    job.startedAtMs = this.connected.broker.clock.nowMs();
    this.#tell("queue.command.started", job, { attempt: 1 });
    job.atEnd((result) => {
      this.#host.withdraw(job.task.task_id);
      if (!result) return;
      const kind = result.success ? "completed" : outcomeOf(result) === "timed_out" ? "timeout" : "failed";
      this.#tell(`queue.command.${kind}`, job, { duration_ms: result.duration_ms, ...(result.error !== null && { error: result.error }) });
    });
    if (job.how === "host") this.#host.offer(job);
    else void this.#answerHere(job).then((result) => job.end(result));
  }

  async #answerHere(job: Job): Promise<TaskResult> {
    try {
      if (job.how === "callback" && this.#handler) return answer(job, await this.#handler(job.external()));
      if (!job.command.execute) {
        throw new Error(`tool ${JSON.stringify(job.task.command_type)} is run by workers, not in this process: set its lane to External`);
      }
      const verdict = returned(await job.command.execute());
      return verdict.is === "done" ? job.result(verdict.result.success, verdict.result.result, verdict.result.error, null) : job.result(false, {}, verdict.error, null);
    } catch (error) {
      const verdict = thrown(error);
      return job.result(false, {}, verdict.is === "done" ? verdict.result.error : verdict.error, null);
    }
  }

  /** A task's time also ends where it waits, and where this process runs it. */
  #endWaitingAt(job: Job, queue: LaneQueue): void {
    const timer = setTimeout(() => {
      const error = `timed out after ${job.task.timeout_ms} ms`;
      if (!this.#endWaiting(job, "timed_out", `${error} in lane ${job.task.lane}, where ${queue.cap} run at a time`) && job.how !== "external") {
        this.#stopHere(job, "timed_out", error);
      }
    }, Math.min(job.task.timeout_ms, 0x7fff_ffff));
    job.atEnd(() => { clearTimeout(timer); });
  }

  #endWaiting(job: Job, kind: "timed_out" | "cancelled", error: string): boolean {
    if (!this.#lane(job.task.lane).remove(job)) return false;
    job.end(job.result(false, {}, error, kind));
    this.#tell(kind === "cancelled" ? "queue.command.failed" : "queue.command.timeout", job, { error });
    return true;
  }

  #stopHere(job: Job, kind: "timed_out" | "cancelled", error: string): void {
    job.stop(kind === "cancelled" ? "cancelled" : "deadline");
    job.end(job.result(false, {}, error, kind));
  }

  /** A task that waits here is known to no worker: this process heeds the markers of others for it. */
  #heedMarkers(): void {
    const { broker } = this.connected;
    broker.nc.subscribe(broker.names.cancel(this.id, "*"), {
      callback: (error, message) => {
        const job = this.#jobs.get(message.subject.slice(message.subject.lastIndexOf(".") + 1));
        if (!error && job) this.#endWaiting(job, "cancelled", "cancelled before it was started");
      },
    });
  }

  #tell(kind: EventKind, job: Job, more: Partial<Event> = {}): void {
    const { task_id, lane, command_type } = job.task;
    this.connected.broker.emit(kind, this.id, { task_id, lane, command_type, ...more });
  }
}

function wantedRoute(options: SessionOptions): Route | undefined {
  if (options.own === true && options.pool !== undefined) {
    throw new RangeError("a session's tasks go to a pool or to its own workers: give pool or own, not both");
  }
  if (options.own === true) return "own";
  return options.pool === undefined ? undefined : { pool: checkPool(options.pool) };
}

function answer(job: Job, result: ExternalTaskResult): TaskResult {
  return job.result(result.success, result.result ?? {}, result.error ?? null, null);
}

