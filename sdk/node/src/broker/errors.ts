// What the broker may say, or not say.

/** Something was asked of the broker and it is not known to have been done. */
export class BrokerError extends Error {}

/** The broker did not answer: what was asked may be done or not. */
export class Unanswered extends BrokerError {}

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
