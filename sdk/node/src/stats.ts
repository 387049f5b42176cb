// What waits and what runs in a session at one moment.

import type { LaneQueue } from "./lane_queue.js";
import type { TaskHandlerMode } from "./wire/fleet.js";
import type { Lane } from "./wire/lane.js";

export interface LaneStatus {
  readonly lane: Lane;
  /** Wait in this process. */
  readonly pending: number;
  /** Were started here or handed to workers. */
  readonly active: number;
  readonly maxConcurrency: number;
  readonly handlerMode: TaskHandlerMode;
}

/** The names of A3S Code and those of its documents are the same numbers. */
export interface SessionQueueStats {
  readonly totalPending: number;
  readonly totalActive: number;
  /** Active tasks that workers, or the host of this process, have. */
  readonly externalPending: number;
  readonly lanes: Readonly<Record<Lane, LaneStatus>>;
  readonly pendingCount: number;
  readonly activeCount: number;
  readonly externalCount: number;
  readonly perLane: Readonly<Record<Lane, LaneStatus>>;
}

export function queueStats(queues: ReadonlyMap<Lane, LaneQueue>, external: number): SessionQueueStats {
  const all = [...queues].map(([lane, queue]): LaneStatus => ({
    lane, pending: queue.pending, active: queue.active, maxConcurrency: queue.cap, handlerMode: queue.handler.mode,
  }));
  const lanes = Object.fromEntries(all.map((status) => [status.lane, status])) as Record<Lane, LaneStatus>;
  const [pending, active] = [sum(all.map((status) => status.pending)), sum(all.map((status) => status.active))];
  return {
    totalPending: pending, totalActive: active, externalPending: external, lanes,
    pendingCount: pending, activeCount: active, externalCount: external, perLane: lanes,
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, number) => all + number, 0);
}
