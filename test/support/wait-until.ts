/**
 * Waiting for a condition, instead of sleeping.
 * @module
 */
const POLL_INTERVAL_MS = 20

/**
 * Asks `condition` again and again until it gives something other than false or undefined.
 * @param what names the condition in the error
 * @param limitMs after this it is an error: generous, it only ends tests that hang
 */
export async function waitUntil<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  limitMs = 30_000
): Promise<T> {
  const deadline = performance.now() + limitMs
  for (;;) {
    const value = await condition()
    if (value !== undefined && value !== false) return value
    if (performance.now() > deadline) throw new Error(`waited ${limitMs} ms in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS))
  }
}
