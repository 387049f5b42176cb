// Running a task on a worker: publish it, wait for its result, and settle it when none comes.
//
// The result arrives on the done subject, fast. What a subscription can miss (a reconnect, a restart
// of the broker) is found by asking: on every reconnect, and every few seconds. When the deadline has
// passed and nobody has answered, this process answers itself. The broker keeps the first result
// only, so whatever is stored is the outcome.

import { BLOB_THRESHOLD, putBlob, removeBlob } from "./broker/blobs.js";
import type { Broker, PubAck } from "./broker/broker.js";
import { BrokerError, Unanswered, reasonOf } from "./broker/errors.js";
import { findResult, publishResult, readResultMessage } from "./broker/results.js";
import type { Job } from "./job.js";
import { contentType, encode, type Encoding } from "./wire/encoding.js";
import type { Route } from "./wire/fleet.js";
import { writeHeaders } from "./wire/headers.js";
import type { TaskResult } from "./wire/result.js";
import { SIGNATURE, bodyDigest, taskForm } from "./wire/signature.js";

/** How long after its deadline a task is answered by its caller, in milliseconds; the same after a cancel. */
export const GRACE_MS = 2_000;

/** How often results that have not arrived are asked for, in milliseconds. */
const LOOK_EVERY_MS = 5_000;

/** The wait before a publish without an answer is repeated, in milliseconds. */
const REPEAT_AFTER_MS = 250;

/** The tasks of a session that workers have. */
export class External {
  readonly #jobs = new Map<string, Job>();
  #looking: NodeJS.Timeout | undefined;

  constructor(
    private readonly broker: Broker,
    private readonly session: string,
    private readonly route: Route,
    private readonly encoding: Encoding,
  ) {}

  /** How many tasks workers have, or wait for them. */
  get size(): number {
    return this.#jobs.size;
  }

  /** Listens to results, before the first task. */
  async listen(): Promise<void> {
    await this.broker.listen(this.broker.names.done(this.session, "*"), "hear of results", (message) => {
      const job = this.#jobs.get(message.subject.slice(message.subject.lastIndexOf(".") + 1));
      if (!job) return;
      const header = (name: string): string | undefined => message.headers?.values(name)[0];
      // What cannot be read now is asked for later.
      const place = { session: this.session, task: job.task.task_id, answers: job.answers };
      readResultMessage(this.broker, header, message.data, place).then((result) => job.end(result), () => undefined);
    });
    this.broker.onReconnect(() => { this.#lookForAll(); });
    this.#looking = setInterval(() => { this.#lookForAll(); }, LOOK_EVERY_MS);
    this.#looking.unref();
  }

  /** Publishes a task; its job ends by itself then. `named`: its id may have been here before. */
  async run(job: Job, named: boolean, accepted: () => void): Promise<void> {
    const { task } = job;
    this.#jobs.set(task.task_id, job);
    const left = Math.max(task.deadline_ms - this.broker.clock.nowMs(), 0) + GRACE_MS;
    const timer = setTimeout(() => void this.settle(job, "timed_out"), Math.min(left, 0x7fff_ffff));
    job.atEnd(() => {
      clearTimeout(timer);
      this.#jobs.delete(task.task_id);
    });
    if (named) await this.#look(job);
    if (!job.isOver) await this.#publish(job, named, accepted);
  }

  /** Answers for whoever should have, and takes the task back. What is stored by then is the outcome. */
  async settle(job: Job, kind: "timed_out" | "cancelled"): Promise<void> {
    if (job.isOver) return;
    const error = kind === "cancelled" ? "cancelled by its session" : `timed out after ${job.task.timeout_ms} ms, and no worker answered`;
    const own = job.result(false, {}, error, kind);
    try {
      const stamped = { ...own, started_at_ms: this.broker.clock.nowMs() };
      const first = await publishResult(this.broker, stamped, this.encoding, job.signature);
      // When this fails, the worker that gets the task finds it over, and the result stored.
      await this.#takeBack(job).catch(() => undefined);
      job.end(first ? own : ((await findResult(this.broker, this.session, own.task_id, job.answers)) ?? own));
    } catch (failed) {
      job.fail(new Error(`task ${own.task_id}: its deadline has passed, and the broker does not say how it ended: ${reasonOf(failed)}`));
    }
  }

  /** Listens no more. */
  close(): void {
    clearInterval(this.#looking);
  }

  async #publish(job: Job, named: boolean, accepted: () => void): Promise<void> {
    try {
      const { subject, body, headers, blob } = await this.#message(job);
      this.#sign(job, named, subject, body, headers);
      const ack = await this.#publishUntilDeadline(job, subject, body, headers);
      job.accepted = { stream: ack.stream, seq: ack.seq, blob };
      accepted();
      if (ack.duplicate === true) await this.#look(job);
    } catch (error) {
      // Unanswered: it may have been stored. The outcome is settled at the broker.
      if (!(error instanceof Unanswered)) job.fail(new Error(`task ${job.task.task_id} was not accepted: ${reasonOf(error)}`));
    }
  }

  async #message(job: Job): Promise<{ subject: string; body: Uint8Array; headers: [string, string][]; blob: string | undefined }> {
    const { task_id, session_id, lane, command_type, payload, timeout_ms, deadline_ms } = job.task;
    const { names } = this.broker;
    let body = encode(this.encoding, { task_id, session_id, lane, command_type, payload, timeout_ms });
    let blob: string | undefined;
    if (body.length > BLOB_THRESHOLD) {
      blob = await putBlob(this.broker, body, task_id);
      body = new Uint8Array();
    }
    const headers = writeHeaders({
      messageId: `${session_id}.${task_id}`, replyTo: names.result(session_id, task_id), deadlineMs: deadline_ms,
      retry: job.retry, effect: job.effect, contentType: contentType(this.encoding), blob,
    });
    return { subject: names.task(session_id, lane, this.route), body, headers, blob };
  }

  /** Under an id of the caller's own an earlier task may have been answered, and that counts as always. */
  #sign(job: Job, named: boolean, subject: string, body: Uint8Array, headers: [string, string][]): void {
    const { key } = this.broker.signatures;
    if (!key) return;
    const header = (name: string): string | undefined => headers.find(([known]) => known === name)?.[1];
    headers.push(...key.headers(taskForm({ ...job.task, subject }, header, bodyDigest(body, header))));
    job.signature = header(SIGNATURE);
    job.answers = named ? undefined : job.signature;
  }

  /** A publish without an answer is repeated under the same id, which the broker stores once. */
  async #publishUntilDeadline(job: Job, subject: string, body: Uint8Array, headers: [string, string][]): Promise<PubAck> {
    for (;;) {
      try {
        return await this.broker.publish(subject, body, headers);
      } catch (error) {
        const over = this.broker.clock.nowMs() >= job.task.deadline_ms;
        if (!(error instanceof Unanswered) || over) throw error;
        await new Promise((resolve) => setTimeout(resolve, REPEAT_AFTER_MS));
      }
    }
  }

  async #takeBack(job: Job): Promise<void> {
    if (!job.accepted) return;
    await this.broker.remove(job.accepted.stream, job.accepted.seq);
    if (job.accepted.blob !== undefined) await removeBlob(this.broker, job.accepted.blob);
  }

  #lookForAll(): void {
    for (const job of this.#jobs.values()) void this.#look(job);
  }

  async #look(job: Job): Promise<void> {
    try {
      const result: TaskResult | undefined = await findResult(this.broker, this.session, job.task.task_id, job.answers);
      if (result) job.end(result);
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
    }
  }
}
