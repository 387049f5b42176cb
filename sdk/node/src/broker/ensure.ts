// Creates what is missing, as far as we may look: what we may not see is the business of somebody who
// may. Safe when many processes start at once; what exists is left as it is.

import { JetStreamApiError, type ConsumerConfig, type StreamInfo } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";
import { nanos } from "@nats-io/transport-node";

import { DEFAULT_POOL } from "../wire/token.js";
import type { Broker } from "./broker.js";
import { BrokerError, reasonOf } from "./errors.js";
import { look } from "./look.js";
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
  await Promise.all(configs.map(async (config) => {
    const name = config.durable_name ?? "";
    if ((await look(broker, `CONSUMER.INFO.${stream}.${name}`)).is !== "missing") return;
    await create(broker, `consumer ${name}`, CONSUMER_EXISTS, () => broker.jsm.consumers.add(stream, config));
  }));
}

async function ensureStream(broker: Broker, config: ReturnType<typeof streams>[number]): Promise<void> {
  const question = `STREAM.INFO.${config.name}`;
  let seen = await look<StreamInfo>(broker, question);
  if (seen.is === "missing") {
    await create(broker, `stream ${config.name}`, [STREAM_EXISTS], () => broker.jsm.streams.add(config));
    // Somebody else may have made it meanwhile, another version perhaps.
    seen = await look<StreamInfo>(broker, question);
  }
  const schema = seen.is === "there" ? seen.info.config.metadata?.[SCHEMA_KEY] : undefined;
  if (Number(schema ?? SCHEMA) > SCHEMA) {
    throw new BrokerError(`stream ${config.name} has layout ${schema ?? ""}, this version knows ${SCHEMA}: update it`);
  }
}

async function ensureBuckets(broker: Broker): Promise<void> {
  const mib = 1024 * 1024;
  const day = 24 * 3_600_000;
  const { names } = broker;
  const [kvs, objects] = [new Kvm(broker.js), new Objm(broker.js)];
  const ensureBucket = async (stream: string, make: () => Promise<unknown>): Promise<void> => {
    if ((await look(broker, `STREAM.INFO.${stream}`)).is !== "missing") return;
    await create(broker, `bucket ${stream}`, [STREAM_EXISTS], make);
  };
  await Promise.all([
    ensureBucket(names.bucketStream(names.workersBucket), () =>
      kvs.create(names.workersBucket, { history: 1, ttl: PRESENCE_TTL_MS, max_bytes: 32 * mib })),
    ensureBucket(names.bucketStream(names.sessionsBucket), () =>
      kvs.create(names.sessionsBucket, { history: 1, ttl: 30 * day, max_bytes: 256 * mib })),
    ensureBucket(names.blobsStream, () =>
      objects.create(names.blobsBucket, { ttl: nanos(2 * day), max_bytes: 2048 * mib })),
  ]);
}

async function create(broker: Broker, what: string, exists: number[], make: () => Promise<unknown>): Promise<void> {
  try {
    await make();
  } catch (error) {
    if (error instanceof JetStreamApiError && exists.includes(error.code)) return;
    const denied = broker.denied(error, `create ${what} (a coordinator for all sessions may, started once)`);
    if (denied) throw denied;
    const full = error instanceof JetStreamApiError && NO_ROOM.includes(error.code);
    throw new BrokerError(`cannot create ${what}: ${reasonOf(error)}${full ? `; ${MORE_ROOM}` : ""}`);
  }
}
