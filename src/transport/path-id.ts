/**
 * Numbers for `Path.id`: unique within the process, so that engines can compare paths of different transports.
 * @module
 */
let last = 0

export function nextPathId(): number {
  last += 1
  return last
}
