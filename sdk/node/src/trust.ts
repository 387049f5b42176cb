// Whose signatures count: the key that this process signs with, and the list of keys that it trusts
// with sessions, lanes and tools.

import { existsSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import { parse } from "smol-toml";

import { reasonOf } from "./broker/errors.js";
import type { StoredTask, WireTask } from "./broker/stored_task.js";
import { lane as laneOf, type Lane } from "./wire/lane.js";
import type { Names } from "./wire/names.js";
import type { TaskResult } from "./wire/result.js";
import {
  KEY, SIGNATURE, SigningKey, bodyDigest, isSignedBy, publicKey, resultForm, taskForm, type Header,
} from "./wire/signature.js";

/** How long after its submission a task is stored at most, if it is the first of its message id, in milliseconds. */
const FIRST_WITHIN_MS = 30_000;

const FIELDS = ["key", "name", "role", "sessions", "lanes", "tools"];

/** What a key is trusted with: to ask for tasks, or to answer them. */
export type Role = "coordinator" | "worker";

/** A signature that does not count. Its text names the rule and the key. */
export class Untrusted extends Error {}

interface Entry {
  readonly key: string;
  readonly name: string | undefined;
  readonly role: Role;
  readonly sessions: readonly string[] | undefined;
  readonly lanes: readonly Lane[] | undefined;
  readonly tools: readonly string[] | undefined;
}

/** The keys that count. */
export class TrustList {
  readonly #keys: readonly Entry[];

  /** From the text of its TOML file. `role`: what it is for. Throws when it cannot be used. */
  constructor(text: string, role: Role) {
    const said: Record<string, unknown> = parse(text);
    refuseUnknown(said, ["key"]);
    const keys = said.key ?? [];
    if (!Array.isArray(keys)) throw new RangeError("key is no list: use [[key]]");
    this.#keys = keys.map((entry) => readEntry(entry as Record<string, unknown>));
    if (!this.#keys.some((entry) => entry.role === role)) {
      throw new RangeError(`it names no key with role = "${role}": nothing would be accepted; add a [[key]]`);
    }
  }

  /** Whether it names this key in this role. */
  names(role: Role, key: string): boolean {
    return this.#keys.some((entry) => entry.key === key && entry.role === role);
  }

  /** Throws {@link Untrusted} unless the key is trusted with all three. */
  permit(role: Role, key: string, session: string, lane: Lane, tool: string): void {
    let refusal: string | undefined = `key ${key} is not trusted as a ${role}`;
    for (const entry of this.#keys) {
      if (entry.key !== key || entry.role !== role) continue;
      refusal = refusalOf(entry, session, lane, tool);
      if (refusal === undefined) return;
    }
    throw new Untrusted(refusal);
  }
}

function refusalOf(entry: Entry, session: string, lane: Lane, tool: string): string | undefined {
  const who = entry.name === undefined ? `key ${entry.key}` : `key ${entry.key} (${entry.name})`;
  if (!matches(entry.sessions, session)) return `${who} is not trusted with session ${session}`;
  if (entry.lanes && !entry.lanes.includes(lane)) return `${who} is not trusted with lane ${lane}`;
  if (!matches(entry.tools, tool)) return `${who} is not trusted with tool "${tool}"`;
  return undefined;
}

function matches(patterns: readonly string[] | undefined, name: string): boolean {
  return patterns === undefined || patterns.some((pattern) =>
    pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern);
}

function readEntry(said: Record<string, unknown>): Entry {
  refuseUnknown(said, FIELDS);
  const { key, name, role = "coordinator" } = said;
  if (typeof key !== "string") throw new RangeError("a [[key]] has no key");
  publicKey(key);
  if (name !== undefined && typeof name !== "string") throw new RangeError("name is no text");
  if (role !== "coordinator" && role !== "worker") throw new RangeError(`unknown role ${JSON.stringify(role)}: use coordinator or worker`);
  return { key, name, role, sessions: texts(said, "sessions"), lanes: texts(said, "lanes")?.map(laneOf), tools: texts(said, "tools") };
}

function texts(said: Record<string, unknown>, rule: string): string[] | undefined {
  const values = said[rule];
  if (values === undefined) return undefined;
  if (!Array.isArray(values) || !values.every((value) => typeof value === "string")) throw new RangeError(`${rule} is no list of texts`);
  const bad = values.find((value) => value.slice(0, -1).includes("*"));
  if (bad !== undefined) throw new RangeError(`${JSON.stringify(bad)}: a * may be at the end only`);
  return values;
}

function refuseUnknown(said: Record<string, unknown>, known: readonly string[]): void {
  const unknown = Object.keys(said).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new RangeError(`unknown field ${JSON.stringify(unknown)}: use ${known.join(", ")}`);
}

/**
 * Whether a task that is delivered for the first time may have been stored and answered before: the
 * message id is signed, and the broker stores one once a minute, so a copy comes late.
 */
export function mayBeACopy(storedAtMs: number, task: WireTask): boolean {
  return storedAtMs > task.deadline_ms - task.timeout_ms + FIRST_WITHIN_MS;
}

/** Which files hold the key and the list. */
export interface SignatureOptions {
  /** `A3S_SIGNING_KEY`: a file with the key that signs. Default: `~/.config/a3s/signing.nk`, if it is there. */
  signingKey?: string | undefined;
}

/** The key of a process, and whom it trusts. Without either, nothing is signed or checked. */
export class Signatures {
  /** How often it said no. */
  refused = 0;

  constructor(
    readonly key?: SigningKey,
    /** Whose tasks a worker runs. */
    readonly tasks?: TrustList,
    /** Whose results a caller believes. */
    readonly results?: TrustList,
  ) {}

  /** A worker's, from files. Throws, and names the file. */
  static ofWorker(options: SignatureOptions & { trust?: string | undefined }, env: NodeJS.ProcessEnv = process.env): Signatures {
    const path = options.trust ?? present(env.A3S_TRUST);
    return new Signatures(readKey(options, env), path === undefined ? undefined : readTrust(path, "coordinator"));
  }

  /** A caller's, from files. Throws, and names the file. */
  static ofCaller(options: SignatureOptions & { trustWorkers?: string | undefined }, env: NodeJS.ProcessEnv = process.env): Signatures {
    const path = options.trustWorkers ?? present(env.A3S_TRUST_WORKERS);
    const key = readKey(options, env);
    if (path !== undefined && !key) {
      throw new RangeError("a list of trusted workers needs a key too: this process answers for workers that do not, and signs that; give signingKey");
    }
    return new Signatures(key, undefined, path === undefined ? undefined : readTrust(path, "worker"));
  }

  /** Before anybody touches its payload. Throws {@link Untrusted}. */
  checkTask(list: TrustList, stored: StoredTask, task: WireTask): void {
    const header: Header = (name) => stored.header(name);
    const [key, signature] = [header(KEY), header(SIGNATURE)];
    try {
      if (key === undefined || signature === undefined) throw new Untrusted("it is not signed");
      if (!list.names("coordinator", key)) throw new Untrusted(`key ${key} is not trusted as a coordinator`);
      const form = taskForm({ ...task, subject: stored.subject }, header, bodyDigest(stored.body, header));
      if (!isSignedBy(key, form, signature)) throw new Untrusted(altered(key));
      list.permit("coordinator", key, task.session_id, task.lane, task.command_type);
    } catch (error) {
      this.refused += 1;
      throw error;
    }
  }

  /**
   * `place` is the session and the task of the subject that it was read from, `answers` the signature
   * of the task where that is known. Throws {@link Untrusted}.
   */
  checkResult(
    list: TrustList, names: Names, place: Place, result: TaskResult, header: Header, body: Uint8Array,
  ): void {
    if (place.session !== result.session_id || place.task !== result.task_id) {
      throw new Untrusted(`it is the result of task ${result.task_id}`);
    }
    const [key, signature] = [header(KEY), header(SIGNATURE)];
    if (key === undefined || signature === undefined) throw new Untrusted("it is not signed");
    const coordinator = this.key?.id === key || list.names("coordinator", key);
    if (!coordinator && !list.names("worker", key)) throw new Untrusted(`key ${key} is not trusted as a worker`);
    const subject = names.result(place.session, place.task);
    if (!isSignedBy(key, resultForm({ ...result, subject }, header, bodyDigest(body, header)), signature)) {
      throw new Untrusted(altered(key));
    }
    if (coordinator && !result.success) return;
    if (!list.names("worker", key)) {
      throw new Untrusted(`key ${key} is not trusted as a worker, and only a worker can say that a task succeeded`);
    }
    list.permit("worker", key, result.session_id, result.lane, result.command_type);
  }
}

/** Where a result was read: whose it is to be, and the signature of its task, where that is known. */
export interface Place {
  readonly session: string;
  readonly task: string;
  readonly answers?: string | undefined;
}

function altered(key: string): string {
  return `the signature of key ${key} does not fit: it was altered, or signed for something else`;
}

function readKey(options: SignatureOptions, env: NodeJS.ProcessEnv): SigningKey | undefined {
  const named = options.signingKey ?? present(env.A3S_SIGNING_KEY);
  const path = named ?? join(present(env.XDG_CONFIG_HOME) ?? join(homedir(), ".config"), "a3s", "signing.nk");
  if (named === undefined && !existsSync(path)) return undefined;
  const text = read(path);
  if ((statSync(path).mode & 0o007) !== 0) throw new RangeError(`others can read or change the key in ${path}: run chmod 600 ${path}`);
  try {
    return new SigningKey(text);
  } catch (error) {
    throw new RangeError(`cannot sign with ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

function readTrust(path: string, role: Role): TrustList {
  const text = read(path);
  try {
    return new TrustList(text, role);
  } catch (error) {
    throw new RangeError(`cannot use the trust list ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** A variable that is set to nothing is not set. */
function present(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new RangeError(`cannot read ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
