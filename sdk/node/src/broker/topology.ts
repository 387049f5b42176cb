// What must exist on the broker. The reasons are in the Rust side's file of this name; what exists
// already is never changed.

import {
  AckPolicy, DiscardPolicy, RetentionPolicy, StorageType, type ConsumerConfig, type StreamConfig,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";

import type { Route } from "../wire/fleet.js";
import { DEFAULT_MAX_CONCURRENCY, LANES, type Lane } from "../wire/lane.js";
import type { Names } from "../wire/names.js";

/** The version of this layout, in the metadata of each stream. */
export const SCHEMA = 1;
export const SCHEMA_KEY = "a3s.schema";

/** How long a worker is in the bucket of heartbeats after its last one, in milliseconds. */
export const PRESENCE_TTL_MS = 15_000;

const MIB = 1024 * 1024;
const DAY = nanos(24 * 3_600_000);
const STREAM_BYTES = 2048 * MIB;
const MAX_CONSUMERS = 100_000;
const MAX_DELIVER = 100;
const MAX_WAITING = 10_000;
const ACK_WAIT = nanos(15_000);

type Stream = Partial<StreamConfig> & { name: string };

/** All streams, in the order of a task's life. */
export function streams(names: Names): Stream[] {
  const last = { max_msgs_per_subject: 1, max_age: 7 * DAY, allow_msg_ttl: true };
  const p = names.prefix;
  return [
    tasks(names, false),
    tasks(names, true),
    stream(names.results, [names.result("*", "*")], {
      max_age: DAY, max_bytes: STREAM_BYTES,
      republish: { src: names.result("*", "*"), dest: `${p}.{{wildcard(1)}}.done.{{wildcard(2)}}` },
    }),
    stream(names.claims, [names.claim("*", "*")], { ...last, max_bytes: 512 * MIB }),
    stream(names.rates, [names.rate("*")], { max_msgs_per_subject: 1, max_age: DAY, max_bytes: 64 * MIB }),
    stream(names.cancels, [names.cancel("*", "*")], { ...last, max_bytes: 128 * MIB }),
    stream(names.deadLetters, [names.deadLetter("*", "*", "*")], {
      max_age: 30 * DAY, max_bytes: 1024 * MIB, max_msgs_per_subject: 1,
      discard: DiscardPolicy.New, discard_new_per_subject: true,
    }),
    stream(names.advisories, advisories(names), {
      retention: RetentionPolicy.Workqueue, max_age: 30 * DAY, max_bytes: 128 * MIB,
    }),
  ];
}

/** The consumers that a pool's workers share, by lane. */
export function poolConsumers(names: Names, pool: string): Partial<ConsumerConfig>[] {
  const route: Route = { pool };
  return LANES.map((lane) => consumer(names.poolConsumer(pool, lane), names.task("*", lane, route), {}));
}

/** The consumers of a session's own workers: the broker holds each lane's concurrency over all of them. */
export function ownConsumers(names: Names, session: string, caps: Readonly<Record<Lane, number>> = DEFAULT_MAX_CONCURRENCY): Partial<ConsumerConfig>[] {
  return LANES.map((lane) =>
    consumer(names.ownConsumer(session, lane), names.task(session, lane, "own"), {
      max_ack_pending: caps[lane], inactive_threshold: DAY,
    }));
}

/** Who moves what the broker gave up itself: the janitor of any coordinator. */
export function mover(): Partial<ConsumerConfig> {
  return { durable_name: "mover", ack_policy: AckPolicy.Explicit, ack_wait: nanos(30_000), max_deliver: -1 };
}

function stream(name: string, subjects: string[], more: Partial<StreamConfig>): Stream {
  return {
    name, subjects, storage: StorageType.File, num_replicas: 1, allow_direct: true, max_consumers: MAX_CONSUMERS,
    duplicate_window: nanos(60_000), metadata: { [SCHEMA_KEY]: SCHEMA.toString() }, ...more,
  };
}

function tasks(names: Names, own: boolean): Stream {
  return stream(own ? names.own : names.tasks, names.taskSubjects(own), {
    retention: RetentionPolicy.Workqueue, discard: DiscardPolicy.New, max_bytes: STREAM_BYTES,
  });
}

function advisories(names: Names): string[] {
  return ["MAX_DELIVERIES", "MSG_TERMINATED"].flatMap((kind) =>
    [names.tasks, names.own].map((tasks) => `$JS.EVENT.ADVISORY.CONSUMER.${kind}.${tasks}.*`));
}

function consumer(name: string, filter: string, more: Partial<ConsumerConfig>): Partial<ConsumerConfig> {
  return {
    durable_name: name, filter_subject: filter, ack_policy: AckPolicy.Explicit, ack_wait: ACK_WAIT,
    max_deliver: MAX_DELIVER, max_waiting: MAX_WAITING, max_ack_pending: -1, ...more,
  };
}
