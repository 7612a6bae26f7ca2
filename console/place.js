// Where the service is: at `/`, or below any other path.

/** This file is in `console/`, one level below it. */
const ROOT = new URL("../", import.meta.url);

/** The path below which the service is. */
export const PATH = ROOT.pathname;

/** The URL of a path of the service's. */
export function urlOf(path) {
  return new URL(path, ROOT).href;
}
