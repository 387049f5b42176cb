// When a worker of a pool gets a task that others of its pool would take too.

/** The largest distance, and that of a worker that says none. */
const FARTHEST = 9;

/** The priority group that all workers of a pool name in their pulls. */
const GROUP = "workers";

/** What a worker was told of its turn; nothing: it is the last of a near-first pool, and no helper. */
export interface Turn {
  /** 0 (nearest) to 9, in a near-first pool. */
  readonly distance?: number | undefined;
  /** It takes a lane's tasks only while so many of them wait, in a pool that overflows. */
  readonly helpWhen?: number | undefined;
}

/** Throws a `RangeError` that says what cannot work. */
export function checkTurn(turn: Turn): Turn {
  const { distance, helpWhen } = turn;
  if (distance !== undefined && helpWhen !== undefined) {
    throw new RangeError("a worker has a distance or it helps: give distance or helpWhen");
  }
  if (distance !== undefined && !(Number.isInteger(distance) && distance >= 0 && distance <= FARTHEST)) {
    throw new RangeError(`invalid distance ${distance}: use 0 (nearest) to ${FARTHEST}`);
  }
  if (helpWhen !== undefined && !(Number.isInteger(helpWhen) && helpWhen >= 1)) {
    throw new RangeError(`invalid helpWhen ${helpWhen}: use 1 or more`);
  }
  return turn;
}

/**
 * What each pull says. Group and priority are ignored where they mean nothing, so they are right
 * whatever becomes of the pool's policy.
 */
export function said({ distance, helpWhen }: Turn): Readonly<Record<string, string | number>> {
  return helpWhen === undefined
    ? { group: GROUP, priority: distance ?? FARTHEST }
    : { group: GROUP, min_pending: helpWhen };
}

/** What the heartbeat says of it. */
export function labelsOf({ distance, helpWhen }: Turn): Record<string, string> {
  if (distance !== undefined) return { distance: String(distance) };
  return helpWhen === undefined ? {} : { "help-when": String(helpWhen) };
}

/** Throws when a pool with these policies of its lanes is not served in the way that `turn` needs. */
export function checkPolicies(turn: Turn, pool: string, policies: readonly string[]): void {
  const [policy, name] = turn.helpWhen === undefined ? ["prioritized", "near"] : ["overflow", "overflow"];
  const needed = turn.distance !== undefined || turn.helpWhen !== undefined;
  if (!needed || policies.every((found) => found === policy)) return;
  throw new Error(`pool ${pool} does not have the policy ${name} that this worker needs: a3s-coordinator pool ${pool} --policy ${name}`);
}
