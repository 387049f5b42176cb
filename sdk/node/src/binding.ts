// Which consumers a worker pulls from, and that they exist.

import type { ConsumerInfo } from "@nats-io/jetstream";

import type { Broker } from "./broker/broker.js";
import { ensure, ensureConsumers } from "./broker/ensure.js";
import { Denied } from "./broker/errors.js";
import { look } from "./broker/look.js";
import { openSession } from "./broker/sessions.js";
import { ownConsumers, poolConsumers } from "./broker/topology.js";
import { checkPolicies, said, type Turn } from "./turn.js";
import type { Serves } from "./wire/fleet.js";
import { laneId, type Lane } from "./wire/lane.js";

/** The consumers that a worker pulls from. */
export interface Binding {
  readonly stream: string;
  readonly consumers: ReadonlyMap<Lane, string>;
  /** How long the broker waits for a sign of life of a task, in milliseconds: the shortest of the lanes'. */
  readonly ackWaitMs: number;
  /** Whether the consumers have a cap on running tasks. */
  readonly capped: boolean;
  /** What pulls say of this worker's turn. */
  readonly turn: Readonly<Record<string, string | number>>;
}

/** What the consumers are like: the shortest lease in milliseconds, and the policy of each lane. */
interface Found {
  readonly ackWaitMs: number;
  readonly policies: readonly string[];
}

/** Finds the consumers that are meant, and creates what is missing. */
export async function bind(broker: Broker, serves: Serves, lanes: readonly Lane[], turn: Turn): Promise<Binding> {
  const own = "session" in serves;
  const stream = own ? broker.names.own : broker.names.tasks;
  const name = (lane: Lane): string =>
    own ? broker.names.ownConsumer(serves.session, lane) : broker.names.poolConsumer(serves.pool, lane);
  const consumers = new Map(lanes.map((lane) => [lane, name(lane)]));
  // Looking before creating lets a worker without the right to create work all the same.
  const before = await lookAtAll(broker, stream, consumers);
  if (before === undefined) await ensure(broker);
  if (own) await claimRoute(broker, serves.session);
  if (before === undefined) {
    const missing = own ? ownConsumers(broker.names, serves.session) : poolConsumers(broker.names, serves.pool);
    await ensureConsumers(broker, stream, missing);
  }
  const found = before ?? (await lookAtAll(broker, stream, consumers));
  if (found === undefined) throw new Error(`the consumers of this worker's lanes are not in stream ${stream}`);
  if (!own) checkPolicies(turn, serves.pool, found.policies);
  return { stream, consumers, ackWaitMs: found.ackWaitMs, capped: own, turn: own ? {} : said(turn) };
}

/** A question that the broker answers with its time, and that every worker may ask. */
export function question({ stream, consumers }: Binding): string {
  const [consumer = ""] = consumers.values();
  return `CONSUMER.INFO.${stream}.${consumer}`;
}

/**
 * What the consumers are like; `undefined` when one is missing. A lane that this worker's credential does
 * not serve is an error, here and not in the first pull.
 */
async function lookAtAll(broker: Broker, stream: string, consumers: ReadonlyMap<Lane, string>): Promise<Found | undefined> {
  const all = await Promise.all([...consumers].map(async ([lane, name]) => {
    const seen = await look<ConsumerInfo>(broker, `CONSUMER.INFO.${stream}.${name}`);
    if (seen.is === "hidden") throw new Denied(seen.denied.violation, `serve lane ${laneId(lane)} (lanes names others)`);
    return seen.is === "there" ? seen.info.config : undefined;
  }));
  const configs = all.filter((config) => config !== undefined);
  if (configs.length < all.length) return undefined;
  return {
    ackWaitMs: Math.min(...configs.map((config) => (config.ack_wait ?? 0) / 1e6)),
    policies: configs.map((config) => config.priority_policy ?? "none"),
  };
}

/** A session's route is written by whoever comes first: a worker for a session that nobody opened makes it `own`. */
async function claimRoute(broker: Broker, session: string): Promise<void> {
  const { route } = await openSession(broker, session, "own");
  if (route === "own") return;
  throw new Error(`session ${session} sends its tasks to pool ${route.pool}, not to workers of its own: start this worker with the pool ${JSON.stringify(route.pool)}, or open the session with its own workers`);
}
