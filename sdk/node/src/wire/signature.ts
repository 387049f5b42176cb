// What of a task and of a result is signed, and by whom: the same bytes in every language. Pure.
// A key is a NATS nkey: the secret half `SU…`, the public half `U…`.

import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from "node:crypto";

import { BLOB, CONTENT_TYPE, DEADLINE, EFFECT, MAX_ATTEMPTS, MESSAGE_ID, REPLY_TO, RETRY_DELAY } from "./headers.js";
import { laneId, type Lane } from "./lane.js";

/** The public key of who signed a message. */
export const KEY = "A3s-Key";
/** The signature by that key, base64url. */
export const SIGNATURE = "A3s-Signature";
/** Of a result: the signature of the task that it answers. */
export const ANSWERS = "A3s-Answers";
/** The digest of the files that a task needs. */
export const WORKSPACE = "A3s-Workspace";

const VERSION = "a3s-signature-1";
const SIGNED_HEADERS = [
  MESSAGE_ID, REPLY_TO, DEADLINE, MAX_ATTEMPTS, RETRY_DELAY, EFFECT, CONTENT_TYPE, WORKSPACE,
];

/** What the text of an nkey begins with: S and U. */
const SEED = 18 << 3;
const USER = 20 << 3;
const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** What ASN.1 puts before the 32 bytes of an ed25519 key. */
const PRIVATE_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** Returns the value of a header. */
export type Header = (name: string) => string | undefined;

/** What of a task is signed beside its headers. */
export interface SignedTask {
  readonly subject: string;
  readonly session_id: string;
  readonly task_id: string;
  readonly lane: Lane;
  readonly command_type: string;
}

/** What of a result is signed beside its headers. */
export interface SignedResult {
  readonly subject: string;
  readonly session_id: string;
  readonly task_id: string;
  readonly worker_id: string;
}

/** The SHA-256 of a body; of one in the object store, what its name says, with which whoever reads it compares it. */
export function bodyDigest(body: Uint8Array, header: Header): Uint8Array {
  const name = header(BLOB);
  if (name === undefined) return createHash("sha256").update(body).digest();
  return Buffer.from(/^sha256-([0-9a-f]{64})\./.exec(name)?.[1] ?? "", "hex");
}

/** The bytes of a task that are signed. `body` is its digest. */
export function taskForm(task: SignedTask, header: Header, body: Uint8Array): Uint8Array {
  const values = SIGNED_HEADERS.map((name) => header(name) ?? "");
  const said = [task.subject, task.session_id, task.task_id, laneId(task.lane), task.command_type];
  return joined([VERSION, "task", ...said, body, ...values]);
}

/** The bytes of a result that are signed. `body` is its digest. */
export function resultForm(result: SignedResult, header: Header, body: Uint8Array): Uint8Array {
  const said = [result.subject, result.session_id, result.task_id, result.worker_id];
  return joined([VERSION, "result", ...said, header(ANSWERS) ?? "", header(CONTENT_TYPE) ?? "", body]);
}

/** Each field after its length, four bytes, the highest first. */
function joined(fields: (string | Uint8Array)[]): Uint8Array {
  return Buffer.concat(fields.flatMap((field) => {
    const bytes = Buffer.from(field);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return [length, bytes];
  }));
}

/** The secret half of a key. */
export class SigningKey {
  /** The public half, `U…`, which names it. */
  readonly id: string;
  readonly #key: KeyObject;

  /** From the text of an nkey file: a line with a user's seed. Throws, and never says the seed. */
  constructor(text: string) {
    const seed = text.split("\n").map((line) => line.trim()).find((line) => line.startsWith("SU"));
    if (seed === undefined) throw new RangeError("no line of it is the seed of a user's nkey (SU…)");
    const raw = decoded(seed, 34, "it is no nkey; was it copied whole?");
    const [first = 0, second = 0] = raw;
    if ((first & 0xf8) !== SEED || (((first & 7) << 5) | (second >> 3)) !== USER) throw new RangeError("it is no user's seed (SU…)");
    const der = Buffer.concat([PRIVATE_PREFIX, raw.subarray(2)]);
    this.#key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#key).export({ format: "der", type: "spki" });
    const open = Buffer.concat([Buffer.of(USER), spki.subarray(PUBLIC_PREFIX.length)]);
    this.id = encoded(Buffer.concat([open, checksum(open)]));
  }

  /** The signature of these bytes, base64url without padding. */
  sign(form: Uint8Array): string {
    return sign(null, form, this.#key).toString("base64url");
  }

  /** The two headers of a signed message. */
  headers(form: Uint8Array): [string, string][] {
    return [[KEY, this.id], [SIGNATURE, this.sign(form)]];
  }
}

/** Reads a public key, `U…`. Throws when it is none. */
export function publicKey(key: string): KeyObject {
  const error = `${JSON.stringify(key)} is not the public key of a user (U…, 56 characters)`;
  const raw = decoded(key, 33, error);
  if (raw[0] !== USER) throw new RangeError(error);
  return createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, raw.subarray(1)]), format: "der", type: "spki" });
}

/** Whether `signature` is that of these bytes by the key with this public half. */
export function isSignedBy(key: string, form: Uint8Array, signature: string): boolean {
  const raw = Buffer.from(signature, "base64url");
  // One signature has one text.
  if (raw.length !== 64 || raw.toString("base64url") !== signature) return false;
  try {
    return verify(null, form, publicKey(key), raw);
  } catch {
    return false;
  }
}

/** An nkey's bytes without their checksum. */
function decoded(text: string, length: number, error: string): Uint8Array {
  let [bits, held] = [0, 0];
  const bytes: number[] = [];
  for (const letter of text) {
    const value = BASE32.indexOf(letter);
    if (value < 0) throw new RangeError(error);
    bits = ((bits << 5) | value) & 0xffff;
    held += 5;
    if (held >= 8) {
      held -= 8;
      bytes.push((bits >> held) & 0xff);
    }
  }
  const raw = Buffer.from(bytes);
  const open = raw.subarray(0, -2);
  if (open.length !== length || encoded(raw) !== text || !raw.subarray(-2).equals(checksum(open))) throw new RangeError(error);
  return open;
}

function encoded(bytes: Uint8Array): string {
  let [bits, held, text] = [0, 0, ""];
  for (const byte of bytes) {
    bits = ((bits << 8) | byte) & 0xffff;
    held += 8;
    while (held >= 5) {
      held -= 5;
      text += BASE32[(bits >> held) & 31] ?? "";
    }
  }
  return held > 0 ? text + (BASE32[(bits << (5 - held)) & 31] ?? "") : text;
}

/** CRC-16, as nkeys have it: the low byte first. */
function checksum(bytes: Uint8Array): Buffer {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) sum = ((sum & 0x8000) !== 0 ? (sum << 1) ^ 0x1021 : sum << 1) & 0xffff;
  }
  return Buffer.of(sum & 0xff, sum >> 8);
}
