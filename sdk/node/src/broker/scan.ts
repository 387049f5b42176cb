// Reading what a stream holds on some subjects, by a consumer made for it: the request for one names
// filter and consumer in its subject, so permissions can tell who may read what. A direct get of more
// than a subject's last message names them in its body.

import { nanos, type Msg } from "@nats-io/transport-node";

import { uniqueToken } from "../wire/token.js";
import type { Broker, StoredMessage } from "./broker.js";
import { BrokerError, Unanswered } from "./errors.js";
import { readReply } from "./reply.js";

/** How often the broker says that it has nothing to deliver. */
const HEARTBEAT_MS = 1_000;

/** Silence after which the consumer counts as gone: with it, or with the link. */
const SILENT_MS = 5_000;

interface Created {
  readonly num_pending?: number;
  readonly error?: { readonly description?: string };
}

/**
 * The messages whose subject matches `filter`, oldest first, from sequence `from` on, as many as there are
 * now. Throws {@link Unanswered} when the broker stops in the middle.
 */
export async function* scan(broker: Broker, stream: string, filter: string, from = 1): AsyncGenerator<StoredMessage> {
  const inbox = broker.inbox();
  const subscription = broker.nc.subscribe(inbox);
  let silence: NodeJS.Timeout | undefined;
  const heard = (): void => {
    clearTimeout(silence);
    silence = setTimeout(() => { subscription.unsubscribe(); }, SILENT_MS);
  };
  try {
    const there = await create(broker, stream, filter, inbox, from);
    if (there === 0) return;
    heard();
    let read = 0;
    for await (const message of subscription) {
      heard();
      const reply = readReply(message.reply);
      if (!reply) {
        if (saysNoMore(broker, message, read)) return;
        continue;
      }
      read += 1;
      if (reply.delivery !== read) break;
      yield {
        subject: message.subject, sequence: reply.sequence, body: message.data,
        header: (name) => message.headers?.values(name)[0],
      };
      // Some go by their age before they are delivered, so there may be fewer than there were.
      if (read === there || reply.pending === 0) return;
    }
    throw new Unanswered(`${filter}: after ${read} messages of ${there} the broker stopped, or one was lost`);
  } finally {
    clearTimeout(silence);
    // The broker removes a consumer that nobody listens to.
    subscription.unsubscribe();
  }
}

/** Returns how many messages there are. */
async function create(broker: Broker, stream: string, filter: string, inbox: string, from: number): Promise<number> {
  const name = `scan-${uniqueToken()}`;
  const config = {
    name, deliver_subject: inbox, filter_subject: filter, ack_policy: "none", replay_policy: "instant",
    max_deliver: 1, mem_storage: true, num_replicas: 1, flow_control: true, idle_heartbeat: nanos(HEARTBEAT_MS),
    ...(from > 1 ? { deliver_policy: "by_start_sequence", opt_start_seq: from } : { deliver_policy: "all" }),
  };
  const question = JSON.stringify({ stream_name: stream, config });
  const answer = await broker.request(broker.api(`CONSUMER.CREATE.${stream}.${name}.${filter}`), question);
  const { error, num_pending: there } = answer.json<Created>();
  if (error) throw new BrokerError(`read ${filter}: the broker refused: ${error.description ?? ""}`);
  return there ?? 0;
}

/** What is no message is the broker's own word: answers it, and tells whether nothing more will come. */
function saysNoMore(broker: Broker, message: Msg, read: number): boolean {
  const stalled = message.headers?.get("Nats-Consumer-Stalled");
  if (message.respond()) return false;
  if (stalled) broker.nc.publish(stalled);
  return !stalled && Number(message.headers?.get("Nats-Last-Consumer")) === read;
}
