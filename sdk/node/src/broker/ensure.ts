// Creates what is missing. Safe when many processes start at once; what exists is left as it is.

import { JetStreamApiError, type ConsumerConfig } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";
import { nanos } from "@nats-io/transport-node";

import { DEFAULT_POOL } from "../wire/token.js";
import type { Broker } from "./broker.js";
import { BrokerError, reasonOf } from "./errors.js";
import { PRESENCE_TTL_MS, SCHEMA, SCHEMA_KEY, mover, poolConsumers, streams } from "./topology.js";

const STREAM_EXISTS = 10058;
const CONSUMER_EXISTS = [10013, 10148];
/** Streams reserve their limits: the server's, or the account's, does not allow it. */
const NO_ROOM = [10047, 10023, 10002];
const MORE_ROOM = "free disk space, or raise max_file_store in the server's jetstream {} block";

/** Creates streams, buckets and the consumers of pool `default`, where they are missing. */
export async function ensure(broker: Broker): Promise<void> {
  await Promise.all([...streams(broker.names).map((config) => ensureStream(broker, config)), ensureBuckets(broker)]);
  await ensureConsumers(broker, broker.names.tasks, poolConsumers(broker.names, DEFAULT_POOL));
  await ensureConsumers(broker, broker.names.advisories, [mover()]);
}

/** Creates consumers of `stream` where they are missing. */
export async function ensureConsumers(broker: Broker, stream: string, configs: Partial<ConsumerConfig>[]): Promise<void> {
  await Promise.all(configs.map((config) =>
    unlessThere(`create consumer ${config.durable_name ?? ""}`, CONSUMER_EXISTS, () => broker.jsm.consumers.add(stream, config))));
}

async function ensureStream(broker: Broker, config: ReturnType<typeof streams>[number]): Promise<void> {
  await unlessThere(`create stream ${config.name}`, [STREAM_EXISTS], () => broker.jsm.streams.add(config));
  const found = (await broker.jsm.streams.info(config.name)).config.metadata?.[SCHEMA_KEY];
  if (Number(found ?? SCHEMA) > SCHEMA) {
    throw new BrokerError(`stream ${config.name} has layout ${found ?? ""}, this version knows ${SCHEMA}: update it`);
  }
}

async function ensureBuckets(broker: Broker): Promise<void> {
  const mib = 1024 * 1024;
  const day = 24 * 3_600_000;
  const [kvs, objects] = [new Kvm(broker.js), new Objm(broker.js)];
  await Promise.all([
    kvs.create(broker.names.workersBucket, { history: 1, ttl: PRESENCE_TTL_MS, max_bytes: 32 * mib }),
    kvs.create(broker.names.sessionsBucket, { history: 1, ttl: 30 * day, max_bytes: 256 * mib }),
    objects.create(broker.names.blobsBucket, { ttl: nanos(2 * day), max_bytes: 2048 * mib }),
  ]);
}

async function unlessThere(what: string, exists: number[], create: () => Promise<unknown>): Promise<void> {
  try {
    await create();
  } catch (error) {
    if (error instanceof JetStreamApiError && exists.includes(error.code)) return;
    const full = error instanceof JetStreamApiError && NO_ROOM.includes(error.code);
    throw new BrokerError(`cannot ${what}: ${reasonOf(error)}${full ? `; ${MORE_ROOM}` : ""}`);
  }
}
