// Run from an empty directory into which the tarball was installed: one server, one worker, one
// task. Ends with another status than 0 when the result is not the expected one.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Session, Worker } from "@a3s/worker";

const cached = join(homedir(), ".cache/a3s/nats-server-2.15.1/nats-server");
const program = process.env.A3S_NATS_SERVER ?? (existsSync(cached) ? cached : "nats-server");
const store = await mkdtemp(join(tmpdir(), "a3s-smoke-"));
const config = join(store, "nats.conf");
// Streams reserve their limits; by default a server offers what a full disk may not have.
await writeFile(config, `jetstream { store_dir: ${JSON.stringify(store)}, max_file_store: 256GB }\n`);
const server = spawn(program, ["-a", "127.0.0.1", "-p", "-1", "-c", config, "--ports_file_dir", store], { stdio: "ignore" });

async function address() {
  for (;;) {
    const file = (await readdir(store)).find((name) => name.endsWith(".ports"));
    const text = file === undefined ? "" : await readFile(join(store, file), "utf8");
    if (text !== "") return JSON.parse(text).nats[0];
    await sleep(20);
  }
}

let failure;
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
} catch (error) {
  failure = error;
} finally {
  server.kill("SIGKILL");
  await new Promise((resolve) => server.on("close", resolve));
  await rm(store, { recursive: true, force: true });
}
if (failure !== undefined) {
  // A worker that is still there would look for its server for ever.
  console.error(failure);
  process.exit(1);
}
