// A fleet of real processes on one server, apart from those of every other test by the prefix of all
// names; and the door that is tested. The environment is that of the Python tests beside these.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const PROGRAMS = process.env.A3S_BIN_DIR;

/** Far more than anything here takes on a busy machine, in milliseconds. */
export const SOON = 60_000;

/** Waits until `fact` is true, and gives it. */
export async function soon(what, fact) {
  const until = Date.now() + SOON;
  for (;;) {
    const value = await fact();
    if (value) return value;
    if (Date.now() > until) throw new Error(`${what} did not come within ${SOON} ms`);
    await sleep(20);
  }
}

/** Whether there is such a process, and it is no zombie. */
export function runs(pid) {
  try {
    const state = readFileSync(`/proc/${pid}/stat`, "utf8").split(")").at(-1).trim()[0];
    return state !== "Z" && state !== "X";
  } catch {
    return false;
  }
}

/** What a model reads of an answer. */
export const textOf = (result) =>
  result.content.filter((block) => block.type === "text").map((block) => block.text).join("\n");

export class Fleet {
  workspace = realpathSync(mkdtempSync(join(tmpdir(), "a3s-mcp-")));
  #started = [];
  #clients = [];
  env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    NATS_URL: process.env.NATS_URL,
    A3S_PREFIX: `t${randomBytes(6).toString("hex")}`,
    A3S_ACK_WAIT: "2",
  };

  path(name) {
    return join(this.workspace, name);
  }

  /** What a file holds, once it holds anything. */
  async file(name) {
    return await soon(name, () => existsSync(this.path(name)) && readFileSync(this.path(name), "utf8"));
  }

  async #start(command, args, text, env = {}) {
    const child = spawn(command, args, { cwd: this.workspace, env: { ...this.env, ...env }, stdio: ["ignore", "ignore", "pipe"] });
    this.#started.push(child);
    let said = "";
    child.stderr.on("data", (chunk) => { said += chunk; });
    return await soon(`${text} from ${command}`, () => {
      if (child.exitCode !== null) throw new Error(`${command} has ended: ${said}`);
      return said.split("\n").find((line) => line.includes(text));
    });
  }

  /** A worker in the workspace, ready for tasks. */
  async worker(...args) {
    await this.#start(join(PROGRAMS, "a3s-worker"), ["-j", "8", ...args], "ready for tasks", { RUST_LOG: "info" });
    return this.#started.at(-1);
  }

  /** A client of a door of its own, over standard input and output or over HTTP. */
  async client(way = "stdio", ...args) {
    const command = join(PROGRAMS, "a3s-coordinator");
    const client = new Client({ name: "test", version: "1.0.0" });
    let transport;
    if (way === "stdio") {
      transport = new StdioClientTransport({ command, args: ["mcp", ...args], env: this.env, cwd: this.workspace, stderr: "ignore" });
    } else {
      const line = await this.#start(command, ["mcp", "--http", "0", ...args], "clients connect to");
      transport = new StreamableHTTPClientTransport(new URL(line.trim().split(" ").at(-1)));
    }
    await client.connect(transport);
    this.#clients.push(client);
    return client;
  }

  /** Ends everything. */
  async end() {
    for (const client of this.#clients) await client.close();
    for (const child of this.#started) {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = new Promise((resolve) => child.once("exit", resolve));
        child.kill("SIGKILL");
        await ended;
      }
    }
    rmSync(this.workspace, { recursive: true, force: true });
  }
}
