// Workers and callers for A3S Distributed. A map of the sources:
//
// * `worker.ts` is a worker's life; `rights.ts` asks whether its key is enough, `puller.ts` asks for tasks
//   (`pulls.ts` and `slots.ts` say how), `delivery.ts` is one that arrived, `executor.ts` runs it
//   (`judge.ts` decides, `lease.ts` and `cancels.ts` end it), `settle.ts` stores what came of it,
//   `presence.ts` tells that it lives.
// * `session.ts` is a caller's: `lane_queue.ts` holds what waits, `external.ts` what workers have,
//   `host.ts` what this process runs itself, `job.ts` is a task on its way.
// * `wire/` is what is said, `broker/` where, `runtime/` how a connection is made.

export { connect, type ConnectOptions } from "./runtime/connect.js";
export { TaskHandle, type ExternalTaskResult, type SessionCommand } from "./command.js";
export type { WorkerOptions } from "./config.js";
export type { Handler } from "./executor.js";
export type { Log } from "./log.js";
export type { MetricsSnapshot } from "./metrics.js";
export { Session, type ExternalTaskHandler, type SessionOptions } from "./session.js";
export type { LaneStatus, SessionQueueStats } from "./stats.js";
export { ExternalTask, type StopReason } from "./task.js";
export { InvalidInput, Reject, Retry, RetryAfter } from "./verdict.js";
export { Worker } from "./worker.js";
export type { DeadLetter } from "./wire/dead_letter.js";
export type { Encoding } from "./wire/encoding.js";
export type { Event, EventKind } from "./wire/event.js";
export type { LaneHandlerConfig, Presence, Route, TaskHandlerMode, ToolInfo } from "./wire/fleet.js";
export type { Effect } from "./wire/headers.js";
export { LANES, laneOfTool, type Lane, type LaneId } from "./wire/lane.js";
export { outcomeOf, type ErrorKind, type Outcome, type TaskResult } from "./wire/result.js";
export type { RetryPolicy } from "./wire/retry.js";
export { VERSION } from "./version.js";
