// What a worker is told at its start, checked once.

import { availableParallelism } from "node:os";

import type { Log } from "./log.js";
import { STDERR } from "./log.js";
import type { ConnectOptions } from "./runtime/connect.js";
import { checkTurn, type Turn } from "./turn.js";
import type { SignatureOptions } from "./trust.js";
import type { Serves } from "./wire/fleet.js";
import { LANES, lane, type Lane, type LaneId } from "./wire/lane.js";
import { DEFAULT_POOL, checkPool, checkToken, uniqueToken } from "./wire/token.js";

/** The most tasks that a worker runs at a time. */
const MAX_CONCURRENCY = 4_096;

/** How long a drain waits for running handlers before it stops them, in milliseconds. */
const DEFAULT_DRAIN_MS = 30_000;

/** What a worker is told. What is not given is taken from the environment, then from the default. */
export interface WorkerOptions extends ConnectOptions, SignatureOptions {
  /** `A3S_TRUST`: a file with the keys whose tasks it runs. Default: it runs everybody's. */
  trust?: string | undefined;
  /** `SESSION_ID`: takes the tasks of this session alone. Excludes `pool`. */
  sessionId?: string | undefined;
  /** `A3S_POOL`: takes the tasks of this pool. Default: `default`. */
  pool?: string | undefined;
  /** `A3S_DISTANCE`: how far it is in a near-first pool, 0 (nearest) to 9. Default: 9. Excludes `helpWhen`. */
  distance?: number | undefined;
  /** `A3S_HELP_WHEN`: it takes a lane's tasks only while so many wait, in a pool that overflows. */
  helpWhen?: number | undefined;
  /** `A3S_LANES`. Default: all. */
  lanes?: readonly (Lane | LaneId)[] | undefined;
  /** `A3S_CONCURRENCY`: tasks at a time, beside one of the Control lane. Default: the number of cores. */
  concurrency?: number | undefined;
  /** `A3S_WORKER_ID`: unique in space and time. Default: a new one. */
  workerId?: string | undefined;
  /** `A3S_LABELS`: what its owner says of it, `key=value,…`. */
  labels?: Record<string, string> | undefined;
  /** `A3S_DRAIN`, there in seconds: how long a drain waits for running handlers, in milliseconds. Default: 30,000. */
  drainMs?: number | undefined;
  /** Whether SIGTERM and SIGINT drain it, and a second one stops it at once. Default: true. */
  signals?: boolean | undefined;
  /** Default: stderr. */
  log?: Log | undefined;
}

/** A checked configuration. */
export interface WorkerConfig {
  readonly serves: Serves;
  readonly lanes: readonly Lane[];
  readonly turn: Turn;
  readonly concurrency: number;
  readonly workerId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly drainMs: number;
  readonly signals: boolean;
  readonly log: Log;
}

/** Throws a `RangeError` that says what cannot work, and what can. */
export function configure(options: WorkerOptions, env: NodeJS.ProcessEnv = process.env): WorkerConfig {
  const lanes = (options.lanes ?? env.A3S_LANES?.split(",") ?? LANES).map(lane);
  if (lanes.length === 0) throw new RangeError("no lanes: name at least one of control, query, execute, generate");
  const concurrency = options.concurrency ?? Number(env.A3S_CONCURRENCY ?? availableParallelism());
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > MAX_CONCURRENCY) {
    throw new RangeError(`invalid concurrency ${concurrency}: use 1 to ${MAX_CONCURRENCY}`);
  }
  const drainMs = options.drainMs ?? Number(env.A3S_DRAIN ?? DEFAULT_DRAIN_MS / 1000) * 1000;
  if (!(drainMs >= 0)) throw new RangeError(`invalid drain time ${drainMs} ms: use 0 or more`);
  const served = serves(options, env);
  return {
    serves: served,
    lanes,
    turn: turn(options, served, env),
    concurrency,
    workerId: checkToken("worker id", options.workerId ?? env.A3S_WORKER_ID ?? `w-${uniqueToken()}`),
    labels: options.labels ?? readLabels(env.A3S_LABELS ?? ""),
    drainMs,
    signals: options.signals ?? true,
    log: options.log ?? STDERR,
  };
}

function serves(options: WorkerOptions, env: NodeJS.ProcessEnv): Serves {
  if (options.sessionId !== undefined && options.pool !== undefined) {
    throw new RangeError("a worker serves a session or a pool: give sessionId or pool, not both");
  }
  const session = options.sessionId ?? (options.pool === undefined ? env.SESSION_ID : undefined);
  if (session !== undefined) return { session: checkToken("session id", session) };
  return { pool: checkPool(options.pool ?? env.A3S_POOL ?? DEFAULT_POOL) };
}

function turn(options: WorkerOptions, served: Serves, env: NodeJS.ProcessEnv): Turn {
  const number = (text: string | undefined): number | undefined => (text ? Number(text) : undefined);
  const { distance, helpWhen } = options;
  const said = distance !== undefined || helpWhen !== undefined;
  if ("session" in served) {
    if (said) throw new RangeError("distance and helpWhen are for workers of a pool");
    return {};
  }
  return checkTurn(said ? { distance, helpWhen } : { distance: number(env.A3S_DISTANCE), helpWhen: number(env.A3S_HELP_WHEN) });
}

function readLabels(text: string): Record<string, string> {
  const pairs = text.split(",").filter((pair) => pair !== "").map((pair): [string, string] => {
    const at = pair.indexOf("=");
    if (at < 1) throw new RangeError(`invalid label ${JSON.stringify(pair)}: use key=value`);
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
  return Object.fromEntries(pairs);
}
