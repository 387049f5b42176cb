// Run from an empty directory into which the tarball was installed: one server, one worker, one
// task. Ends with another status than 0 when the result is not the expected one.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Session, Worker } from "@a3s/worker";

const cached = join(homedir(), ".cache/a3s/nats-server-2.15.1/nats-server");
const program = process.env.A3S_NATS_SERVER ?? (existsSync(cached) ? cached : "nats-server");
const store = await mkdtemp(join(tmpdir(), "a3s-smoke-"));
const server = spawn(program, ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", store, "--ports_file_dir", store], { stdio: "ignore" });

async function address() {
  for (;;) {
    const file = (await readdir(store)).find((name) => name.endsWith(".ports"));
    const text = file === undefined ? "" : await readFile(join(store, file), "utf8");
    if (text !== "") return JSON.parse(text).nats[0];
    await sleep(20);
  }
}

try {
  const servers = await address();
  const worker = new Worker({ servers, signals: false }).tool("greet", (task) => ({ output: `hello ${task.payload.name}` }));
  const running = worker.run();
  const session = await Session.open({ servers, external: true });
  const handle = await session.submit("Query", { commandType: "greet", payload: { name: "world" } });
  const result = await handle.result();
  assert.deepEqual([result.success, result.result], [true, { output: "hello world" }]);
  await session.close();
  worker.stop();
  await running;
  console.log("the tarball works");
} finally {
  server.kill("SIGKILL");
  await new Promise((resolve) => server.on("close", resolve));
  await rm(store, { recursive: true, force: true });
}
