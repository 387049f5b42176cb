// How a task leaves a worker: stored, buried, or handed back, and only then acknowledged.

import * as answers from "./answers.js";
import { removeBlob } from "./broker/blobs.js";
import type { Broker } from "./broker/broker.js";
import { bury } from "./broker/dead_letters.js";
import { Conflict, Unanswered, reasonOf } from "./broker/errors.js";
import { readTaskRecord, writeTaskRecord } from "./broker/records.js";
import { hasResult, publishResult } from "./broker/results.js";
import { DONE, again, type Delivery } from "./delivery.js";
import type { Job, Settlement } from "./judge.js";
import type { Lease } from "./lease.js";
import type { Log } from "./log.js";
import type { ToolResult } from "./verdict.js";
import type { DeadLetter } from "./wire/dead_letter.js";
import { encode } from "./wire/encoding.js";
import type { Event, EventKind } from "./wire/event.js";
import type { TaskRecord } from "./wire/record.js";
import { outcomeOf, type Outcome, type TaskResult } from "./wire/result.js";
import { maxAttempts } from "./wire/retry.js";
import { SIGNATURE } from "./wire/signature.js";

/** The wait before a step that the broker did not confirm is repeated, in milliseconds. */
const REPEAT_AFTER_MS = 500;

/** Payloads above this many bytes are not shown in a dead letter (its body still has them). */
const SHOWN_PAYLOAD = 16 * 1024;

const END: Record<Outcome, EventKind> = {
  completed: "queue.command.completed",
  timed_out: "queue.command.timeout",
  dead_lettered: "queue.command.dead_lettered",
  failed: "queue.command.failed",
  cancelled: "queue.command.failed",
  unknown: "queue.command.failed",
};

/** Carries settlements out. One a worker. */
export class Settler {
  /** Results that this worker stored. */
  done = 0;

  constructor(private readonly broker: Broker, private readonly workerId: string, private readonly log: Log) {}

  /**
   * Carries a settlement out. What the broker does not confirm is repeated while the lease is ours;
   * then the task is left to its redelivery.
   */
  async settle(delivery: Delivery, lease: Lease, job: Job, settlement: Settlement): Promise<void> {
    let wanted = writable(job, settlement);
    if (wanted.is === "withhold") {
      this.log.warn(`task ${job.task.task_id} was left to its redelivery`);
      return;
    }
    while (lease.isHeld()) {
      try {
        await this.#step(delivery, lease, job, wanted);
        return;
      } catch (error) {
        if (error instanceof Conflict) {
          this.log.warn(`somebody else has task ${job.task.task_id}: ${error.message}`);
          return;
        }
        this.log.warn(`task ${job.task.task_id} is not settled yet: ${reasonOf(error)}`);
        if (isTooLarge(error)) wanted = unwritable(job, reasonOf(error));
        await new Promise((resolve) => setTimeout(resolve, REPEAT_AFTER_MS));
      }
    }
    this.log.warn(`the lease of task ${job.task.task_id} was lost before it was settled`);
  }

  async #step(delivery: Delivery, lease: Lease, job: Job, settlement: Settlement): Promise<void> {
    switch (settlement.is) {
      case "withhold":
        return;
      case "again":
        await this.#noteAttempt(job, settlement.error);
        this.#tell("queue.command.retry", job, { error: settlement.error, delay_ms: Math.round(settlement.delayMs) });
        lease.end();
        await delivery.answer(this.broker, again(settlement.delayMs));
        return;
      case "hand back":
        await this.#write(job, { ...unclaimed(job.record), handed_back: job.record.handed_back + 1 });
        lease.end();
        await delivery.answer(this.broker, again(0));
        return;
      case "acknowledge":
        break;
      case "answer":
        await this.#store(delivery, job, settlement.result);
        break;
      case "bury":
        await bury(this.broker, this.#letter(delivery, job, settlement.error));
        await this.#store(delivery, job, answers.givenUp(settlement.error));
    }
    // A renewal that overtook the acknowledgement would ask for a lease on nothing.
    lease.end();
    // A task that may be delivered again must stay readable.
    if (await delivery.answer(this.broker, DONE)) await this.#removeBody(delivery, settlement);
  }

  async #store(delivery: Delivery, job: Job, tool: ToolResult): Promise<void> {
    const { task, attempt, startedAtMs } = job;
    const result: TaskResult = {
      task_id: task.task_id, session_id: task.session_id, lane: task.lane, command_type: task.command_type,
      success: tool.success, result: tool.result, error: tool.error, error_kind: tool.error_kind,
      attempt, worker_id: this.workerId, started_at_ms: startedAtMs,
      duration_ms: startedAtMs > 0 ? Math.max(this.broker.clock.nowMs() - startedAtMs, 0) : 0,
    };
    if (await publishResult(this.broker, result, job.encoding, delivery.stored.header(SIGNATURE))) {
      this.done += 1;
      this.#tell(END[outcomeOf(result)], job, {
        duration_ms: result.duration_ms, ...(result.error !== null && { error: result.error }),
      });
    } else {
      this.log.info(`the result of task ${task.task_id} was there already`);
    }
  }

  async #noteAttempt(job: Job, error: string): Promise<void> {
    const note = { attempt: job.attempt, worker_id: this.workerId, at_ms: this.broker.clock.nowMs(), error };
    const record = unclaimed(job.record);
    await this.#write(job, { ...record, attempts: [...record.attempts, note] });
  }

  async #write(job: Job, record: TaskRecord): Promise<void> {
    const { session_id: session, task_id: id, deadline_ms: deadline } = job.task;
    job.revision = await writeTaskRecord(this.broker, session, id, record, job.revision, deadline);
    job.record = record;
  }

  /** A task that was received and not started goes to whoever has a free slot. */
  async returnUnstarted(delivery: Delivery): Promise<void> {
    const { stored } = delivery;
    try {
      // A large body tells the id only after a download; the result's subject has it too.
      const task = stored.headers.blob === undefined ? readable(() => stored.read(stored.body)) : undefined;
      const id = task?.task_id ?? stored.fallbackId();
      const deadline = task?.deadline_ms ?? stored.headers.deadlineMs ?? stored.storedAtMs;
      const { record, revision } = await readTaskRecord(this.broker, stored.address.session, id);
      const handed = { ...record, handed_back: record.handed_back + 1 };
      await writeTaskRecord(this.broker, stored.address.session, id, handed, revision, deadline);
      await delivery.answer(this.broker, again(0));
    } catch (error) {
      this.log.warn(`a task could not be handed back: ${reasonOf(error)}`);
    }
  }

  /**
   * A body that makes no sense now never will: it is kept with the reason, and whoever waits gets a
   * failed result. A large body is also gone when the task has ended: it was delivered once more, or
   * this worker slept over its only delivery. Then there is a result, and nothing to keep.
   */
  async buryUnreadable(delivery: Delivery, reason: string): Promise<void> {
    const { stored } = delivery;
    const [id, error] = [stored.fallbackId(), `the task cannot be read: ${reason}`];
    const result: TaskResult = {
      task_id: id, session_id: stored.address.session, lane: stored.address.lane, command_type: "",
      ...answers.givenUp(error), attempt: 0, worker_id: this.workerId, started_at_ms: 0, duration_ms: 0,
    };
    try {
      const mayHaveEnded = delivery.delivered > 1 || stored.headers.blob !== undefined;
      if (mayHaveEnded && (await hasResult(this.broker, stored.address.session, id))) {
        await delivery.answer(this.broker, DONE);
        return;
      }
      await bury(this.broker, stored.deadLetter(id, error, this.broker.clock.nowMs()));
      await publishResult(this.broker, result, stored.encoding(stored.body), stored.header(SIGNATURE));
      this.broker.emit("queue.command.dead_lettered", stored.address.session, {
        task_id: id, lane: stored.address.lane, worker_id: this.workerId, error,
      });
      await delivery.answer(this.broker, DONE);
    } catch (failed) {
      this.log.warn(`an unreadable task was left to its redelivery: ${reasonOf(failed)}`);
    }
  }

  #letter(delivery: Delivery, job: Job, error: string): DeadLetter {
    const { task, record } = job;
    const shown = encode("json", task.payload).length <= SHOWN_PAYLOAD;
    // An attempt that is over before this one is known by its number alone.
    const attempts = Math.max(job.attempt, Math.min(maxAttempts(job.retry), delivery.delivered - 1));
    return {
      ...delivery.stored.deadLetter(task.task_id, error, this.broker.clock.nowMs()),
      command_type: task.command_type, attempts, history: record.attempts, payload: shown ? task.payload : null,
    };
  }

  async #removeBody(delivery: Delivery, settlement: Settlement): Promise<void> {
    const { blob } = delivery.stored.headers;
    // A dead letter needs its body for the replay. What cannot be removed goes after two days.
    if (blob !== undefined && settlement.is !== "bury") await removeBlob(this.broker, blob).catch(() => undefined);
  }

  #tell(kind: EventKind, job: Job, more: Partial<Event>): void {
    const { task_id, session_id, lane, command_type } = job.task;
    this.broker.emit(kind, session_id, { task_id, lane, command_type, attempt: job.attempt, worker_id: this.workerId, ...more });
  }
}

/** A result that cannot be written is a failure that says so. */
function writable(job: Job, settlement: Settlement): Settlement {
  if (settlement.is !== "answer") return settlement;
  try {
    encode(job.encoding, settlement.result.result);
    return settlement;
  } catch (error) {
    return unwritable(job, reasonOf(error));
  }
}

function unwritable(job: Job, reason: string): Settlement {
  const error = `the result of ${job.task.command_type} cannot be sent: ${reason}`;
  return { is: "answer", result: { success: false, result: {}, error, error_kind: "other" } };
}

function isTooLarge(error: unknown): boolean {
  return error instanceof Error && !(error instanceof Unanswered) && error.message.includes("too large");
}

function unclaimed(record: TaskRecord): TaskRecord {
  return { handed_back: record.handed_back, attempts: record.attempts };
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
