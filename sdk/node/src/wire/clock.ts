// The wall clock of the broker, as this process knows it. Deadlines on the wire are absolute and
// in the broker's time, so that a machine whose clock is wrong still computes what remains.

/** One a connection. Until it was compared with the broker's, it is the local clock. */
export class Clock {
  /** Broker time minus local time, in milliseconds. Written when a connection is made. */
  offsetMs = 0;

  /** The broker's time, milliseconds since 1970. */
  nowMs(): number {
    return Date.now() + this.offsetMs;
  }
}
