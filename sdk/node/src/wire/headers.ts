// The headers of a task message. A missing or unreadable one has its default, so that a task can
// be published by hand.

import type { Lane } from "./lane.js";
import { DEFAULT_RETRY, NO_RETRY, formatRetryDelay, maxAttempts, parseRetryDelay, type RetryPolicy } from "./retry.js";

/** May a task be started again after a crash (`idempotent`), or never (`once`)? */
export type Effect = "idempotent" | "once";

export const MESSAGE_ID = "Nats-Msg-Id";
export const REPLY_TO = "A3s-Reply-To";
export const DEADLINE = "A3s-Deadline";
export const MAX_ATTEMPTS = "A3s-Max-Attempts";
export const RETRY_DELAY = "A3s-Retry-Delay";
export const EFFECT = "A3s-Effect";
export const CONTENT_TYPE = "Content-Type";
export const BLOB = "A3s-Blob";
export const WORKSPACE = "A3s-Workspace";

/** Only that a stored subject's last message has this sequence (0: none) lets a publish count. */
export const EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence";
/** How long a message lives, for streams that allow it: `<seconds>s`. */
export const TTL = "Nats-TTL";
/** Numbers pieces of output from 1. */
export const CHUNK = "A3s-Chunk";

/** What the headers of a task say. */
export interface TaskHeaders {
  readonly replyTo?: string | undefined;
  /** Broker time, milliseconds since 1970. */
  readonly deadlineMs?: number | undefined;
  readonly retry?: RetryPolicy | undefined;
  readonly effect?: Effect | undefined;
  readonly contentType?: string | undefined;
  readonly blob?: string | undefined;
  /** The tree of files that the task is to run in, as it is written. */
  readonly workspace?: string | undefined;
}

/** Reads them through `get`, which returns the value of a header or `undefined`. */
export function readHeaders(get: (name: string) => string | undefined): TaskHeaders {
  const attempts = whole(get(MAX_ATTEMPTS));
  const delay = parseRetryDelay(get(RETRY_DELAY) ?? "");
  const policy = delay ?? DEFAULT_RETRY;
  const retries = attempts === undefined ? policy.maxRetries : Math.max(attempts - 1, 0);
  const effect = get(EFFECT);
  return {
    replyTo: get(REPLY_TO),
    deadlineMs: whole(get(DEADLINE)),
    retry: attempts === undefined && delay === undefined ? undefined : { ...policy, maxRetries: retries },
    effect: effect === "idempotent" || effect === "once" ? effect : undefined,
    contentType: get(CONTENT_TYPE),
    blob: get(BLOB),
    workspace: get(WORKSPACE),
  };
}

/** The headers to write for a new task. */
export function writeHeaders(headers: TaskHeaders & { readonly messageId: string }): [string, string][] {
  const { retry, deadlineMs } = headers;
  const pairs: [string, string | undefined][] = [
    [MESSAGE_ID, headers.messageId],
    [REPLY_TO, headers.replyTo],
    [DEADLINE, deadlineMs?.toString()],
    [MAX_ATTEMPTS, retry && maxAttempts(retry).toString()],
    [RETRY_DELAY, retry && formatRetryDelay(retry)],
    [EFFECT, headers.effect],
    [CONTENT_TYPE, headers.contentType],
    [BLOB, headers.blob],
    [WORKSPACE, headers.workspace],
  ];
  return pairs.filter((pair): pair is [string, string] => pair[1] !== undefined);
}

/** What a task of a lane may be assumed to do when nobody says. */
export function defaultEffect(lane: Lane): Effect {
  return lane === "Execute" || lane === "Generate" ? "once" : "idempotent";
}

/** How often a task may be tried when nobody says. */
export function defaultRetry(effect: Effect): RetryPolicy {
  return effect === "once" ? NO_RETRY : DEFAULT_RETRY;
}

function whole(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}
