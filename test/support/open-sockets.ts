/**
 * What this process holds open, for tests of what is given back.
 * @module
 */
import { readdirSync, readlinkSync } from 'node:fs'

/** How many sockets this process has. */
export function openSockets(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:')
    } catch {
      return false
    }
  }).length
}
