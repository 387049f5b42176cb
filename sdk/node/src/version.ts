// This package's version, in one place.

import { readFileSync } from "node:fs";

/** As in `package.json`, which is one directory up from the sources and from what is built of them. */
export const VERSION = (JSON.parse(readFileSync(packageJson(), "utf8")) as { version: string }).version;

function packageJson(): URL {
  const near = new URL("../package.json", import.meta.url);
  return import.meta.url.includes("/build/src/") ? new URL("../../package.json", import.meta.url) : near;
}
