// Who is there: heartbeats of workers and records of sessions. Always JSON.

import { DecodeError } from "./encoding.js";
import { Fields } from "./fields.js";
import type { Lane } from "./lane.js";
import { DEFAULT_TIMEOUT_MS } from "./task.js";

/** Where a session's tasks go: to a pool, or to workers of its own. */
export type Route = { readonly pool: string } | "own";

/** Whose tasks a worker takes. */
export type Serves = { readonly pool: string } | { readonly session: string };

/** Who handles the tasks of a lane. */
export type TaskHandlerMode = "Internal" | "External" | "Hybrid";

/** How a lane is handled. */
export interface LaneHandlerConfig {
  /** `Internal`: in this process. `External`: by workers. `Hybrid`: here, and told to whoever listens. */
  readonly mode: TaskHandlerMode;
  /** From submit to result, in milliseconds. */
  readonly timeoutMs: number;
}

/** What is said of a tool to agents that may call it. */
export interface ToolInfo {
  /** What it does and when to use it. */
  readonly description?: string;
  /** The JSON Schema of its payload. */
  readonly input_schema?: Readonly<Record<string, unknown>>;
  /** What a call may do to the world; hints that decide nothing. */
  readonly annotations?: {
    readonly read_only?: boolean;
    readonly destructive?: boolean;
    readonly idempotent?: boolean;
    readonly open_world?: boolean;
  };
}

/** A worker's heartbeat. */
export interface Presence {
  readonly worker_id: string;
  readonly host: string;
  readonly pid: number;
  readonly version: string;
  readonly runtime: string;
  readonly serves: Serves;
  readonly lanes: readonly Lane[];
  readonly tools: readonly string[];
  /** Changes with what is said of the tools; absent when nothing is. */
  readonly tool_digest?: string;
  readonly slots: number;
  readonly busy: number;
  readonly done: number;
  readonly workspace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly started_at_ms: number;
  readonly last_pull_ms: number;
  readonly seen_at_ms: number;
  readonly draining: boolean;
  /** Tasks that it refused because of their signatures; absent: none. */
  readonly refused?: number;
}

/** A session's record. */
export interface SessionRecord {
  readonly session_id: string;
  readonly route: Route;
  readonly state: "open" | "paused" | "closed";
  readonly lanes: Readonly<Record<string, { readonly mode: TaskHandlerMode; readonly timeout_ms: number }>>;
  readonly created_at_ms: number;
  /** Tasks submitted before this moment are cancelled; absent: none is. */
  readonly cancelled_before_ms?: number;
}

/** Reads a mode in either casing; `undefined` when it is none. */
export function parseMode(text: string): TaskHandlerMode | undefined {
  const modes: TaskHandlerMode[] = ["Internal", "External", "Hybrid"];
  return modes.find((mode) => mode === text || mode.toLowerCase() === text);
}

/** Reads a decoded session record. */
export function readSessionRecord(value: unknown): SessionRecord {
  const fields = new Fields("session", value);
  const state = fields.text("state") ?? "open";
  if (state !== "open" && state !== "paused" && state !== "closed") throw new DecodeError(`unknown state ${state}`);
  const cancelled = fields.count("cancelled_before_ms") ?? 0;
  const lanes = Object.entries((fields.any("lanes") ?? {}) as Record<string, unknown>);
  return {
    session_id: fields.required("session_id", fields.text("session_id")),
    route: readRoute(fields.any("route")),
    state,
    lanes: Object.fromEntries(lanes.map(([lane, handler]) => [lane, readHandler(handler)])),
    created_at_ms: fields.required("created_at_ms", fields.count("created_at_ms")),
    ...(cancelled > 0 && { cancelled_before_ms: cancelled }),
  };
}

/** Reads a decoded heartbeat. */
export function readPresence(value: unknown): Presence {
  const fields = new Fields("heartbeat", value);
  fields.required("worker_id", fields.text("worker_id"));
  fields.required("serves", fields.any("serves"));
  return { labels: {}, draining: false, ...(value as Omit<Presence, "labels" | "draining">) };
}

function readRoute(value: unknown): Route {
  if (value === "own") return "own";
  const fields = new Fields("route", value);
  return { pool: fields.required("pool", fields.text("pool")) };
}

function readHandler(value: unknown): { mode: TaskHandlerMode; timeout_ms: number } {
  const fields = new Fields("lane's handler", value);
  const mode = parseMode(fields.text("mode") ?? "Internal");
  if (mode === undefined) throw new DecodeError("unknown mode of a lane");
  return { mode, timeout_ms: fields.count("timeout_ms", "timeoutMs") ?? DEFAULT_TIMEOUT_MS };
}
