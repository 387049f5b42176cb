// A task as its stream holds it, read with all defaults.

import type { DeadLetter } from "../wire/dead_letter.js";
import { DecodeError, decode, encodingOf, type Encoding } from "../wire/encoding.js";
import { readHeaders, type TaskHeaders } from "../wire/headers.js";
import type { Lane } from "../wire/lane.js";
import type { Names, TaskAddress } from "../wire/names.js";
import { DEFAULT_TIMEOUT_MS, readTask } from "../wire/task.js";
import { isToken } from "../wire/token.js";

/** A task that can be run. */
export interface WireTask {
  readonly task_id: string;
  readonly session_id: string;
  readonly lane: Lane;
  readonly command_type: string;
  readonly payload: unknown;
  readonly timeout_ms: number;
  /** Broker time, milliseconds since 1970. */
  readonly deadline_ms: number;
}

/** A task's message. Its subject and headers are understood; its body may be nonsense. */
export class StoredTask {
  readonly headers: TaskHeaders;

  constructor(
    readonly names: Names,
    readonly address: TaskAddress,
    readonly stream: string,
    readonly subject: string,
    readonly sequence: number,
    /** When it was stored: broker time, milliseconds since 1970. */
    readonly storedAtMs: number,
    readonly rawHeaders: readonly (readonly [string, string])[],
    readonly body: Uint8Array,
  ) {
    this.headers = readHeaders((name) => this.header(name));
  }

  /** The first value of a header. */
  header(name: string): string | undefined {
    return this.rawHeaders.find(([key]) => key === name)?.[1];
  }

  /** The id as far as it is known without the body: from the result's subject, else from the sequence. */
  fallbackId(): string {
    const named = this.names.sessionAndId(this.headers.replyTo ?? "");
    if (named?.session === this.address.session && isToken(named.id)) return named.id;
    return `${this.stream === this.names.own ? "o" : "t"}${this.sequence}`;
  }

  /** How `body` (the message's own, or the one in the object store) is written. */
  encoding(body: Uint8Array): Encoding {
    return encodingOf(this.headers.contentType, body);
  }

  /** Decodes the task. Throws {@link DecodeError}, which says why it can never be run. */
  read(body: Uint8Array): WireTask {
    const task = readTask(decode(this.encoding(body), body));
    const { session, lane } = this.address;
    if (task.session_id !== undefined && task.session_id !== session) {
      throw new DecodeError(`session_id ${JSON.stringify(task.session_id)} is not the subject's ${JSON.stringify(session)}`);
    }
    if (task.lane !== undefined && task.lane !== lane) {
      throw new DecodeError(`lane ${task.lane} is not the subject's ${lane}`);
    }
    const id = task.task_id ?? this.fallbackId();
    if (!isToken(id)) throw new DecodeError(`invalid task id ${JSON.stringify(id)}`);
    const timeout = task.timeout_ms ?? DEFAULT_TIMEOUT_MS;
    return {
      task_id: id,
      session_id: session,
      lane,
      command_type: task.command_type,
      payload: task.payload,
      timeout_ms: timeout,
      deadline_ms: this.headers.deadlineMs ?? this.storedAtMs + timeout,
    };
  }

  /** A dead letter that holds the whole message; what is known beside it is to be filled in. */
  deadLetter(taskId: string, error: string, nowMs: number): DeadLetter {
    return {
      task_id: taskId,
      session_id: this.address.session,
      lane: this.address.lane,
      command_type: "",
      error,
      attempts: 0,
      failed_at: nowMs,
      history: [],
      payload: null,
      subject: this.subject,
      headers: this.rawHeaders,
      body: Buffer.from(this.body).toString("base64"),
    };
  }
}
