// A worker that lints: it gets files with their text, so it needs no copy of the tree, and judges
// them by the eslint configuration of the directory in which it was started.

import { ESLint } from "eslint";

import { InvalidInput, Worker } from "@a3s/worker";

import type { Finding, LintTask } from "./protocol.js";

const eslint = new ESLint();

const worker = new Worker();

worker.tool("eslint", async (task) => {
  const { files } = task.payload as LintTask;
  if (!Array.isArray(files)) throw new InvalidInput("files is to be a list of {path, text}");
  const findings: Finding[] = [];
  for (const { path, text } of files) {
    // A cancelled or overdue task ends between two files.
    task.signal.throwIfAborted();
    for (const report of await eslint.lintText(text, { filePath: path })) {
      for (const { line, column, message, ruleId, severity } of report.messages) {
        findings.push({ path, line, column, message, rule: ruleId ?? "syntax", isError: severity === 2 });
      }
    }
    task.progress(`${path}\n`);
  }
  return { findings };
});

await worker.run();
