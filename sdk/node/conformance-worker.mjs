// The worker that the conformance suite tests: `cargo run -p a3s-conformance -- -- node
// sdk/node/conformance-worker.mjs`. Its tools are told in docs/conformance.md.

import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { Reject, Retry, RetryAfter, Worker } from "./dist/index.js";

/** One write a line, synced: it is there even if the process is killed the moment after. */
function append(file, line) {
  const fd = openSync(file, "a");
  try {
    writeSync(fd, `${line} ${process.pid}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

const wait = (task, ms) => sleep(ms ?? 0, undefined, { signal: task.signal });

const tools = {
  echo: (task) => ({ success: true, result: task.payload }),

  async sleep(task) {
    await wait(task, task.payload.ms);
    return { slept_ms: task.payload.ms };
  },

  async count(task) {
    append(task.payload.file, "start");
    await wait(task, task.payload.ms);
    append(task.payload.file, "end");
    return { pid: process.pid };
  },

  fail: ({ payload: { error, result, kind } }) => ({ success: false, result: result ?? {}, error, error_kind: kind }),

  throw() {
    throw new TypeError("a broken tool");
  },

  retry({ payload: { file, until, after_ms: afterMs } }) {
    append(file, "start");
    const starts = readFileSync(file, "utf8").split("\n").filter((line) => line.startsWith("start")).length;
    if (starts >= until) return { starts };
    throw afterMs === undefined || afterMs === null ? new Retry("not yet") : new RetryAfter("not yet", afterMs);
  },

  reject(task) {
    throw new Reject(task.payload.error);
  },

  blob: (task) => ({ text: "x".repeat(task.payload.bytes) }),

  async progress(task) {
    for (const chunk of task.payload.chunks) {
      task.progress(chunk);
      await wait(task, task.payload.ms);
    }
    return { output: task.payload.chunks.join("") };
  },
};

const worker = new Worker();
for (const [name, handler] of Object.entries(tools)) worker.tool(name, handler);
await worker.run();
