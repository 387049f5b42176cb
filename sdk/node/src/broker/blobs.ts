// Bodies that are too large for a message, in the object store, named by their digest. Written and read
// as other clients of the object store do it, with fewer rights than NATS' own asks for: that one gets
// messages by calls that name them in their body, and purges.

import { createHash } from "node:crypto";

import { decode, encode } from "../wire/encoding.js";
import { isToken, uniqueToken } from "../wire/token.js";
import type { Broker } from "./broker.js";
import { BrokerError, Unanswered } from "./errors.js";
import { scan } from "./scan.js";

/** Bodies above this many bytes go to the object store. */
export const BLOB_THRESHOLD = 256 * 1024;

/** The largest body, in bytes. */
const MAX_BLOB = 256 * 1024 * 1024;

/** How much of a body a message has, in bytes. */
const CHUNK = 128 * 1024;

/** Has a message take the place of all before it on its subject. */
const ROLLED_UP: [string, string][] = [["Nats-Rollup", "sub"]];

/** What the store knows of a body. */
interface Info {
  readonly name: string;
  readonly bucket: string;
  /** Its pieces are found by this. */
  readonly nuid: string;
  readonly size: number;
  readonly chunks: number;
  readonly digest: string;
  readonly mtime: string;
  readonly deleted?: boolean;
}

/** A body that is gone, or is not what its name says: it never can be read. */
export class BadBlob extends BrokerError {}

/**
 * Stores a body and returns its name, which begins with its digest. `owner` keeps equal bodies of
 * different tasks apart, so that each goes with its own.
 */
export async function putBlob(broker: Broker, body: Uint8Array, owner: string): Promise<string> {
  if (body.length > MAX_BLOB) throw new BrokerError(`a body of ${body.length} bytes is too large: the limit is ${MAX_BLOB}`);
  const sha256 = digest(body);
  const name = `sha256-${sha256.toString("hex")}.${owner}`;
  const old = await find(broker, name);
  const nuid = uniqueToken();
  for (let start = 0; start < body.length; start += CHUNK) {
    await broker.publish(broker.names.blobChunks(nuid), body.subarray(start, start + CHUNK));
  }
  await write(broker, {
    name, bucket: broker.names.blobsBucket, nuid, size: body.length, chunks: Math.ceil(body.length / CHUNK),
    digest: `SHA-256=${sha256.toString("base64").replaceAll("+", "-").replaceAll("/", "_")}`, mtime: new Date().toISOString(), deleted: false,
  });
  if (old) await removeChunks(broker, old.nuid);
  return name;
}

/** Reads a body back and checks it. Throws {@link BadBlob}, or another {@link BrokerError} when it may be had later. */
export async function getBlob(broker: Broker, name: string): Promise<Uint8Array> {
  const info = await find(broker, name);
  if (!info) throw new BadBlob(`body ${name} is gone`);
  if (info.size > MAX_BLOB) throw new BadBlob(`body ${name} has ${info.size} bytes: the limit is ${MAX_BLOB}`);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const { body } of scan(broker, broker.names.blobsStream, broker.names.blobChunks(info.nuid))) {
    chunks.push(body);
    size += body.length;
    if (size > info.size) throw new BadBlob(`body ${name} has more than the ${info.size} bytes that it should have`);
  }
  // Removed meanwhile, or cut short on its way: the next look tells.
  if (size < info.size) throw new Unanswered(`body ${name} cannot be read now: ${size} bytes of ${info.size} are there`);
  const body = Buffer.concat(chunks);
  if (!name.startsWith(`sha256-${digest(body).toString("hex")}.`)) throw new BadBlob(`body ${name} is not what its name says`);
  return body;
}

/** Removes a body; one that is gone is no error. */
export async function removeBlob(broker: Broker, name: string): Promise<void> {
  const info = await find(broker, name);
  if (!info) return;
  await write(broker, { ...info, size: 0, chunks: 0, deleted: true });
  await removeChunks(broker, info.nuid);
}

async function find(broker: Broker, name: string): Promise<Info | undefined> {
  const found = await broker.last(broker.names.blobsStream, broker.names.blobInfo(name));
  const info = found && readable(found.body);
  return info?.deleted === true ? undefined : info;
}

function readable(body: Uint8Array): Info | undefined {
  try {
    const info = decode("json", body) as Info;
    // The id becomes a part of a subject, which must name no other body; the size bounds what is read.
    return isToken(info.nuid) && Number.isInteger(info.size) ? info : undefined;
  } catch {
    return undefined;
  }
}

async function write(broker: Broker, info: Info): Promise<void> {
  await broker.publish(broker.names.blobInfo(info.name), encode("json", info), ROLLED_UP);
}

/** Not by a purge, which names them in its own body, so that whoever may purge one may purge all. */
async function removeChunks(broker: Broker, nuid: string): Promise<void> {
  await broker.publish(broker.names.blobChunks(nuid), new Uint8Array(), ROLLED_UP);
}

function digest(body: Uint8Array): Buffer {
  return createHash("sha256").update(body).digest();
}
