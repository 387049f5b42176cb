// Every name on the broker. Nothing else spells one.

import type { Route } from "./fleet.js";
import { LANES, laneId, type Lane } from "./lane.js";
import { DEFAULT_POOL, checkToken, isToken } from "./token.js";

/** What a task's subject says. */
export interface TaskAddress {
  readonly session: string;
  readonly lane: Lane;
  readonly route: Route;
}

/** The names under one prefix: subjects begin with it, streams and buckets too. */
export class Names {
  readonly tasks: string;
  readonly own: string;
  readonly results: string;
  readonly claims: string;
  readonly cancels: string;
  readonly rates: string;
  readonly deadLetters: string;
  readonly advisories: string;

  /** `prefix` is usually `a3s`. Throws when it cannot be a part of a subject. */
  constructor(readonly prefix: string) {
    const capitals = checkToken("prefix", prefix).toUpperCase();
    this.tasks = `${capitals}_TASKS`;
    this.own = `${capitals}_OWN`;
    this.results = `${capitals}_RESULTS`;
    this.claims = `${capitals}_CLAIMS`;
    this.cancels = `${capitals}_CANCELS`;
    this.rates = `${capitals}_RATES`;
    this.deadLetters = `${capitals}_DLQ`;
    this.advisories = `${capitals}_ADVISORIES`;
  }

  get workersBucket(): string { return `${this.prefix}_workers`; }
  get sessionsBucket(): string { return `${this.prefix}_sessions`; }
  get blobsBucket(): string { return `${this.prefix}_blobs`; }
  get blobsStream(): string { return `OBJ_${this.blobsBucket}`; }
  /** What is known of the body `name`. */
  blobInfo(name: string): string { return `$O.${this.blobsBucket}.M.${Buffer.from(name).toString("base64").replaceAll("+", "-").replaceAll("/", "_")}`; }
  /** The pieces of a body. */
  blobChunks(id: string): string { return `$O.${this.blobsBucket}.C.${id}`; }
  /** The stream that holds a bucket. */
  bucketStream(bucket: string): string { return `KV_${bucket}`; }
  bucketKey(bucket: string, key: string): string { return `$KV.${bucket}.${key}`; }
  get workerService(): string { return `${this.prefix}-worker`; }

  /** The stream of a route's tasks. */
  taskStream(route: Route): string {
    return route === "own" ? this.own : this.tasks;
  }

  /** Where a task is published. */
  task(session: string, lane: Lane, route: Route): string {
    if (route === "own") return `${this.prefix}.${session}.own.${laneId(lane)}`;
    const pool = route.pool === DEFAULT_POOL ? "" : `.${route.pool}`;
    return `${this.prefix}.${session}.${laneId(lane)}${pool}`;
  }

  /** Reads a task's subject back; `undefined` when it is none. */
  parseTask(subject: string): TaskAddress | undefined {
    const [prefix, session, kind, last, ...more] = subject.split(".");
    if (prefix !== this.prefix || session === undefined || !isToken(session) || more.length > 0) return undefined;
    const own = kind === "own" && last !== undefined;
    // Subjects hold the lane in lower case only; the capitalised name is for bodies.
    const lane = LANES.find((known) => laneId(known) === (own ? last : kind));
    return lane && { session, lane, route: own ? "own" : { pool: last ?? DEFAULT_POOL } };
  }

  /** The subjects of the two streams of tasks. */
  taskSubjects(own: boolean): string[] {
    const ids = LANES.map(laneId);
    if (own) return ids.map((id) => `${this.prefix}.*.own.${id}`);
    return ids.flatMap((id) => [`${this.prefix}.*.${id}`, `${this.prefix}.*.${id}.*`]);
  }

  poolConsumer(pool: string, lane: Lane): string { return `pool-${pool}-${laneId(lane)}`; }
  ownConsumer(session: string, lane: Lane): string { return `own-${session}-${laneId(lane)}`; }

  result(session: string, task: string): string { return `${this.prefix}.${session}.result.${task}`; }
  done(session: string, task: string): string { return `${this.prefix}.${session}.done.${task}`; }
  claim(session: string, task: string): string { return `${this.prefix}.${session}.claim.${task}`; }
  cancel(session: string, task: string): string { return `${this.prefix}.${session}.cancel.${task}`; }
  deadLetter(session: string, lane: string, task: string): string {
    return `${this.prefix}.${session}.dlq.${lane}.${task}`;
  }
  event(session: string, kind: string): string { return `${this.prefix}.${session}.event.${kind}`; }
  output(session: string, task: string): string { return `${this.prefix}.${session}.output.${task}`; }
  rate(session: string): string { return `${this.prefix}.${session}.rate`; }
  workerEndpoint(worker: string): string { return `${this.prefix}.worker.${worker}`; }

  /** The session and the last token of a subject of four tokens, as of results and cancels. */
  sessionAndId(subject: string): { session: string; id: string } | undefined {
    const [prefix, session, kind, id, ...more] = subject.split(".");
    const complete = prefix === this.prefix && kind !== undefined && more.length === 0;
    return complete && session !== undefined && id !== undefined ? { session, id } : undefined;
  }
}
