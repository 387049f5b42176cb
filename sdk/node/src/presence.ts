// What a worker says of itself: a heartbeat in the bucket of workers, and a NATS micro service
// that the `nats` CLI shows.

import type { Msg } from "@nats-io/transport-node";

import type { Broker } from "./broker/broker.js";
import { reasonOf } from "./broker/errors.js";
import { announce, depart } from "./broker/sessions.js";
import { PRESENCE_TTL_MS } from "./broker/topology.js";
import type { Log } from "./log.js";
import type { Presence, ToolInfo } from "./wire/fleet.js";

const SERVICE = "io.nats.micro.v1";

/** Writes heartbeats until it is stopped: at once, every five seconds, and when it is told that something changed. */
export class Announcer {
  #timer: NodeJS.Timeout | undefined;
  #written: Promise<void> = Promise.resolve();

  constructor(
    private readonly broker: Broker,
    private readonly now: () => Presence,
    private readonly toolInfo: Readonly<Record<string, ToolInfo>>,
    private readonly log: Log,
  ) {}

  /** Writes the first heartbeat, and answers those who ask for the one of the moment. */
  async start(): Promise<void> {
    this.#serve();
    this.#timer = setInterval(() => void this.announce(), PRESENCE_TTL_MS / 3);
    await this.announce();
  }

  /** Writes the heartbeat of this moment. */
  announce(): Promise<void> {
    this.#written = announce(this.broker, this.now()).catch((error: unknown) => {
      this.log.warn(`the heartbeat was not written: ${reasonOf(error)}`);
    });
    return this.#written;
  }

  /** Removes the heartbeat. */
  async depart(): Promise<void> {
    clearInterval(this.#timer);
    // One that is still to be written would come back.
    await this.#written;
    await depart(this.broker, this.now().worker_id).catch(() => undefined);
  }

  /** The micro service protocol, as far as one endpoint needs it. */
  #serve(): void {
    const { worker_id: id, version, started_at_ms: started } = this.now();
    const name = this.broker.names.workerService;
    const subject = this.broker.names.workerEndpoint(id);
    const common = { name, id, version, metadata: { worker_id: id } };
    const endpoint = { name: "heartbeat", subject, queue_group: "q", metadata: {} };
    this.#answer(subject, () => ({ ...this.now(), tool_info: this.toolInfo }));
    const verbs: [string, () => unknown][] = [
      ["PING", () => ({ type: `${SERVICE}.ping_response`, ...common })],
      ["INFO", () => ({ type: `${SERVICE}.info_response`, ...common, description: "Runs tasks of A3S sessions", endpoints: [endpoint] })],
      ["STATS", () => ({
        type: `${SERVICE}.stats_response`, ...common, started: new Date(started).toISOString(),
        endpoints: [{ ...endpoint, num_requests: 0, num_errors: 0, last_error: "", processing_time: 0, average_processing_time: 0, data: this.now() }],
      })],
    ];
    for (const [verb, answer] of verbs) {
      for (const asked of ["", `.${name}`, `.${name}.${id}`]) this.#answer(`$SRV.${verb}${asked}`, answer);
    }
  }

  #answer(subject: string, answer: () => unknown): void {
    // A server that does not permit it is no error: the heartbeat is what counts.
    const callback = (error: Error | null, message: Msg): void => { if (!error) message.respond(JSON.stringify(answer())); };
    this.broker.nc.subscribe(subject, { callback });
  }
}
