// The path of the service: `/`, or any other one.

/** This file is in `console/`, one level below it. */
const ROOT = new URL("../", import.meta.url);

/** The path below which the service is. */
export const PATH = ROOT.pathname;

/** The URL of a path, which is relative to that of the service. */
export function urlOf(path) {
  return new URL(path, ROOT).href;
}
