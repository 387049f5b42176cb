// Names that become a part of a subject.

import { randomBytes } from "node:crypto";

import { parseLane } from "./lane.js";

/** The pool of whoever names none. */
export const DEFAULT_POOL = "default";

/** Whether `value` can be a part of a subject: 1 to 64 letters, digits, `_` or `-`. */
export function isToken(value: string): boolean {
  return /^[A-Za-z0-9_-]{1,64}$/.test(value);
}

/** Throws unless `value` can be a part of a subject. `what` names it in the error. */
export function checkToken(what: string, value: string): string {
  if (!isToken(value)) {
    throw new RangeError(`invalid ${what} ${JSON.stringify(value)}: use 1 to 64 letters, digits, '_' or '-'`);
  }
  return value;
}

/** Throws unless `value` can name a pool: `own` and the names of lanes have a meaning in subjects. */
export function checkPool(value: string): string {
  if (value === "own" || parseLane(value) !== undefined) {
    throw new RangeError(`invalid pool ${JSON.stringify(value)}: the word has a meaning of its own; choose another name`);
  }
  return checkToken("pool", value);
}

/** A new id, unique in space and time; later ones sort behind earlier ones. */
export function uniqueToken(): string {
  return Date.now().toString(16).padStart(12, "0") + randomBytes(10).toString("hex");
}
