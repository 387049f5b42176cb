// An installation as `a3s-coordinator init` writes it, with its server running, gone with the test.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

import type { Broker } from "../src/broker/broker.js";
import type { WorkerOptions } from "../src/config.js";
import type { Handler } from "../src/executor.js";
import { connect } from "../src/runtime/connect.js";
import { Session, type SessionOptions } from "../src/session.js";
import { Worker } from "../src/worker.js";
import { LANES } from "../src/wire/lane.js";
import { BINARIES, Running, natsServer, until } from "./support.js";

/** The lease of tasks, in seconds: short, so that what a killed worker had is soon another's. */
const ACK_WAIT_S = "3";

/** What ends that a test started, the last one first. */
type Cleanups = (() => Promise<unknown>)[];

/** A worker in this process, and what it has said. */
export interface Served {
  readonly worker: Worker;
  readonly said: string[];
}

/** Starts a server. Returns it and where it listens, once it does. */
async function serve(config: string, cleanups: Cleanups): Promise<[Running, string]> {
  const ports = `${config}.ports`;
  await mkdir(ports);
  const server = new Running(spawn(natsServer(), ["--config", config, "--ports_file_dir", ports], { cwd: dirname(config) }));
  cleanups.push(async () => {
    server.signal("SIGKILL");
    await server.ended;
  });
  const url = await until("the server's port", async () => {
    if (server.child.exitCode !== null) throw new Error(server.stderr);
    const [file] = await readdir(ports);
    const text = file === undefined ? "" : await readFile(join(ports, file), "utf8");
    return text === "" ? undefined : (JSON.parse(text) as { nats: string[] }).nats[0];
  });
  return [server, url];
}

/** A directory of keys, and the server that knows them. */
export class Installation {
  readonly #cleanups: Cleanups = [];

  private constructor(readonly directory: string, readonly url: string, private readonly server: Running) {}

  /** Makes one with these options of `init`, and without the lines of its configuration that hold one of `less`. */
  static async start(t: TestContext, options: string[] = [], ...less: string[]): Promise<Installation> {
    const directory = await mkdtemp(join(tmpdir(), "a3s-node-keys-"));
    // Said before anything can fail: a server or a connection that is left keeps the test runner waiting.
    const cleanups: Cleanups = [() => rm(directory, { recursive: true, force: true, maxRetries: 5 })];
    t.after(async () => { for (const clean of cleanups.reverse()) await clean(); });
    const init = new Running(spawn(join(BINARIES, "a3s-coordinator"), ["init", directory, "--listen", "127.0.0.1:-1", ...options]));
    assert.equal((await init.ended).code, 0, init.stderr);
    const config = join(directory, "nats.conf");
    const lines = readFileSync(config, "utf8").split("\n");
    writeFileSync(config, lines.filter((line) => !less.some((text) => line.includes(text))).join("\n"));
    const [server, url] = await serve(config, cleanups);
    const installation = new Installation(directory, url, server);
    cleanups.push(async () => { for (const clean of installation.#cleanups.reverse()) await clean(); });
    return installation;
  }

  /** Creates the streams, as an operator does once with the key of the coordinator. */
  async withStreams(): Promise<this> {
    await this.done("coordinator", ["workers"]);
    return this;
  }

  /** Starts the server of a region, made with `--region` and `--leaf-listen 127.0.0.1:-1`. Returns where it listens. */
  async leaf(region: string): Promise<string> {
    // The file of ports does not have this one.
    const hub = await until("the port for leaves", () => /for leafnode connections on (\S+)/.exec(this.server.stderr)?.[1]);
    const config = join(this.directory, `leaf-${region}.conf`);
    const text = readFileSync(config, "utf8").replace(/listen: ".*"/, 'listen: "127.0.0.1:-1"');
    writeFileSync(config, text.replace(/url: ".*"/, `url: "nats-leaf://${hub}"`));
    return (await serve(config, this.#cleanups))[1];
  }

  /** What the broker denied, in its own words. */
  get violations(): string[] {
    return [...this.server.stderr.matchAll(/(Publish|Subscription) Violation.*?Subject "([^"]+)"/g)].map((found) => found[2] ?? "");
  }

  /** The variables of a role, as its file has them. */
  settings(role: string): Record<string, string> {
    const lines = readFileSync(join(this.directory, `${role}.env`), "utf8").split("\n");
    const pairs = lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) => line.split("="));
    return { ...Object.fromEntries(pairs.map(([name = "", value = ""]) => [name, value])), NATS_URL: this.url };
  }

  /** A program with the environment of a role. */
  program(role: string, path: string, args: string[], env: Record<string, string> = {}): Running {
    const clean = Object.entries(process.env).filter(([name]) => !/^(NATS_|A3S_|SESSION_ID)/.test(name));
    const running = new Running(spawn(path, args, {
      cwd: this.directory, env: { ...Object.fromEntries(clean), A3S_ACK_WAIT: ACK_WAIT_S, ...this.settings(role), ...env },
    }));
    this.#cleanups.push(async () => {
      running.signal("SIGKILL");
      await running.ended;
    });
    return running;
  }

  /** The Rust coordinator with the environment of a role. */
  coordinator(role: string, args: string[]): Running {
    return this.program(role, join(BINARIES, "a3s-coordinator"), args);
  }

  /** What a verb prints that must succeed. */
  async done(role: string, args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.coordinator(role, args).ended;
    assert.equal(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  }

  /** A worker in a process of its own, which knows of its key by the environment: `test/fleet_worker.ts`. */
  async workerProcess(role: string, env: Record<string, string> = {}): Promise<Running> {
    const script = fileURLToPath(new URL("fleet_worker.js", import.meta.url));
    const running = this.program(role, process.execPath, [script], env);
    await until(`the worker ${role}`, () => {
      if (running.child.exitCode !== null) throw new Error(running.stderr);
      return running.stderr.includes("is ready");
    });
    return running;
  }

  /** What a worker of a role is told; its inbox is in the key's file. */
  options(role: string): WorkerOptions & { servers: string; nkey: string } {
    const { NATS_NKEY: nkey = "", A3S_POOL: pool, SESSION_ID: sessionId, A3S_LANES: lanes, A3S_JS_DOMAIN: domain } = this.settings(role);
    return {
      servers: this.url, nkey, signals: false, drainMs: 0, concurrency: 2,
      ...(pool !== undefined && { pool }), ...(sessionId !== undefined && { sessionId }), ...(domain !== undefined && { domain }),
      lanes: LANES.filter((lane) => lanes === undefined || lanes.split(",").includes(lane.toLowerCase())),
    };
  }

  /** A worker in this process, ready, drained when the test ends. Throws what keeps it from its start. */
  async worker(role: string, tools: Record<string, Handler>, options: WorkerOptions = {}): Promise<Served> {
    const said: string[] = [];
    const log = { info: (text: string): void => void said.push(text), warn: (text: string): void => void said.push(`warning: ${text}`) };
    const worker = new Worker({ ...this.options(role), log, ...options });
    for (const [name, handler] of Object.entries(tools)) worker.tool(name, handler);
    let over: unknown;
    const ended = worker.run().then(() => { over = new Error("the worker ended"); }, (error: unknown) => { over = error; });
    this.#cleanups.push(() => {
      worker.stop();
      return ended;
    });
    await until(`the worker ${role}`, () => {
      if (over instanceof Error) throw over;
      return said.some((text) => text.includes("is ready"));
    });
    return { worker, said };
  }

  /** A session with the key of a role, closed when the test ends. */
  async session(role: string, options: SessionOptions = {}): Promise<Session> {
    const { servers, nkey } = this.options(role);
    const session = await Session.open({ servers, nkey, external: true, ...options });
    this.#cleanups.push(() => session.close());
    return session;
  }

  /** A connection with the key of a role. */
  async connect(role: string, servers = this.url): Promise<Broker> {
    const connected = await connect({ ...this.options(role), servers }, `a test as ${role}`);
    this.#cleanups.push(() => connected.close());
    return connected.broker;
  }
}
