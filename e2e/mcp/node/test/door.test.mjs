// The door with the official TypeScript SDK as its client, over both transports.

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { Fleet, runs, soon, textOf } from "./fleet.mjs";

const WAITS = "echo $$ > pid; echo begun; until [ -e go ]; do sleep 0.05; done; echo done";

for (const way of ["stdio", "http"]) {
  describe(`over ${way}`, () => {
    const fleet = new Fleet();
    let client;
    before(async () => {
      await fleet.worker();
      client = await fleet.client(way);
    });
    after(() => fleet.end());

    const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options);

    test("tools say what they take and what they may do", async () => {
      const { tools } = await client.listTools();
      const byName = Object.fromEntries(tools.map((tool) => [tool.name, tool]));
      for (const name of ["read", "grep", "glob", "ls", "bash", "write", "edit", "run_many", "fetch_result"]) {
        assert.equal(byName[name]?.inputSchema.type, "object", name);
      }
      assert.equal(byName.grep.annotations.readOnlyHint, true);
      assert.equal(byName.bash.annotations.destructiveHint, true);
    });

    test("a file is written and read", async () => {
      await call("write", { file_path: "a.txt", content: "one\ntwo\n" });
      assert.match(textOf(await call("read", { file_path: "a.txt" })), /1\tone\n +2\ttwo/);
      assert.match(textOf(await call("grep", { pattern: "^two" })), /a\.txt.*two/);
    });

    test("a command that fails shows its output and its exit code", async () => {
      const result = await call("bash", { command: "echo out; exit 3" });
      assert.equal(result.isError, true);
      assert.match(textOf(result), /^out\nerror: exited with code 3/);
      assert.equal(result.structuredContent.exit_code, 3);
    });

    test("what a command prints is heard while it runs", async () => {
      const heard = [];
      const onprogress = ({ message }) => {
        heard.push(message);
        if (message.includes("begun")) writeFileSync(fleet.path("go"), "");
      };
      const result = await call("bash", { command: WAITS }, { onprogress, resetTimeoutOnProgress: true });
      assert.equal(textOf(result), "begun\ndone\n");
      assert.ok(heard[0].includes(result._meta["a3s/task"]), heard[0]);
    });

    test("an aborted call ends its process on the worker", async () => {
      const abort = new AbortController();
      const running = call("bash", { command: "echo $$ > aborted; sleep 600" }, { signal: abort.signal });
      const pid = Number(await fleet.file("aborted"));
      assert.ok(runs(pid));
      abort.abort();
      await assert.rejects(running);
      await soon("the end of the process", () => !runs(pid));
    });

    test("a long output is cut and read by parts", async () => {
      const result = await call("bash", { command: "seq -f 'line %.0f' 0 6999" });
      assert.match(textOf(result), /bytes left out here/);
      const link = result.content.find((block) => block.type === "resource_link");
      const { contents } = await client.readResource({ uri: `${link.uri}?offset=4999&limit=1` });
      assert.match(contents[0].text, /^line 4999\n/);
      const found = await call("result_read", { task_id: result._meta["a3s/task"], pattern: " 1234$" });
      assert.equal(textOf(found), "1234:line 1234\n");
    });

    test("a batch answers in order and one that fails is one", async () => {
      const calls = [
        { tool: "bash", arguments: { command: "sleep 0.3; echo slow" } },
        { tool: "bash", arguments: { command: "exit 7" } },
      ];
      const result = await call("run_many", { calls });
      assert.ok(!result.isError);
      assert.deepEqual(result.structuredContent.results.map((one) => one.status), ["completed", "failed"]);
    });

    test("an unknown tool is refused", async () => {
      await assert.rejects(call("none", {}), /unknown tool/);
    });
  });
}

describe("with a fleet of their own", () => {
  test("without a worker one sentence says so", async (t) => {
    const fleet = new Fleet();
    t.after(() => fleet.end());
    const client = await fleet.client();
    const result = await client.callTool({ name: "bash", arguments: { command: "touch ran" } });
    assert.equal(result.isError, true);
    assert.match(textOf(result), /no worker serves lane execute of pool default/);
  });

  test("a call whose client is gone is fetched by the next", async (t) => {
    const fleet = new Fleet();
    t.after(() => fleet.end());
    await fleet.worker();
    const first = await fleet.client();
    let task;
    const onprogress = ({ message }) => { task ??= /task (\w+)/.exec(message)[1]; };
    const lost = first.callTool({ name: "bash", arguments: { command: WAITS } }, undefined, { onprogress });
    const settled = lost.catch(() => undefined);
    const pid = Number(await fleet.file("pid"));
    await soon("the task's id", () => task);
    await first.close();
    await settled;
    assert.ok(runs(pid));
    writeFileSync(fleet.path("go"), "");
    const second = await fleet.client();
    const fetch = { name: "fetch_result", arguments: { task_id: task, wait_seconds: 60 } };
    assert.equal(textOf(await second.callTool(fetch)), "begun\ndone\n");
  });

  test("a command whose worker is killed is unknown and not run twice", async (t) => {
    const fleet = new Fleet();
    t.after(() => fleet.end());
    const victim = await fleet.worker();
    const client = await fleet.client();
    const command = "echo x >> ran; echo $$ > pid; sleep 600";
    const running = client.callTool({ name: "bash", arguments: { command } });
    await fleet.file("pid");
    await fleet.worker();
    victim.kill("SIGKILL");
    const result = await running;
    assert.equal(result.isError, true);
    assert.match(textOf(result), /unknown: .*not started again/s);
    assert.equal(readFileSync(fleet.path("ran"), "utf8"), "x\n");
    assert.ok(!existsSync(fleet.path("go")));
  });
});
