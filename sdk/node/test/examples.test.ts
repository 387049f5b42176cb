// The examples run as they are, against the built package.

import assert from "node:assert/strict";
import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";

import { PACKAGE, REPOSITORY, Rig, until, type Running } from "./support.js";

/** A project in the rig's directory with these packages installed. */
async function project(rig: Rig, example: string, packages: string[]): Promise<string> {
  const directory = join(rig.directory, "project");
  await cp(example, directory, { recursive: true, filter: (path) => !/node_modules|dist$/.test(path) });
  const installed = join(directory, "node_modules");
  await mkdir(join(installed, "@a3s"), { recursive: true });
  await symlink(PACKAGE, join(installed, "@a3s/worker"));
  for (const name of packages) {
    await mkdir(dirname(join(installed, name)), { recursive: true });
    await symlink(join(PACKAGE, "node_modules", name), join(installed, name));
  }
  return directory;
}

async function ready(worker: Running): Promise<Running> {
  await until("the worker", () => {
    if (worker.child.exitCode !== null) throw new Error(worker.stderr);
    return worker.stderr.includes("is ready");
  });
  return worker;
}

test("the documents' worker and caller work together, and with the command line", async (t) => {
  const rig = await Rig.start(t);
  const directory = await project(rig, join(PACKAGE, "examples"), []);
  await writeFile(join(directory, "hello.txt"), "hello");
  await ready(rig.program(process.execPath, ["worker.mjs"], directory));
  const called = await rig.program(process.execPath, ["session.mjs", "hello.txt", "gone.txt"], directory).ended;
  assert.match(called.stdout, /^hello\nfailed: ENOENT/, called.stderr);
  assert.match(called.stderr, /Total processed: 2\nSuccess rate: 50.00%/);
  const shell = await rig.rust("a3s-coordinator", ["submit", "bash", '{"command":"echo $((6*7))"}']).ended;
  assert.deepEqual([shell.code, shell.stdout], [0, "42\n"], shell.stderr);
  await ready(rig.program(process.execPath, ["worker.mjs", "--session-id", "abc123"], directory));
  const own = await rig.rust("a3s-coordinator", ["submit", "--session", "abc123", "--own", "read", '{"path":"hello.txt"}']).ended;
  assert.deepEqual([own.code, own.stdout.trim()], [0, "hello"], own.stderr);
  await rig.nothingIsLeft();
});

test("eslint on a fleet finds what eslint finds, also when a worker is killed", async (t) => {
  const rig = await Rig.start(t);
  const directory = await project(rig, join(REPOSITORY, "examples/lint_fleet"), ["eslint", "typescript", "@types/node"]);
  const compiled = await rig.program(process.execPath, [join(PACKAGE, "node_modules/typescript/bin/tsc")], directory).ended;
  assert.equal(compiled.code, 0, compiled.stdout);
  await writeFile(join(directory, "eslint.config.js"), 'export default [{ rules: { "no-undef": "error", "prefer-const": "warn" } }];\n');
  const files: string[] = [];
  const expected: string[] = [];
  for (let at = 0; at < 24; at += 1) {
    const path = `input/file${at.toString().padStart(2, "0")}.js`;
    files.push(path);
    const isBad = at % 3 === 0;
    if (isBad) expected.push(`${path}:1:18: 'gone${at}' is not defined. (no-undef)`);
    await mkdir(join(directory, "input"), { recursive: true });
    await writeFile(join(directory, path), `export const a = ${isBad ? `gone${at}` : "1"};\n`);
  }
  const first = await ready(rig.program(process.execPath, ["dist/worker.js"], directory));
  const linting = rig.program(process.execPath, ["dist/lint.js", ...files], directory);
  await until("a task to be started", () => rig.events.some((event) => event.kind === "queue.command.started"));
  first.signal("SIGKILL");
  await ready(rig.program(process.execPath, ["dist/worker.js"], directory));
  const linted = await linting.ended;
  assert.deepEqual(linted.stdout.trim().split("\n"), expected, linted.stderr);
  assert.equal(linted.code, 1);
  await rig.nothingIsLeft();
});
