// Looking at streams and consumers before they are made: whoever may not create can still work with
// what is there.

import type { Broker } from "./broker.js";
import { BrokerError, Denied, NobodyAnswers } from "./errors.js";

/** The broker's codes for a stream and for a consumer that do not exist. */
const NOT_FOUND = [10059, 10014];

/** What there is to see: it, nothing (or JetStream is away), or what we may not look at. */
export type Seen<T> =
  | { readonly is: "there"; readonly info: T }
  | { readonly is: "missing" }
  | { readonly is: "hidden"; readonly denied: Denied };

/** What the broker answers to a call of the JetStream API that only looks. Throws `Unanswered`. */
export async function look<T>(broker: Broker, call: string): Promise<Seen<T>> {
  let answer: T & { readonly error?: { readonly err_code?: number; readonly description?: string } };
  try {
    answer = (await broker.request(broker.api(call))).json();
  } catch (error) {
    if (error instanceof Denied) return { is: "hidden", denied: error };
    if (error instanceof NobodyAnswers) return { is: "missing" };
    throw error;
  }
  if (!answer.error) return { is: "there", info: answer };
  if (NOT_FOUND.includes(answer.error.err_code ?? 0)) return { is: "missing" };
  throw new BrokerError(`${call}: the broker refused: ${answer.error.description ?? ""}`);
}
