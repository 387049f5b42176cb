// What a handler answers. It returns a result, or throws one of the verdicts below.

import type { ErrorKind } from "./wire/result.js";

/** What a handler produced. */
export interface ToolResult {
  readonly success: boolean;
  /** Kept also when `success` is false. */
  readonly result: unknown;
  readonly error: string | null;
  readonly error_kind: ErrorKind | null;
}

/** What is to be done about an attempt. */
export type Verdict =
  | { readonly is: "done"; readonly result: ToolResult }
  | { readonly is: "retry"; readonly error: string; readonly delayMs: number | undefined }
  | { readonly is: "reject"; readonly error: string };

/** It could not run now; another attempt may. Waits as the task's retry policy says. */
export class Retry extends Error {
  override name = "Retry";
}

/** As {@link Retry}, after `delayMs` milliseconds. */
export class RetryAfter extends Error {
  override name = "RetryAfter";
  constructor(message: string, readonly delayMs: number) {
    super(message);
  }
}

/** No attempt can succeed: the task goes to the dead letters. */
export class Reject extends Error {
  override name = "Reject";
}

/** The payload is not what the tool takes: the task failed, and that is its result. */
export class InvalidInput extends Error {
  override name = "InvalidInput";
}

/**
 * What a handler's return value means: an object with a boolean `success` is the result as it is;
 * anything else is the result of a success.
 */
export function returned(value: unknown): Verdict {
  if (typeof value === "object" && value !== null && "success" in value && typeof value.success === "boolean") {
    const { success, result, error } = value as { success: boolean; result?: unknown; error?: unknown };
    const text = error === undefined || error === null ? null : typeof error === "string" ? error : JSON.stringify(error);
    return done(success, result ?? {}, success ? text : (text ?? "the tool failed and did not say why"));
  }
  return done(true, value ?? {}, null);
}

/** What a thrown value means. An error that is no verdict is a failed result with its message. */
export function thrown(error: unknown): Verdict {
  const text = error instanceof Error ? error.message || error.name : String(error);
  if (error instanceof Retry) return { is: "retry", error: text, delayMs: undefined };
  if (error instanceof RetryAfter) return { is: "retry", error: text, delayMs: error.delayMs };
  if (error instanceof Reject) return { is: "reject", error: text };
  return done(false, {}, text, error instanceof InvalidInput ? "invalid_input" : null);
}

function done(success: boolean, result: unknown, error: string | null, kind: ErrorKind | null = null): Verdict {
  return { is: "done", result: { success, result, error, error_kind: kind } };
}
