// Lints files on a fleet of workers: `node dist/lint.js FILE…`. Prints what eslint has to say, in the
// order of the files, and ends with status 1 when there is an error, 2 when a file was not linted.

import { readFile } from "node:fs/promises";

import { Session, type TaskHandle } from "@a3s/worker";

import type { Finding, LintTask } from "./protocol.js";

/** Files of one task: enough to be worth the way, few enough to spread. */
const FILES_A_TASK = 4;

async function submit(session: Session, paths: string[]): Promise<TaskHandle> {
  const files = await Promise.all(paths.map(async (path) => ({ path, text: await readFile(path, "utf8") })));
  const payload: LintTask = { files };
  // Linting has no effect, so a task whose worker died is simply run again.
  return session.submit("Query", { commandType: "eslint", payload, timeoutMs: 120_000 });
}

async function main(paths: string[]): Promise<number> {
  if (paths.length === 0) {
    console.error("usage: lint FILE…");
    return 2;
  }
  const session = await Session.open({ external: true, maxConcurrency: { Query: 64 } });
  try {
    const handles: TaskHandle[] = [];
    for (let at = 0; at < paths.length; at += FILES_A_TASK) {
      handles.push(await submit(session, paths.slice(at, at + FILES_A_TASK)));
    }
    let status = 0;
    const tasksOf = new Map<string, number>();
    for (const handle of handles) {
      const result = await handle.result();
      tasksOf.set(result.worker_id, (tasksOf.get(result.worker_id) ?? 0) + 1);
      if (!result.success) {
        console.error(`not linted: ${result.error ?? "no reason given"}`);
        status = 2;
        continue;
      }
      for (const found of (result.result as { findings: Finding[] }).findings) {
        console.log(`${found.path}:${found.line}:${found.column}: ${found.message} (${found.rule})`);
        if (found.isError && status === 0) status = 1;
      }
    }
    for (const [worker, tasks] of tasksOf) console.error(`${worker}: ${tasks} of ${handles.length} tasks`);
    return status;
  } finally {
    await session.close();
  }
}

process.exitCode = await main(process.argv.slice(2));
