// Sends a write until it is answered: again with the same Idempotency-Key if the answer was lost. The service does it
// once and answers as it did then.

/** The pauses before a write is sent again, in milliseconds. The unit tests shorten them. */
export const PAUSES_MILLIS = [250, 1_000];
/** A write that has taken longer is not sent again: whoever waits for it wants to know. */
const LONGEST_MILLIS = 10_000;

/** A new key for a request, in the form of its header. */
export function newRequestKey() {
  // crypto.randomUUID() exists only in pages that were loaded over HTTPS or from the same machine.
  const digits = [...crypto.getRandomValues(new Uint32Array(4))].map((one) =>
    one.toString(16).padStart(8, "0"),
  );
  return `"${digits.join("")}"`;
}

/**
 * Calls send() until it succeeds, at most once more for each pause. isLost(error) says whether the answer was lost,
 * isBusy(error) whether an earlier attempt is still being worked on; then the earlier error says what happened.
 */
export async function sendUntilAnswered(send, { isLost, isBusy }) {
  const began = performance.now();
  let lost;
  for (const pause of [...PAUSES_MILLIS, undefined]) {
    try {
      return await send();
    } catch (error) {
      const isKnown = !isLost(error) && !(lost !== undefined && isBusy(error));
      if (isKnown) throw error;
      lost = isLost(error) ? error : lost;
      if (
        pause === undefined ||
        globalThis.navigator?.onLine === false ||
        performance.now() - began > LONGEST_MILLIS
      )
        throw lost;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  throw lost;
}
