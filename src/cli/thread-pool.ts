/**
 * The size of libuv's thread pool, which has to be set before its first use.
 * @module
 */

const VARIABLE = 'UV_THREADPOOL_SIZE'
/** One thread waits for descriptors, the others serve files, names and ciphers. */
const POOL_THREADS = '8'

let isOurs = false

export function widenThreadPool(): void {
  if (process.env[VARIABLE] !== undefined) return
  process.env[VARIABLE] = POOL_THREADS
  isOurs = true
}

/** What we have added to the environment, and is nobody else's business. */
export function isOwnVariable(name: string): boolean {
  return isOurs && name === VARIABLE
}
