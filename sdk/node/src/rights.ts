// Whether the worker's credential is enough for its work, asked before the first task. A denial later on
// would come when the work is done, and the result could not be told.

import type { Binding } from "./binding.js";
import type { Broker } from "./broker/broker.js";
import { BrokerError, Denied } from "./broker/errors.js";
import type { Serves } from "./wire/fleet.js";
import { laneId } from "./wire/lane.js";

/** A session of which no task is: what is asked about it touches nothing. */
const NO_SESSION = "no-session";

/** Has the broker refuse to store it, whoever asks: it is for another stream. */
const STORED_NOWHERE: [string, string][] = [["Nats-Expected-Stream", "nowhere"]];

/** A pull that the broker cannot read, so that it brings no task. */
const UNREADABLE = JSON.stringify({ batch: "none" });

/**
 * Asks for everything that has an answer; what is only told (events, output) is not asked for. Throws the
 * first denial, with what the permission is needed for.
 */
export async function checkRights(broker: Broker, serves: Serves, workerId: string, binding: Binding): Promise<void> {
  const { names } = broker;
  const session = "session" in serves ? serves.session : NO_SESSION;
  const store = (what: string, subject: string): Promise<void> =>
    ask(what, () => broker.publish(subject, new Uint8Array(), STORED_NOWHERE));
  await Promise.all([
    store("store results", names.result(session, workerId)),
    store("claim tasks", names.claim(session, workerId)),
    ...[...binding.consumers].flatMap(([lane, consumer]) => [
      store(`keep what it gives up in lane ${laneId(lane)}`, names.deadLetter(session, laneId(lane), workerId)),
      ask(`pull tasks of lane ${laneId(lane)}`, () =>
        broker.request(broker.api(`CONSUMER.MSG.NEXT.${binding.stream}.${consumer}`), UNREADABLE)),
    ]),
  ]);
}

async function ask(what: string, question: () => Promise<unknown>): Promise<void> {
  try {
    await question();
  } catch (error) {
    if (error instanceof Denied) throw new Denied(error.violation, what);
    // That the broker refuses is what was asked for; that it says nothing is seen soon enough.
    if (!(error instanceof BrokerError)) throw error;
  }
}
