// What the tests stand on: a real nats-server with its own store and port, real processes, gone
// with the test.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

import { connect, type NatsConnection } from "@nats-io/transport-node";

import { Broker } from "../src/broker/broker.js";
import { ensure, ensureConsumers } from "../src/broker/ensure.js";
import { findResult } from "../src/broker/results.js";
import { poolConsumers } from "../src/broker/topology.js";
import { Worker } from "../src/worker.js";
import type { WorkerOptions } from "../src/config.js";
import type { Handler } from "../src/executor.js";
import { decode } from "../src/wire/encoding.js";
import { readEvent, type Event } from "../src/wire/event.js";
import { DEFAULT_POOL, uniqueToken } from "../src/wire/token.js";
import type { TaskResult } from "../src/wire/result.js";

/** The package's directory; tests run from `build/test`. */
export const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));
export const REPOSITORY = join(PACKAGE, "../..");
/** Where the programs in Rust are. */
export const BINARIES = process.env.A3S_BIN_DIR ?? join(REPOSITORY, "target/debug");

/** Long enough for a machine ten times slower; nothing is asserted by it. */
export const BOUND_MS = 120_000;

/** A lease that tests can wait for. */
export const ACK_WAIT_MS = 2_000;

/** Waits until `look` finds something. Looks often: for what has no event. */
export async function until<T>(what: string, look: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  const over = performance.now() + BOUND_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > over) throw new Error(`waited ${BOUND_MS} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A program that ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running program; what it says is kept. */
export class Running {
  stdout = "";
  stderr = "";
  readonly ended: Promise<Ended>;

  constructor(readonly child: ChildProcess) {
    child.stdout?.on("data", (chunk: Buffer) => (this.stdout += chunk.toString()));
    child.stderr?.on("data", (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.ended = new Promise((resolve) => {
      child.on("error", (error) => { resolve({ code: null, stdout: this.stdout, stderr: String(error) }); });
      child.on("close", (code) => { resolve({ code, stdout: this.stdout, stderr: this.stderr }); });
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}

/** The server that is tested against. */
export function natsServer(): string {
  const cached = join(homedir(), ".cache/a3s/nats-server-2.15.1/nats-server");
  return process.env.A3S_NATS_SERVER ?? (existsSync(cached) ? cached : "nats-server");
}

/** A nats-server with a store of its own. */
export class Server {
  #process: Running;

  /** `room`: what it offers its streams. */
  constructor(readonly directory: string, readonly room = "256GB") {
    this.#process = this.#spawn(-1);
  }

  start(port: number): void {
    this.#process = this.#spawn(port);
  }

  /** Where it listens, once it does. */
  address(): Promise<string> {
    return until("the server's port", async () => {
      const file = (await readdir(this.directory)).find((name) => name.endsWith(".ports"));
      if (file === undefined) return undefined;
      const text = await readFile(join(this.directory, file), "utf8");
      return text === "" ? undefined : (JSON.parse(text) as { nats: string[] }).nats[0];
    });
  }

  /** As a crash would. */
  async kill(): Promise<void> {
    this.#process.signal("SIGKILL");
    await this.#process.ended;
  }

  #spawn(port: number): Running {
    const config = join(this.directory, "nats.conf");
    const store = JSON.stringify(join(this.directory, "store"));
    // Streams reserve their limits, and by default a server offers three quarters of what the disk
    // has left: a machine that has just built all this has little.
    writeFileSync(config, `jetstream { store_dir: ${store}, max_file_store: ${this.room} }\n`);
    const args = ["-a", "127.0.0.1", "-p", port.toString(), "-c", config, "--ports_file_dir", this.directory];
    return new Running(spawn(natsServer(), args, { stdio: "ignore" }));
  }
}

/** What ends that a test started, the last one first. */
type Cleanups = (() => Promise<void>)[];

/** One server, and what a test does with it. */
export class Rig {
  readonly session = `s${uniqueToken().slice(-8)}`;
  readonly events: Event[] = [];

  private constructor(
    readonly directory: string, readonly url: string, readonly nc: NatsConnection,
    readonly broker: Broker, readonly server: Server, readonly cleanups: Cleanups,
  ) {}

  /** A server with the streams, whose leases are {@link ACK_WAIT_MS}. */
  static async start(t: TestContext): Promise<Rig> {
    const directory = await mkdtemp(join(tmpdir(), "a3s-node-"));
    const server = new Server(directory);
    // What was started last ends first. Said before anything can fail: a server or a connection
    // that is left keeps the test runner waiting.
    const cleanups: Cleanups = [];
    t.after(async () => { for (const clean of cleanups.reverse()) await clean(); });
    cleanups.push(async () => {
      await server.kill();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    });
    const address = await server.address();
    const nc = await connect({ servers: address, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
    cleanups.push(() => nc.close());
    const broker = await Broker.of(nc, "a3s");
    await ensure(broker);
    const rig = new Rig(directory, address, nc, broker, server, cleanups);
    await rig.shortLeases(DEFAULT_POOL);
    nc.subscribe("a3s.*.event.>", {
      callback: (_, message) => { rig.events.push(readEvent(decode("json", message.data))); },
    });
    await nc.flush();
    return rig;
  }

  async shortLeases(pool: string): Promise<void> {
    const consumers = poolConsumers(this.broker.names, pool);
    await ensureConsumers(this.broker, this.broker.names.tasks, consumers);
    for (const { durable_name: name } of consumers) {
      await this.broker.jsm.consumers.update(this.broker.names.tasks, name ?? "", { ack_wait: ACK_WAIT_MS * 1e6 });
    }
  }

  /** kill -9 of the server, and a new one with its store on its port. */
  async restartServer(): Promise<void> {
    await this.server.kill();
    this.server.start(Number(new URL(this.url).port));
  }

  /** A worker in this process, drained when the test ends. */
  async worker(tools: Record<string, Handler>, options: WorkerOptions = {}): Promise<Worker> {
    const said: string[] = [];
    const log = { info: (text: string): void => void said.push(text), warn: (text: string): void => void said.push(text) };
    const worker = new Worker({ servers: this.url, concurrency: 2, signals: false, drainMs: 0, log, ...options });
    for (const [name, handler] of Object.entries(tools)) worker.tool(name, handler);
    const run = worker.run();
    this.cleanups.push(async () => {
      worker.stop();
      await run;
    });
    await until("the worker", () => said.some((text) => text.includes("is ready")));
    return worker;
  }

  /** A worker in a process of its own: `test/fleet_worker.ts`. */
  async workerProcess(id: string, env: Record<string, string> = {}): Promise<Running> {
    const script = fileURLToPath(new URL("fleet_worker.js", import.meta.url));
    const running = this.#start(process.execPath, [script], { A3S_WORKER_ID: id, A3S_CONCURRENCY: "2", ...env });
    await until(`worker ${id}`, () => {
      if (running.child.exitCode !== null) throw new Error(running.stderr);
      return running.stderr.includes("is ready");
    });
    return running;
  }

  /** A program of ours in Rust. */
  rust(program: "a3s-worker" | "a3s-coordinator", args: string[], env: Record<string, string> = {}): Running {
    return this.#start(join(BINARIES, program), args, env);
  }

  /** Any program, with the server's address in its environment. */
  program(path: string, args: string[], cwd?: string): Running {
    return this.#start(path, args, {}, cwd);
  }

  #start(path: string, args: string[], env: Record<string, string>, cwd = this.directory): Running {
    const running = new Running(spawn(path, args, { cwd, env: { ...process.env, NATS_URL: this.url, ...env } }));
    this.cleanups.push(async () => {
      running.signal("SIGKILL");
      await running.ended;
    });
    return running;
  }

  /** Publishes a task by hand. Returns its id. */
  async submit(lane: string, body: unknown, headers: Record<string, string> = {}): Promise<string> {
    const id = (body as { task_id?: string } | null)?.task_id ?? uniqueToken();
    const raw = body instanceof Uint8Array || typeof body === "string";
    const bytes = raw ? Buffer.from(body) : Buffer.from(JSON.stringify({ task_id: id, ...(body as object) }));
    const reply = `a3s.${this.session}.result.${id}`;
    await this.broker.publish(`a3s.${this.session}.${lane}`, bytes, Object.entries({ "A3s-Reply-To": reply, ...headers }));
    return id;
  }

  /** The result of a task, once it is there. */
  result(id: string): Promise<TaskResult> {
    return until(`the result of ${id}`, () => findResult(this.broker, this.session, id).catch(() => undefined));
  }

  /** An event of a task that matches, once it was told. */
  event(kind: string, id: string, matches: (event: Event) => boolean = () => true): Promise<Event> {
    return until(`${kind} of ${id}`, () =>
      this.events.find((event) => event.kind === `queue.command.${kind}` && event.task_id === id && matches(event)));
  }

  /** Waits until no task is left in the streams: fails a test that leaves work behind. */
  async nothingIsLeft(): Promise<void> {
    for (const stream of [this.broker.names.tasks, this.broker.names.own]) {
      await until(`an empty ${stream}`, async () => (await this.broker.jsm.streams.info(stream)).state.messages === 0);
    }
  }
}
