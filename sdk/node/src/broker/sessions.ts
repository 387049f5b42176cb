// The records of sessions, and the heartbeats of workers: two buckets.

import { Kvm, type KV } from "@nats-io/kv";

import { decode, encode } from "../wire/encoding.js";
import { readSessionRecord, type Presence, type Route, type SessionRecord } from "../wire/fleet.js";
import type { Broker } from "./broker.js";
import { reasonOf } from "./errors.js";

/** A session's record, `undefined` when nobody has opened it. */
export async function findSession(broker: Broker, session: string): Promise<SessionRecord | undefined> {
  const entry = await (await bucket(broker, broker.names.sessionsBucket)).get(session);
  return entry?.operation === "PUT" ? readSessionRecord(decode("json", entry.value)) : undefined;
}

/** A session's record, written with `route` when there is none: whoever comes first decides. */
export async function openSession(broker: Broker, session: string, route: Route): Promise<SessionRecord> {
  const record: SessionRecord = {
    session_id: session, route, state: "open", lanes: {}, created_at_ms: broker.clock.nowMs(),
  };
  const sessions = await bucket(broker, broker.names.sessionsBucket);
  for (let tries = 1; ; tries += 1) {
    const found = await findSession(broker, session);
    if (found) return found;
    try {
      await sessions.create(session, encode("json", record));
      return record;
    } catch (error) {
      // Somebody else may have been first.
      if (tries === 3) throw new Error(`cannot write the record of session ${session}: ${reasonOf(error)}`, { cause: error });
    }
  }
}

/** Writes a worker's heartbeat. */
export async function announce(broker: Broker, presence: Presence): Promise<void> {
  await (await bucket(broker, broker.names.workersBucket)).put(presence.worker_id, encode("json", presence));
}

/** Removes a worker's heartbeat: it is gone and says so. */
export async function depart(broker: Broker, worker: string): Promise<void> {
  await (await bucket(broker, broker.names.workersBucket)).delete(worker);
}

function bucket(broker: Broker, name: string): Promise<KV> {
  return new Kvm(broker.js).open(name, { allow_direct: true });
}
