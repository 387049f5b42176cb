// Which server, and how: what was given, else the environment, else a context of the `nats` CLI.

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

import {
  connect as natsConnect, credsAuthenticator, nkeyAuthenticator,
  type Authenticator, type NatsConnection, type NodeConnectionOptions,
} from "@nats-io/transport-node";

import { Broker } from "../broker/broker.js";

/** How to reach the broker. Each has an environment variable, read when it is not given. */
export interface ConnectOptions {
  /** `NATS_URL`; several with commas, or a list; `user:password@` and `token@` are heeded. Default: the context's, else 127.0.0.1:4222. */
  servers?: string | string[];
  /** `NATS_CONTEXT`: a context of the `nats` CLI, by name. */
  context?: string;
  /** `NATS_CREDS`: a file with JWT and seed. */
  creds?: string;
  /** `NATS_NKEY`: a file with a seed. */
  nkey?: string;
  /** `NATS_USER` */
  user?: string;
  /** `NATS_PASSWORD` */
  password?: string;
  /** `NATS_TOKEN` */
  token?: string;
  /** `NATS_CA`, `NATS_CERT`, `NATS_KEY`: PEM files. */
  tls?: { ca?: string; cert?: string; key?: string };
  /** `A3S_JS_DOMAIN`: the JetStream domain, through a leaf node. */
  domain?: string;
  /** `A3S_INBOX_PREFIX`: what the subjects of answers begin with. Default: what the key's file names, else `_INBOX`. */
  inboxPrefix?: string;
  /** `A3S_PREFIX`: the first token of all subjects. Default: `a3s`. */
  prefix?: string;
  /**
   * A connection of the caller's own: used, and never closed. Nothing above applies but `domain`, `prefix`,
   * and `inboxPrefix`, which must be the one that it was made with.
   */
  connection?: NatsConnection;
}

interface ContextFile {
  url?: string; user?: string; password?: string; token?: string; creds?: string; nkey?: string;
  ca?: string; cert?: string; key?: string; jetstream_domain?: string; inbox_prefix?: string; tls_first?: boolean;
}

/** A broker, and how to let go of it. */
export interface Connected {
  readonly broker: Broker;
  /** As whom it is there, for messages. */
  readonly credential: string;
  /** Sends what is left and closes, unless the connection is the caller's own. */
  close(): Promise<void>;
}

/** The first of these versions that keeps every dead letter; 2.14.0 does not. */
const OLDEST = [2, 12, 9] as const;

/** Connects under `name`. Throws when no server answers within five seconds, or it is too old. */
export async function connect(options: ConnectOptions, name: string): Promise<Connected> {
  const env = process.env;
  const prefix = options.prefix ?? env.A3S_PREFIX ?? "a3s";
  if (options.connection) {
    const broker = await Broker.of(options.connection, prefix, options.domain, options.inboxPrefix);
    return { broker, credential: "the credential of the connection", close: () => Promise.resolve() };
  }
  const contextName = options.context ?? env.NATS_CONTEXT;
  const context = contextName === undefined ? {} : await readContext(contextName);
  const [how, credential] = await natsOptions(options, context, name);
  const nc = await natsConnect(how);
  const version = nc.info?.version ?? "";
  if (!isGoodEnough(version)) {
    await nc.close();
    throw new Error(`nats-server ${version} is refused: ${OLDEST.join(".")} or newer is needed, and not 2.14.0, because earlier ones lose dead letters`);
  }
  const domain = options.domain ?? env.A3S_JS_DOMAIN ?? present(context.jetstream_domain);
  const broker = await Broker.of(nc, prefix, domain, how.inboxPrefix);
  return { broker, credential, close: () => nc.drain().catch(() => nc.close()) };
}

/** What the client library is told, and the credential in it, for messages. */
async function natsOptions(options: ConnectOptions, context: ContextFile, name: string): Promise<[NodeConnectionOptions, string]> {
  const env = process.env;
  const pick = (given: string | undefined, variable: string, fromContext?: string): string | undefined =>
    given ?? env[variable] ?? present(fromContext);
  const given = options.servers ?? env.NATS_URL ?? present(context.url);
  const [servers, inUrl] = withoutSecrets(typeof given === "string" ? given.split(",") : given);
  const user = inUrl.user ?? pick(options.user, "NATS_USER", context.user);
  const pass = inUrl.pass ?? pick(options.password, "NATS_PASSWORD", context.password);
  const token = inUrl.token ?? pick(options.token, "NATS_TOKEN", context.token);
  const ca = pick(options.tls?.ca, "NATS_CA", context.ca);
  const cert = pick(options.tls?.cert, "NATS_CERT", context.cert);
  const key = pick(options.tls?.key, "NATS_KEY", context.key);
  const creds = pick(options.creds, "NATS_CREDS", context.creds);
  const keyPath = creds === undefined ? pick(options.nkey, "NATS_NKEY", context.nkey) : undefined;
  const nkey = await keyFile(keyPath);
  const inbox = pick(options.inboxPrefix, "A3S_INBOX_PREFIX", context.inbox_prefix) ?? nkey?.inbox;
  const authenticator = await authenticate(creds, nkey?.seed);
  const tls = {
    ...(ca !== undefined && { caFile: ca }), ...(cert !== undefined && { certFile: cert }),
    ...(key !== undefined && { keyFile: key }), ...(context.tls_first === true && { handshakeFirst: true }),
  };
  const credential = creds !== undefined ? `credentials file ${creds}`
    : keyPath !== undefined ? `nkey file ${keyPath}`
    : user !== undefined ? `user ${JSON.stringify(user)}` : token !== undefined ? "a token" : "no credential";
  return [{
    name,
    timeout: 5_000,
    // A worker outlives any outage; what it must not do meanwhile, its leases tell it.
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    // A stack trace for each request costs more than the request.
    noAsyncTraces: true,
    ...(servers !== undefined && { servers }),
    ...(user !== undefined && { user }),
    ...(pass !== undefined && { pass }),
    ...(token !== undefined && { token }),
    ...(inbox !== undefined && { inboxPrefix: inbox }),
    ...(authenticator && { authenticator }),
    ...(Object.keys(tls).length > 0 && { tls }),
  }, credential];
}

interface UrlSecrets { user?: string; pass?: string; token?: string }

/** The addresses, and the credential that the first of them with one has: the client library would ignore it. */
function withoutSecrets(servers: string[] | undefined): [string[] | undefined, UrlSecrets] {
  let secrets: UrlSecrets = {};
  const clean = servers?.map((server) => {
    const found = /^([a-z+]+:\/\/)?([^@/]+)@(.+)$/.exec(server.trim());
    if (!found) return server.trim();
    const [user, pass] = (found[2] ?? "").split(":").map(decodeURIComponent);
    if (Object.keys(secrets).length === 0 && user !== undefined) secrets = pass === undefined ? { token: user } : { user, pass };
    return `${found[1] ?? ""}${found[3] ?? ""}`;
  });
  return [clean, secrets];
}

/** The seed in an nkey file, which may have comments around it, and the inbox that one of them names
 *  (`# inbox: PREFIX`, as `a3s-coordinator init` writes it). */
async function keyFile(path: string | undefined): Promise<{ seed: string; inbox?: string } | undefined> {
  if (path === undefined) return undefined;
  const text = (await readFile(path, "utf8")).trim();
  const lines = text.split("\n").map((line) => line.trim());
  const seed = lines.find((line) => line.startsWith("S") && line.length > 50) ?? text;
  const inbox = lines.find((line) => line.startsWith("# inbox:"))?.slice("# inbox:".length).trim();
  return inbox === undefined ? { seed } : { seed, inbox };
}

async function authenticate(creds: string | undefined, seed: string | undefined): Promise<Authenticator | undefined> {
  if (creds !== undefined) return credsAuthenticator(await readFile(creds));
  if (seed !== undefined) return nkeyAuthenticator(new TextEncoder().encode(seed));
  return undefined;
}

async function readContext(name: string): Promise<ContextFile> {
  const base = process.env.XDG_CONFIG_HOME ?? join(homedir(), ".config");
  const path = join(base, "nats", "context", `${name}.json`);
  try {
    if (/[/\\]|^\./.test(name)) throw new Error("no file can have that name");
    return JSON.parse(await readFile(path, "utf8")) as ContextFile;
  } catch (error) {
    throw new Error(`cannot read the nats context ${JSON.stringify(name)} at ${path}; \`nats context ls\` shows those there are`, { cause: error });
  }
}

function isGoodEnough(version: string): boolean {
  const numbers = version.split(/[.-]/).slice(0, 3).map(Number);
  const differs = OLDEST.findIndex((part, at) => (numbers[at] ?? 0) !== part);
  const newer = differs === -1 || (numbers[differs] ?? 0) > (OLDEST[differs] ?? 0);
  return newer && numbers.join(".") !== "2.14.0";
}

/** The `nats` CLI writes what is not set as an empty text. */
function present(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
