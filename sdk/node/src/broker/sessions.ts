// The records of sessions, and the heartbeats of workers: two buckets.

import { decode, encode } from "../wire/encoding.js";
import { readSessionRecord, type Presence, type Route, type SessionRecord } from "../wire/fleet.js";
import type { Broker } from "./broker.js";
import { Conflict, Denied } from "./errors.js";

/** The header of what is no value: a deletion. */
const OPERATION = "KV-Operation";

/** How often a record is looked at again when somebody else wrote it meanwhile. */
const TRIES = 3;

/** A session's record, written with `route` when there is none: whoever comes first decides. */
export async function openSession(broker: Broker, session: string, route: Route): Promise<SessionRecord> {
  try {
    return await findOrWrite(broker, session, route);
  } catch (error) {
    throw error instanceof Denied ? new Denied(error.violation, `open session ${session}`) : error;
  }
}

async function findOrWrite(broker: Broker, session: string, route: Route): Promise<SessionRecord> {
  const bucket = broker.names.sessionsBucket;
  const record: SessionRecord = {
    session_id: session, route, state: "open", lanes: {}, created_at_ms: broker.clock.nowMs(),
  };
  for (let tries = 1; ; tries += 1) {
    const found = await broker.last(broker.names.bucketStream(bucket), broker.names.bucketKey(bucket, session));
    if (found && found.header(OPERATION) === undefined) return readSessionRecord(decode("json", found.body));
    try {
      await broker.publish(broker.key(bucket, session), encode("json", record), [], found?.sequence ?? 0);
      return record;
    } catch (error) {
      if (!(error instanceof Conflict) || tries === TRIES) throw error;
    }
  }
}

/** Writes a worker's heartbeat. */
export async function announce(broker: Broker, presence: Presence): Promise<void> {
  await broker.publish(broker.key(broker.names.workersBucket, presence.worker_id), encode("json", presence));
}

/** Removes a worker's heartbeat: it is gone and says so. */
export async function depart(broker: Broker, worker: string): Promise<void> {
  await broker.publish(broker.key(broker.names.workersBucket, worker), new Uint8Array(), [[OPERATION, "DEL"]]);
}
