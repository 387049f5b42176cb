// What the reply subject of a delivery says: where it comes from, and what is left.

/** What the broker says of a delivery. */
export interface Reply {
  readonly stream: string;
  /** How often this message has been delivered, this time included. */
  readonly delivered: number;
  /** The message's sequence in its stream. */
  readonly sequence: number;
  /** The number of the delivery among all of its consumer. */
  readonly delivery: number;
  /** Broker time, in milliseconds. */
  readonly storedAtMs: number;
  /** How many messages its consumer has not delivered yet. */
  readonly pending: number;
}

/** `undefined` when it is no reply subject of a delivery. */
export function readReply(reply: string | undefined): Reply | undefined {
  const tokens = reply?.split(".") ?? [];
  if (tokens[0] !== "$JS" || tokens[1] !== "ACK" || tokens.length < 9) return undefined;
  // Newer servers put domain and account before the stream.
  const [stream = "", , delivered, sequence, delivery, stored, pending] = tokens.slice(tokens.length === 9 ? 2 : 4);
  return {
    stream, delivered: Number(delivered), sequence: Number(sequence), delivery: Number(delivery),
    storedAtMs: Math.floor(Number(stored) / 1e6), pending: Number(pending),
  };
}
