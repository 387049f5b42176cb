// The two encodings of every body. What is decoded is always what JSON can say.
//
// Integers beyond 2^53 are `bigint`, in both directions and both encodings, so that an id of 64
// bits survives a handler that only passes it on; all others are `number`. JavaScript cannot tell
// 1.0 from 1: a float without a fraction is written back as an integer.

import { Decoder, Encoder } from "@msgpack/msgpack";
import { parse as parseLossless, stringify as stringifyLossless } from "lossless-json";

/** How a body is written. A result is written as its task was. */
export type Encoding = "messagepack" | "json";

/** The deepest nesting that is decoded. */
const MAX_DEPTH = 128;

const U32_MAX = 0xffff_ffff;
const I32_MIN = -0x8000_0000;
const U64_MAX = (1n << 64n) - 1n;
const I64_MIN = -(1n << 63n);

const packer = new Encoder({ useBigInt64: true });
const unpacker = new Decoder({ useBigInt64: true });
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** A body that is not what it should be. Never retried: the same bytes fail again. */
export class DecodeError extends Error {}

/** The value of the `Content-Type` header. */
export function contentType(encoding: Encoding): string {
  return encoding === "json" ? "application/json" : "application/msgpack";
}

/** The encoding of a body: what its content type says, else what its first byte says. */
export function encodingOf(type: string | undefined, body: Uint8Array): Encoding {
  if (type?.includes("json")) return "json";
  if (type?.includes("msgpack")) return "messagepack";
  return body.length > 0 && '{["\n\r\t '.includes(String.fromCharCode(body[0] ?? 0)) ? "json" : "messagepack";
}

/** Reads a body. Throws {@link DecodeError} when it is malformed or nests deeper than 128. */
export function decode(encoding: Encoding, body: Uint8Array): unknown {
  try {
    return exact(encoding === "json" ? parseJson(body) : unpacker.decode(body), 0);
  } catch (error) {
    const name = encoding === "json" ? "JSON" : "MessagePack";
    throw new DecodeError(`not valid ${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/**
 * Writes a value as JSON would see it: `undefined` and functions are left out, `toJSON` is
 * honoured, `NaN` is null. Throws for what cannot be written: cycles, nesting beyond 128, integers
 * of more than 64 bits.
 */
export function encode(encoding: Encoding, value: unknown): Uint8Array {
  const wide = { found: false };
  const seen = plain(value, encoding === "messagepack", wide, 0) ?? null;
  if (encoding === "messagepack") return packer.encode(seen);
  return Buffer.from((wide.found ? stringifyLossless(seen) : JSON.stringify(seen)) ?? "null");
}

function parseJson(body: Uint8Array): unknown {
  const text = utf8.decode(body);
  // `JSON.parse` rounds what `number` cannot hold. Where there is nothing so long, it is exact.
  return /\d{16}/.test(text) ? parseLossless(text, null, { parseNumber: jsonNumber }) : JSON.parse(text);
}

function jsonNumber(text: string): number | bigint {
  return /^-?\d+$/.test(text) ? asNumber(BigInt(text)) : Number(text);
}

function asNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Makes numbers of the big integers that fit, in place, and refuses what JSON cannot say. */
function exact(value: unknown, depth: number): unknown {
  if (typeof value === "bigint") return asNumber(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) throw new RangeError(`it nests deeper than ${MAX_DEPTH}`);
  if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) {
    throw new TypeError("it holds binary data or an extension, which is no JSON value");
  }
  const holder = value as Record<string, unknown>;
  for (const key of Object.keys(holder)) {
    const item = exact(holder[key], depth + 1);
    if (item !== holder[key]) holder[key] = item;
  }
  return value;
}

/** What JSON sees of a value. With `pack`, integers that need 64 bits become `bigint`. */
function plain(value: unknown, pack: boolean, wide: { found: boolean }, depth: number): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      if (!Number.isFinite(value)) return null;
      return pack && Number.isSafeInteger(value) && (value > U32_MAX || value < I32_MIN) ? BigInt(value) : value;
    case "bigint":
      if (value > U64_MAX || value < I64_MIN) throw new RangeError(`the integer ${value} needs more than 64 bits`);
      wide.found = true;
      return value;
    case "object":
      return value === null ? null : plainObject(value, pack, wide, depth);
    default:
      return undefined;
  }
}

function plainObject(value: object, pack: boolean, wide: { found: boolean }, depth: number): unknown {
  if (depth >= MAX_DEPTH) throw new RangeError(`the value nests deeper than ${MAX_DEPTH}, or contains itself`);
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return plain((value as { toJSON(): unknown }).toJSON(), pack, wide, depth + 1);
  }
  if (Array.isArray(value)) return value.map((item) => plain(item, pack, wide, depth + 1) ?? null);
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    const seen = plain(item, pack, wide, depth + 1);
    if (seen !== undefined) out[key] = seen;
  }
  return out;
}
