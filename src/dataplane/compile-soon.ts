/**
 * Has V8 compile the data path early. By itself it waits until code has run for a while, which is right for a busy tunnel and
 * wrong for an idle one: at one ping a second the interpreter would work for hours, at several times the cost of each packet.
 * @module
 */
import { setFlagsFromString } from 'node:v8'

/**
 * How much bytecode a function runs before it is optimised: a thirteenth of V8's own figure (132 KiB). Measured on a
 * busy machine: an idle tunnel adds a third less to a ping.
 */
const INTERRUPT_BUDGET_BYTES = 10_000

let done = false

/** From now on, for the whole process: call it when the first packets are near, not while a program starts. */
export function compileSoon(): void {
  if (done) return
  done = true
  setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET_BYTES}`)
  // What functions see is recorded from their first call on, so that there is something to optimise by.
  setFlagsFromString('--no-lazy-feedback-allocation')
}
