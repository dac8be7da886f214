import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { FineTimer } from '../../../src/native/fine-timer.ts'

/** Compiled modules, for child processes (`npm test` builds first). */
const built = (name: string) => fileURLToPath(new URL(`../../../dist/native/${name}`, import.meta.url))

/** Arms a timer and gives how long it took. */
function firing(delayMs: number): Promise<number> {
  return new Promise((resolve) => {
    const startedAt = performance.now()
    const timer = new FineTimer(() => {
      timer.close()
      resolve(performance.now() - startedAt)
    })
    timer.arm(delayMs)
  })
}

it('never fires early, and knows fractions of a millisecond', async () => {
  for (const delayMs of [0, 0.3, 1.7, 12.25]) expect(await firing(delayMs)).toBeGreaterThanOrEqual(delayMs)
  const many = []
  for (let index = 0; index < 100; index++) many.push(await firing(0.1))
  // The event loop's own timers take a whole millisecond at least.
  expect(Math.min(...many)).toBeLessThan(0.9)
})

it('forgets what it was armed for before, and fires once', async () => {
  const fired: number[] = []
  const timer = new FineTimer(() => fired.push(performance.now()))
  timer.arm(1)
  timer.arm(4)
  await firing(10)
  timer.close()
  timer.arm(0)
  await firing(2)
  expect(fired).toHaveLength(1)
})

it('leaves Node’s own timers their turn', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--input-type=module',
    '-e',
    `import { FineTimer } from ${JSON.stringify(built('fine-timer.js'))}
     let fired = 0
     const timer = new FineTimer(() => { if (++fired < 50) timer.arm(0.2) })
     timer.arm(0.2)
     const look = setInterval(() => {
       if (fired < 50) return
       clearInterval(look)
       timer.close()
       console.log(fired)
     }, 1)`
  ])
  expect(Number(stdout)).toBe(50)
})
