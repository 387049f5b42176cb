// A caller: configures a session as A3S Code's documents do, and reads files with it.
// `node session.mjs FILE…`, with workers of pool `default` running.

import { Session } from "@a3s/worker";

const session = await Session.open({ maxConcurrency: { Query: 20, Execute: 5 } });
await session.setLaneHandler("Query", { mode: "External", timeoutMs: 120_000 });

const handles = await Promise.all(
  process.argv.slice(2).map((path) => session.submitByTool("read", { commandType: "read", payload: { path } })),
);
for (const handle of handles) {
  const { success, result, error } = await handle.result();
  console.log(success ? result.output : `failed: ${error}`);
}

const stats = await session.queueStats();
console.error(`Pending: ${stats.pendingCount}, Active: ${stats.activeCount}, External: ${stats.externalCount}`);
const metrics = await session.queueMetrics();
console.error(`Total processed: ${metrics.totalProcessed}`);
console.error(`Success rate: ${(metrics.successRate * 100).toFixed(2)}%`);
await session.close();
