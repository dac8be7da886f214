/**
 * Loaded into the programs of the soak before they start: tells once a minute how much memory is really in use, collected garbage
 * aside. (`node --expose-gc --import <this file>`)
 * @module
 */
const EVERY_MS = 60_000
const FIRST_MS = 20_000

function tell() {
  globalThis.gc()
  const { heapUsed, external } = process.memoryUsage()
  process.stdout.write(
    `${JSON.stringify({ event: 'size', liveKib: Math.round((heapUsed + external) / 1024) })}\n`
  )
}

setTimeout(() => {
  tell()
  setInterval(tell, EVERY_MS).unref()
}, FIRST_MS).unref()
