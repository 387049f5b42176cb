// A worker in a process of its own, for tests that kill it.

import { Worker } from "../src/index.js";

const worker = new Worker();

worker.tool("noop", () => ({}));

/** Ends after `payload.ms`, or when it is told to stop, which it says. */
worker.tool("wait", (task) => new Promise((resolve) => {
  const timer = setTimeout(() => { resolve({ waited: true, by: worker.id }); }, (task.payload as { ms: number }).ms);
  task.signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve({ output: "half of it", stopped: String(task.signal.reason) });
  });
}));

await worker.run();
