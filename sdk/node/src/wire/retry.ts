// When a task that asked for another attempt gets it.

/** The longest wait between two attempts, in milliseconds. */
const MAX_DELAY_MS = 30_000;

/** How often and how soon a task is tried again. */
export interface RetryPolicy {
  /** `exponential` doubles the wait each time, up to 30 s; `none`: one attempt only. */
  readonly strategy: "exponential" | "fixed" | "none";
  /** Attempts after the first. */
  readonly maxRetries: number;
  /** The first wait (exponential) or each (fixed), in milliseconds. */
  readonly delayMs: number;
}

/** Four attempts; 100 ms, 200 ms, 400 ms between them. */
export const DEFAULT_RETRY: RetryPolicy = { strategy: "exponential", maxRetries: 3, delayMs: 100 };

/** One attempt. */
export const NO_RETRY: RetryPolicy = { strategy: "none", maxRetries: 0, delayMs: 0 };

/** How many attempts a task has in all. */
export function maxAttempts(policy: RetryPolicy): number {
  return policy.strategy === "none" ? 1 : policy.maxRetries + 1;
}

/**
 * The wait after attempt `attempt` (from 1), in milliseconds. `jitter` between 0 and 1 spreads it
 * over the upper half, so that tasks which failed together do not return together.
 */
export function retryDelayMs(policy: RetryPolicy, attempt: number, jitter: number): number {
  const doublings = policy.strategy === "exponential" ? Math.min(attempt - 1, 30) : 0;
  const full = policy.strategy === "none" ? 0 : Math.min(policy.delayMs * 2 ** doublings, MAX_DELAY_MS);
  const spread = Math.floor(full / 2);
  return full - spread + Math.floor(spread * jitter);
}

/** Reads the header `A3s-Retry-Delay`; `undefined` when it is not `exponential:MS`, `fixed:MS` or `none`. */
export function parseRetryDelay(text: string): RetryPolicy | undefined {
  if (text === "none") return NO_RETRY;
  const found = /^(exponential|fixed):(\d+)$/.exec(text);
  if (!found) return undefined;
  return { ...DEFAULT_RETRY, strategy: found[1] as "exponential" | "fixed", delayMs: Number(found[2]) };
}

/** Writes the header `A3s-Retry-Delay`. */
export function formatRetryDelay(policy: RetryPolicy): string {
  return policy.strategy === "none" ? "none" : `${policy.strategy}:${policy.delayMs}`;
}
