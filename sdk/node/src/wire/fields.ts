// Reads the fields of a decoded body: each by any of its names, `null` the same as absent, unknown
// ones ignored.

import { DecodeError } from "./encoding.js";

/** The fields of one body. Every reader throws {@link DecodeError} on a value of another type. */
export class Fields {
  readonly #fields: Record<string, unknown>;

  /** `what` names the body in errors. */
  constructor(readonly what: string, value: unknown) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new DecodeError(`a ${what} is a map by field name`);
    }
    this.#fields = value as Record<string, unknown>;
  }

  /** The value under the only one of `names` that is there. */
  any(...names: string[]): unknown {
    const given = names.filter((name) => Object.hasOwn(this.#fields, name));
    if (given.length > 1) throw new DecodeError(`${given.join(" and ")} are names of one field: give one of them`);
    return given[0] === undefined ? undefined : (this.#fields[given[0]] ?? undefined);
  }

  text(...names: string[]): string | undefined {
    return this.#typed("text", names, (value) => (typeof value === "string" ? value : undefined));
  }

  flag(...names: string[]): boolean | undefined {
    return this.#typed("true or false", names, (value) => (typeof value === "boolean" ? value : undefined));
  }

  /** A whole number from 0. One beyond 2^53 is rounded: it is a time or a count. */
  count(...names: string[]): number | undefined {
    return this.#typed("a whole number from 0", names, (value) => {
      const number = typeof value === "bigint" ? Number(value) : value;
      return typeof number === "number" && Number.isInteger(number) && number >= 0 ? number : undefined;
    });
  }

  /** Throws unless `value` is there. */
  required<T>(name: string, value: T | undefined): T {
    if (value === undefined) throw new DecodeError(`a ${this.what} has no ${name}`);
    return value;
  }

  #typed<T>(type: string, names: string[], read: (value: unknown) => T | undefined): T | undefined {
    const value = this.any(...names);
    if (value === undefined) return undefined;
    const typed = read(value);
    if (typed === undefined) throw new DecodeError(`${names[0] ?? ""} is not ${type}`);
    return typed;
  }
}
