// One connection as the rest of this package uses it: names, clock, requests, and publishing that
// is confirmed. Decides nothing about a task.

import { jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager } from "@nats-io/jetstream";
import { RequestError, createInbox, headers as newHeaders, type Msg, type MsgHdrs, type NatsConnection, type Subscription } from "@nats-io/transport-node";

import { Signatures } from "../trust.js";
import { Clock } from "../wire/clock.js";
import { contentType, encode } from "../wire/encoding.js";
import type { Event, EventKind } from "../wire/event.js";
import { EXPECTED_LAST } from "../wire/headers.js";
import { Names } from "../wire/names.js";
import { BrokerError, Conflict, Denied, NobodyAnswers, Unanswered, reasonOf } from "./errors.js";

/** How long an answer of the broker is waited for, in milliseconds. */
export const REQUEST_TIMEOUT_MS = 5_000;

/** How often the clocks are compared; the shortest round trip is the most exact. */
const TRIPS = 3;

/** What is never corrected, beside half of the round trip: scheduling and rounding. */
const SLACK_MS = 5;

/** The broker's codes for "the subject's last message is another one". */
const WRONG_LAST_SEQUENCE = [10071, 10164];

/** `EXPECTED_LAST` is about the last message of this subject instead. */
const OF_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject";

/** "Not stored", for any reason; only the text tells "one a subject" from a stream that is full. */
const NOT_STORED = 10077;

/** The broker's word that a message is stored. */
export interface PubAck {
  readonly stream: string;
  readonly seq: number;
  /** A message of the same id had been stored before, and this one was not. */
  readonly duplicate?: boolean;
}

/** A message as a stream holds it. */
export interface StoredMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly body: Uint8Array;
  readonly header: (name: string) => string | undefined;
}

interface ApiAnswer extends Partial<PubAck> {
  readonly error?: { readonly err_code?: number; readonly description?: string };
  readonly ts?: string;
}

export class Broker {
  readonly names: Names;
  readonly clock = new Clock();
  /** What it signs with and whom it trusts: nothing and everybody, unless it is set. */
  signatures = new Signatures();
  readonly #api: string;
  /** What keys are written under: nothing, but in a domain its API. */
  readonly #keys: string;
  /** Denials of which the call that waited says so itself. */
  readonly #said = new WeakSet<Error>();

  private constructor(
    readonly nc: NatsConnection,
    readonly js: JetStreamClient,
    readonly jsm: JetStreamManager,
    private readonly inboxPrefix: string | undefined,
    prefix: string,
    domain: string | undefined,
  ) {
    this.names = new Names(prefix);
    this.#api = domain === undefined ? "$JS.API" : `$JS.${domain}.API`;
    this.#keys = domain === undefined ? "" : `${this.#api}.`;
  }

  /** The broker behind `nc`; `domain` is that of its JetStream, through a leaf node. */
  static async of(nc: NatsConnection, prefix: string, domain?: string, inboxPrefix?: string): Promise<Broker> {
    const options = { timeout: REQUEST_TIMEOUT_MS, checkAPI: false, ...(domain !== undefined && { domain }) };
    return new Broker(nc, jetstream(nc, options), await jetstreamManager(nc, options), inboxPrefix, prefix, domain);
  }

  /** A new subject for answers to this process alone. */
  inbox(): string {
    return createInbox(this.inboxPrefix);
  }

  /** The subject of a call of the JetStream API. */
  api(call: string): string {
    return `${this.#api}.${call}`;
  }

  /** Where a key of a bucket is written. */
  key(bucket: string, key: string): string {
    return `${this.#keys}${this.names.bucketKey(bucket, key)}`;
  }

  /** Asks, and waits for the answer. Throws {@link Denied}, {@link NobodyAnswers} or {@link Unanswered}. */
  async request(subject: string, body?: Uint8Array | string, headers?: MsgHdrs): Promise<Msg> {
    try {
      return await this.nc.request(subject, body, { timeout: REQUEST_TIMEOUT_MS, ...(headers && { headers }) });
    } catch (error) {
      const denied = this.denied(error);
      if (denied) throw denied;
      if (error instanceof RequestError && error.isNoResponders()) {
        throw new NobodyAnswers(`nobody answers on ${subject}; is JetStream enabled, and was a coordinator started once?`);
      }
      throw new Unanswered(`no answer on ${subject}: ${reasonOf(error)}`);
    }
  }

  /** The denial behind what a call threw, if there is one: `what` says what the call was for. */
  denied(error: unknown, what?: string): Denied | undefined {
    const violation = Denied.behind(error);
    if (!violation) return undefined;
    this.#said.add(violation);
    return new Denied(violation, what);
  }

  /**
   * Publishes to a stream and waits for the broker's word. `expectedLast` stores it only if the
   * subject's last message has this sequence (0: there is none). Throws {@link Conflict} when the
   * condition does not hold, {@link Unanswered} when it may be stored or not.
   */
  async publish(subject: string, body: Uint8Array, headers: [string, string][] = [], expectedLast?: number): Promise<PubAck> {
    const max = this.nc.info?.max_payload;
    if (max !== undefined && body.length > max) {
      throw new BrokerError(`${subject}: ${body.length} bytes are more than the server's max_payload of ${max}`);
    }
    const map = newHeaders();
    for (const [name, value] of headers) map.set(name, value);
    if (expectedLast !== undefined) map.set(EXPECTED_LAST, expectedLast.toString());
    const answer = (await this.request(subject, body, map)).json<ApiAnswer>();
    if (answer.error) throw refusal(subject, answer.error.err_code ?? 0, answer.error.description ?? "");
    return answer as PubAck;
  }

  /** As {@link publish}, for a message that may exist once: `false` when there was one before. */
  async publishFirst(subject: string, body: Uint8Array, headers: [string, string][], expectedLast?: number): Promise<boolean> {
    try {
      return (await this.publish(subject, body, headers, expectedLast)).duplicate !== true;
    } catch (error) {
      if (error instanceof Conflict) return false;
      throw error;
    }
  }

  /**
   * Whether a subject of a stream has a message, for who may not read it: asked by a publish to another
   * subject of the stream, which is refused whatever there is.
   */
  async holds(subject: string, elsewhere: string): Promise<boolean> {
    for (const end = performance.now() + REQUEST_TIMEOUT_MS; ; ) {
      try {
        await this.publish(elsewhere, new Uint8Array(), [[OF_SUBJECT, subject]], Number.MAX_SAFE_INTEGER);
        throw new BrokerError(`${subject}: the broker did not compare sequences`);
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
        if (error.last !== undefined) return error.last > 0;
        // Something is being published to it at this moment.
        if (performance.now() > end) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** The last message of a subject, `undefined` when it has none. */
  async last(stream: string, subject: string): Promise<StoredMessage | undefined> {
    return stored(await this.request(this.api(`DIRECT.GET.${stream}.${subject}`)));
  }

  /** Calls `then` with what is published to `subject` once this has resolved. Throws {@link Denied}. */
  async listen(subject: string, what: string, then: (message: Msg) => void): Promise<Subscription> {
    const failed: Error[] = [];
    const callback = (error: Error | null, message: Msg): void => {
      if (error) failed.push(error);
      else then(message);
    };
    const subscription = this.nc.subscribe(subject, { callback });
    // A denial comes before the answer to what was sent later.
    await this.nc.flush();
    for (const error of failed) throw this.denied(error, what) ?? error;
    return subscription;
  }

  /** Removes a message of a stream; one that is gone is no error. */
  async remove(stream: string, sequence: number): Promise<void> {
    await this.request(this.api(`STREAM.MSG.DELETE.${stream}`), JSON.stringify({ seq: sequence }));
  }

  /** Tells whoever listens. Never waits and never fails. */
  emit(kind: EventKind, session: string, event: Partial<Event>): void {
    if (this.nc.isClosed()) return;
    const told: Event = { kind, session_id: session, time_ms: this.clock.nowMs(), ...event };
    this.nc.publish(this.names.event(session, kind), encode("json", told));
  }

  /**
   * Compares the clocks, by the date of the answer to `question`, a call of the JetStream API that this
   * process may make. A difference within the error of the comparison is not corrected.
   */
  async compareClocks(question: string): Promise<void> {
    let best: { offset: number; took: number } | undefined;
    for (let trip = 0; trip < TRIPS; trip += 1) {
      const [sent, began] = [Date.now(), performance.now()];
      const answer = await this.request(this.api(question)).catch(() => undefined);
      const dated = Date.parse(answer?.json<ApiAnswer>().ts ?? "");
      if (Number.isNaN(dated)) break;
      const took = performance.now() - began;
      if (!best || took < best.took) best = { offset: Math.round(dated - (sent + took / 2)), took };
    }
    if (!best) return;
    this.clock.offsetMs = Math.abs(best.offset) > best.took / 2 + SLACK_MS ? best.offset : 0;
  }

  /** Calls `then` after each reconnect, until the connection is closed. */
  onReconnect(then: () => void): void {
    void (async () => {
      for await (const status of this.nc.status()) {
        if (status.type === "reconnect") then();
      }
    })();
  }

  /** Calls `then` with what the broker denies and nobody waited for, once for each kind of subject. */
  onDenied(then: (denied: Denied) => void): void {
    const kinds = new Set<string>();
    void (async () => {
      for await (const status of this.nc.status()) {
        const violation = status.type === "error" ? Denied.behind(status.error) : undefined;
        if (!violation) continue;
        // Whoever waited for it hears of it in this moment.
        await new Promise((resolve) => setImmediate(resolve));
        const denied = new Denied(violation);
        if (this.#said.has(violation) || kinds.has(denied.kind)) continue;
        kinds.add(denied.kind);
        then(denied);
      }
    })();
  }
}

/** The header of a body in JSON. */
export const JSON_BODY: [string, string][] = [["Content-Type", contentType("json")]];

function refusal(subject: string, code: number, description: string): BrokerError {
  if (WRONG_LAST_SEQUENCE.includes(code) || (code === NOT_STORED && description.includes("per subject"))) {
    const last = /wrong last sequence: (\d+)/.exec(description)?.[1];
    return new Conflict(`${subject}: there is one already`, last === undefined ? undefined : Number(last));
  }
  return new BrokerError(`${subject}: the broker refused: ${description} (${code})`);
}

function stored(message: Msg): StoredMessage | undefined {
  const headers = message.headers;
  if (headers?.code === 404 || headers?.code === 408) return undefined;
  const subject = headers?.get("Nats-Subject");
  if (!subject) throw new BrokerError(`not an answer to a direct get: status ${headers?.code ?? "none"}`);
  return {
    subject,
    sequence: Number(headers?.get("Nats-Sequence")),
    body: message.data,
    header: (name) => headers?.values(name)[0],
  };
}
