/**
 * Sees from another thread that an execution does not end, which the thread that is busy with it cannot: says which one it
 * is and ends the process.
 * @module
 */
import { Worker } from 'node:worker_threads'

const CHECK_EVERY_MS = 500
/** Fields of the shared memory. */
const Field = { COUNT: 0, TARGET: 1, ITERATION_LOW: 2, ITERATION_HIGH: 3, LENGTH: 4 } as const

/** Runs in the other thread, on its own. */
const WATCH = `
const { workerData } = require('node:worker_threads')
const { writeSync } = require('node:fs')
const { shared, names, seed, limitMs, everyMs } = workerData
const fields = new Int32Array(shared)
let seen = -1, sinceMs = Date.now()
setInterval(() => {
  const count = Atomics.load(fields, 0)
  if (count !== seen) { seen = count; sinceMs = Date.now(); return }
  if (Date.now() - sinceMs < limitMs) return
  const iteration = (fields[3] >>> 0) * 2 ** 32 + (fields[2] >>> 0)
  writeSync(2, 'hang: an execution takes longer than ' + limitMs / 1000 + ' s\\n  replay: npm run fuzz -- --target ' +
    names[fields[1]] + ' --seed ' + seed + ' --iteration ' + iteration + '\\n')
  process.kill(process.pid, 'SIGKILL')
}, everyMs)
`

export class HangWatchdog {
  readonly #fields: Int32Array
  readonly #worker: Worker

  /** @param limitMs of one execution; a machine that is busy with other things gets some, too */
  constructor(names: readonly string[], seed: number, limitMs: number) {
    const shared = new SharedArrayBuffer(Field.LENGTH * 4)
    this.#fields = new Int32Array(shared)
    this.#worker = new Worker(WATCH, {
      eval: true,
      workerData: { shared, names, seed, limitMs, everyMs: CHECK_EVERY_MS }
    })
    this.#worker.unref()
  }

  begin(target: number, iteration: number): void {
    const fields = this.#fields
    fields[Field.TARGET] = target
    fields[Field.ITERATION_LOW] = iteration
    fields[Field.ITERATION_HIGH] = Math.floor(iteration / 2 ** 32)
    Atomics.add(fields, Field.COUNT, 1)
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }
}
