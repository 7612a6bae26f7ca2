// Who asks: the requests to sign in and out. The browser keeps the session in a cookie that no script can read, and the
// token is only in the request to sign in.

import { exchange, Foreign, Refused } from "./api.js";

/** Who the service takes this browser for: {name, grants}; the name is null for everyone without one. */
export async function whoami(options) {
  const { response, body } = await exchange("whoami", options);
  const grants = body?.get?.("grants");
  if (!response.ok || !Array.isArray(grants)) throw new Foreign(response.status);
  return {
    name: body.get("name") ?? null,
    grants: grants.map((grant) => ({ prefix: grant.get("prefix"), actions: grant.get("actions") })),
  };
}

/** Whether one may read something without signing in. */
export async function hasAnonymous() {
  try {
    await whoami({ credentials: "omit" });
    return true;
  } catch {
    return false;
  }
}

/** Begins a session. */
export async function signIn(token) {
  const headers = { "Content-Type": "application/json" };
  await exchange("session", { method: "POST", headers, body: JSON.stringify({ token }) });
}

/** Ends the session. */
export async function signOut() {
  await exchange("session", { method: "DELETE" });
}

/** Why someone could not sign in. */
export function whyNotSignedIn(error) {
  if (!(error instanceof Refused)) return `${error.message} Try again.`;
  if (error.status === 429)
    return "Too many tokens from your address were not valid. Wait a minute, then try again.";
  if (error.status !== 401) return `The server says: ${error.message}`;
  return error.isExpired
    ? "This token has expired. Ask for a new one."
    : "This token is not valid. Check that you have copied all of it.";
}
