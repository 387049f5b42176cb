// The Node worker as `a3s-coordinator chaos --worker-command` wants it: offers `bash`, and the
// program that it is told as the tool `attempt`.

import { spawn } from "node:child_process";
import { once } from "node:events";

import { Retry, Worker } from "./dist/index.js";

/** Exit status that asks for another attempt. */
const RETRY = 75;

const cwd = process.env.A3S_WORKSPACE || undefined;

/** Runs a program in a process group of its own, which ends with it, or when the task must stop. */
async function run(task, program, args, input) {
  const child = spawn(program, args, { cwd, detached: true, stdio: ["pipe", "pipe", "pipe"] });
  const kill = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It is gone.
    }
  };
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) {
    child[name].setEncoding("utf8").on("data", (chunk) => (text[name] += chunk));
  }
  // A program that does not read its input is none of our business.
  child.stdin.on("error", () => {}).end(input);
  task.signal.addEventListener("abort", kill);
  if (task.signal.aborted) kill();
  try {
    const [code, signal] = await once(child, "close");
    if (code === RETRY) throw new Retry("the program asked for another attempt");
    const error = code === 0 ? null : signal === null ? `exit code ${code}` : `killed by ${signal}`;
    const result = { ...text, output: text.stdout + text.stderr, exit_code: code };
    return { success: code === 0, result, error };
  } finally {
    task.signal.removeEventListener("abort", kill);
    kill();
  }
}

const worker = new Worker();
worker.tool("attempt", (task) => run(task, process.env.A3S_CHAOS_TOOL, [], `${JSON.stringify(task.payload)}\n`));
worker.tool("bash", (task) => run(task, "bash", ["-c", task.payload.command], ""));
await worker.run();
