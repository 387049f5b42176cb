// BullMQ's worker: does nothing, as often as it can.
import { Worker } from "bullmq";
import { Redis } from "ioredis";

const { hostname: host, port } = new URL(process.env.PEER_URL);
const connection = new Redis({ host, port: Number(port), maxRetriesPerRequest: null, enableAutoPipelining: true });
new Worker("bench", async () => ({}), { connection, concurrency: Number(process.env.SLOTS) });
