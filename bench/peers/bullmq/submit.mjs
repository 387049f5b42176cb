// BullMQ's submitter: adds jobs and awaits their results, so many at a time.
import { Queue, QueueEvents } from "bullmq";
import { Redis } from "ioredis";

const WARM_UP = 0.3;
const { hostname: host, port } = new URL(process.env.PEER_URL);
const connection = new Redis({ host, port: Number(port), maxRetriesPerRequest: null, enableAutoPipelining: true });
const seconds = Number(process.env.SECONDS);
const queue = new Queue("bench", { connection });
const events = new QueueEvents("bench", { connection: connection.duplicate() });
await events.waitUntilReady();

const text = "x".repeat(240);
const options = { removeOnComplete: { count: 1000 } };
const once = async () => (await queue.add("noop", { text }, options)).waitUntilFinished(events, 60_000);

await once();
const begin = performance.now() + seconds * WARM_UP * 1000;
const end = begin + seconds * 1000;
const times = [];
async function oneAfterTheOther() {
  for (let started; (started = performance.now()) < end; ) {
    await once();
    const ended = performance.now();
    if (begin <= started && ended <= end) times.push(ended - started);
  }
}
await Promise.all(Array.from({ length: Number(process.env.IN_FLIGHT) }, oneAfterTheOther));
times.sort((a, b) => a - b);
const at = (part) => times[Math.min(Math.floor(times.length * part), times.length - 1)];
console.log(JSON.stringify({ tasks: times.length, seconds, p50_ms: at(0.5), p99_ms: at(0.99) }));
process.exit(0);
