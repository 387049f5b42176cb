// Bodies that are too large for a message, in the object store, named by their digest.

import { createHash } from "node:crypto";

import { Objm, type ObjectStore } from "@nats-io/obj";

import type { Broker } from "./broker.js";
import { BrokerError, Unanswered, reasonOf } from "./errors.js";

/** Bodies above this many bytes go to the object store. */
export const BLOB_THRESHOLD = 256 * 1024;

/** The largest body, in bytes. */
const MAX_BLOB = 256 * 1024 * 1024;

/** A body that is gone, or is not what its name says: it never can be read. */
export class BadBlob extends BrokerError {}

/**
 * Stores a body and returns its name, which begins with its digest. `owner` keeps equal bodies of
 * different tasks apart, so that each goes with its own.
 */
export async function putBlob(broker: Broker, body: Uint8Array, owner: string): Promise<string> {
  if (body.length > MAX_BLOB) throw new BrokerError(`a body of ${body.length} bytes is too large: the limit is ${MAX_BLOB}`);
  const name = `sha256-${digest(body)}.${owner}`;
  await (await store(broker)).putBlob({ name }, body);
  return name;
}

/** Reads a body back and checks it. Throws {@link BadBlob}, or {@link Unanswered}. */
export async function getBlob(broker: Broker, name: string): Promise<Uint8Array> {
  const body = await readBlob(broker, name);
  if (body === null) throw new BadBlob(`body ${name} is gone`);
  if (!name.startsWith(`sha256-${digest(body)}.`)) throw new BadBlob(`body ${name} is not what its name says`);
  return body;
}

/** Removes a body; one that is gone is no error. */
export async function removeBlob(broker: Broker, name: string): Promise<void> {
  await (await store(broker)).delete(name);
}

async function readBlob(broker: Broker, name: string): Promise<Uint8Array | null> {
  try {
    const bucket = await store(broker);
    const size = (await bucket.info(name))?.size ?? 0;
    if (size > MAX_BLOB) throw new BadBlob(`body ${name} has ${size} bytes: the limit is ${MAX_BLOB}`);
    return await bucket.getBlob(name);
  } catch (error) {
    if (error instanceof BadBlob) throw error;
    throw new Unanswered(`body ${name} cannot be read now: ${reasonOf(error)}`);
  }
}

function store(broker: Broker): Promise<ObjectStore> {
  return new Objm(broker.js).open(broker.names.blobsBucket, false);
}

function digest(body: Uint8Array): string {
  return createHash("sha256").update(body).digest("hex");
}
