// The worker of A3S Code's documents, for real: `node worker.mjs --session-id abc123`, or with
// SESSION_ID in the environment; with neither it serves everyone in pool `default`. The server is
// NATS_URL.

import { exec } from "node:child_process";
import { readFile } from "node:fs/promises";
import { parseArgs, promisify } from "node:util";

import { Worker } from "@a3s/worker";

const execAsync = promisify(exec);

const { values } = parseArgs({
  options: { "session-id": { type: "string" }, pool: { type: "string" } },
});

async function executeTask(task) {
  switch (task.commandType) {
    case "read": {
      try {
        const content = await readFile(task.payload.path, "utf-8");
        return { success: true, result: { content, output: content }, error: null };
      } catch (e) {
        return { success: false, result: {}, error: e.message };
      }
    }
    case "bash": {
      try {
        // The signal ends the command at the task's deadline, on a cancel, and when the lease is lost.
        const { stdout, stderr } = await execAsync(task.payload.command, { signal: task.signal });
        return { success: true, result: { stdout, stderr, exitCode: 0, output: stdout + stderr }, error: null };
      } catch (e) {
        return { success: false, result: { stdout: e.stdout, stderr: e.stderr, exitCode: e.code }, error: e.message };
      }
    }
    default:
      return { success: false, result: {}, error: `Unknown command type: ${task.commandType}` };
  }
}

const worker = new Worker({ sessionId: values["session-id"], pool: values.pool });
worker.tool("read", executeTask);
worker.tool("bash", executeTask);
await worker.run();
