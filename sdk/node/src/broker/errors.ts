// What the broker may say, or not say.

import { PermissionViolationError } from "@nats-io/transport-node";

/** Something was asked of the broker and it is not known to have been done. */
export class BrokerError extends Error {}

/** The broker did not answer: what was asked may be done or not. */
export class Unanswered extends BrokerError {}

/** Nobody listens to the subject: no stream takes it, or JetStream is away. */
export class NobodyAnswers extends BrokerError {}

/**
 * The broker does not permit it: nothing was done, and the same call fails again until somebody changes
 * the permissions. NATS answers nothing to what it denies; it reports an error on the connection, which
 * ends the call that waits.
 */
export class Denied extends BrokerError {
  /** `what` it was needed for, where that is known. */
  constructor(readonly violation: PermissionViolationError, what?: string) {
    super(`${what === undefined ? "" : `${what}: `}not permitted to ${act(violation)}; use a credential that may `
      + "(`a3s-coordinator doctor` shows what this one can do)", { cause: violation });
  }

  /** What the log tells apart: ids, from the fourth token on, make no difference. */
  get kind(): string {
    return [this.violation.operation, ...this.violation.subject.split(".").slice(0, 3)].join(" ");
  }

  /** The denial that `error` comes from, if it does. */
  static behind(error: unknown): PermissionViolationError | undefined {
    for (let at = error; at instanceof Error; at = at.cause) if (at instanceof PermissionViolationError) return at;
    return undefined;
  }
}

function act({ operation, subject }: PermissionViolationError): string {
  if (operation === "publish") return `publish to ${subject}`;
  // A key's file names its inbox; a seed alone does not.
  return `subscribe to ${subject}${subject.startsWith("_INBOX") ? " (inboxPrefix names the inbox that a key may use)" : ""}`;
}

/** Somebody wrote meanwhile: what was read is no longer so. */
export class Conflict extends BrokerError {
  /** `last`: the sequence of the subject's last message (0: it has none), where the broker names it. */
  constructor(message: string, readonly last?: number) {
    super(message);
  }
}

/** What an unknown thing that was thrown says. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
