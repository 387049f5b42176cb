// Dead letters: written once a task, read by whoever asks.

import { readDeadLetter, type DeadLetter } from "../wire/dead_letter.js";
import { decode, encode } from "../wire/encoding.js";
import { laneId } from "../wire/lane.js";
import { JSON_BODY, type Broker } from "./broker.js";
import { scan } from "./scan.js";

/** Keeps a dead letter; the first one of a task stays. Throws when it is not known to be kept. */
export async function bury(broker: Broker, letter: DeadLetter): Promise<void> {
  const subject = broker.names.deadLetter(letter.session_id, laneId(letter.lane), letter.task_id);
  await broker.publishFirst(subject, encode("json", letter), JSON_BODY);
}

/** The dead letters of a session, oldest first. What cannot be read is passed over. */
export async function deadLetters(broker: Broker, session: string): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = [];
  for await (const found of scan(broker, broker.names.deadLetters, broker.names.deadLetter(session, "*", "*"))) {
    try {
      letters.push(readDeadLetter(decode("json", found.body)));
    } catch {
      continue;
    }
  }
  return letters;
}
