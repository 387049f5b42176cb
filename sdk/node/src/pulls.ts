// Which pull to send next. Pure: it is told the time and what arrived, and answers what to ask.
//
// A worker with a free slot asks its lanes top-down with pulls that answer at once (a sweep), and
// only when all are empty leaves one waiting pull of one task at each (an armed pull). So a lower
// lane is never asked while a higher one may hold something, and at most one surplus task a lane
// can arrive when the slots are taken meanwhile. There is at most one pull a lane.
//
// An own lane has a cap on unacknowledged tasks, and a sweep of a saturated consumer is never
// answered. There the waiting pull alone is used, and a message of a lower lane is held for
// SETTLE_MS, the time in which a higher lane would have answered.

import { priority, type Lane } from "./wire/lane.js";

/** How long an armed pull waits at the broker, in milliseconds. */
export const EXPIRES_MS = 30_000;
/** How often the broker says that an armed pull still waits. A cut link gives no other sign. */
export const HEARTBEAT_MS = 2_000;
/** Silence after which an armed pull counts as lost. */
const DEAF_AFTER_MS = 4_500;
/** Silence after which a sweep counts as lost. */
const SWEEP_LOST_AFTER_MS = 2_000;
/** The wait after a refused or lost pull. */
const BACK_OFF_MS = 500;
/** The time in which an own lane's pull is answered when there is something. */
const SETTLE_MS = 5;

/** A pull to send. */
export interface Pull {
  readonly lane: Lane;
  /** Tells this pull's status messages from those of an earlier one. */
  readonly id: number;
  /** How many tasks at most. */
  readonly batch: number;
  /** Whether it waits at the broker when there is nothing. */
  readonly waits: boolean;
}

/** What a status message says: it still waits, there is nothing (more), or try again later. */
export type Status = "heartbeat" | "empty" | "refused";

type State =
  | { readonly is: "unknown" }
  | { readonly is: "back off"; readonly until: number }
  | { readonly is: "sweeping"; readonly id: number; left: number; readonly since: number }
  | { readonly is: "empty" }
  | { readonly is: "armed"; readonly id: number; readonly since: number; heard: number };

const UNKNOWN: State = { is: "unknown" };

/** The pulls of a worker's lanes. All times are those of one monotonic clock, in milliseconds. */
export class Pulls {
  readonly #lanes: { readonly lane: Lane; state: State }[];
  #nextId = 0;

  /** For `lanes`, in any order; `capped`: they are a session's own. */
  constructor(lanes: readonly Lane[], private readonly capped: boolean) {
    const sorted = [...new Set(lanes)].sort((a, b) => priority(a) - priority(b));
    this.#lanes = sorted.map((lane) => ({ lane, state: UNKNOWN }));
  }

  /** The pulls to send now, when `free` says how many tasks of a lane could start. They count as sent. */
  plan(now: number, free: (lane: Lane) => number): Pull[] {
    for (const lane of this.#lanes) if (now >= this.#over(lane.state)) lane.state = UNKNOWN;
    const pulls: Pull[] = [];
    for (const entry of this.#lanes) {
      const room = free(entry.lane);
      if (room <= 0) {
        // Nothing will wait there, so nobody hears what comes: a moment's knowledge goes stale.
        if (entry.state.is === "empty") entry.state = UNKNOWN;
        continue;
      }
      // What is below waits for this lane's answer.
      if (entry.state.is === "sweeping") return pulls;
      if (entry.state.is !== "unknown") continue;
      if (!this.capped) return [...pulls, this.#send(entry, room, false, now)];
      pulls.push(this.#send(entry, 1, true, now));
    }
    for (const entry of this.#lanes) {
      if (entry.state.is === "empty" && free(entry.lane) > 0) pulls.push(this.#send(entry, 1, true, now));
    }
    return pulls;
  }

  /** When a task of `lane` that has arrived may start: a time, or `undefined`: after news of a higher lane. */
  mayStart(lane: Lane, now: number): number | undefined {
    let latest = now;
    for (const { lane: above, state } of this.#lanes) {
      if (above === lane) break;
      if (state.is === "sweeping") return undefined;
      if (state.is === "armed" && this.capped) latest = Math.max(latest, state.since + SETTLE_MS);
    }
    return latest;
  }

  /** Whether a pull may bring something yet. */
  anyWait(): boolean {
    return this.#lanes.some(({ state }) => state.is === "sweeping" || state.is === "armed");
  }

  /** A task of `lane` arrived. */
  arrived(lane: Lane): void {
    const entry = this.#find(lane);
    if (!entry) return;
    const { state } = entry;
    if (state.is === "sweeping" && state.left > 1) state.left -= 1;
    else if (state.is !== "back off") entry.state = UNKNOWN;
  }

  /** The broker said something of pull `id` of `lane`. */
  status(lane: Lane, id: number, status: Status, now: number): void {
    const entry = this.#find(lane);
    const state = entry?.state;
    if (!entry || (state?.is !== "sweeping" && state?.is !== "armed") || state.id !== id) return;
    if (status === "refused") entry.state = { is: "back off", until: now + BACK_OFF_MS };
    else if (status === "heartbeat") {
      if (state.is === "armed") state.heard = now;
    }
    // The end of a waiting pull says nothing of what is there.
    else entry.state = state.is === "armed" ? UNKNOWN : { is: "empty" };
  }

  /** The connection is new: the broker knows none of the pulls. */
  forgetAll(): void {
    for (const entry of this.#lanes) entry.state = UNKNOWN;
  }

  /** When {@link plan} has something to do even if nothing arrives; `Infinity`: never. */
  wakeAt(): number {
    return Math.min(...this.#lanes.map(({ state }) => this.#over(state)));
  }

  /** When a state is over by itself. */
  #over(state: State): number {
    switch (state.is) {
      case "back off": return state.until;
      case "sweeping": return state.since + SWEEP_LOST_AFTER_MS;
      case "armed": return state.heard + DEAF_AFTER_MS;
      default: return Infinity;
    }
  }

  #find(lane: Lane): { readonly lane: Lane; state: State } | undefined {
    return this.#lanes.find((entry) => entry.lane === lane);
  }

  #send(entry: { readonly lane: Lane; state: State }, batch: number, waits: boolean, now: number): Pull {
    this.#nextId += 1;
    const id = this.#nextId;
    entry.state = waits ? { is: "armed", id, since: now, heard: now } : { is: "sweeping", id, left: batch, since: now };
    return { lane: entry.lane, id, batch, waits };
  }
}
