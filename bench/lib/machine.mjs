/**
 * What a reader of figures has to know about the machine and the moment.
 * @module
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'

export function describeMachine() {
  return {
    time: new Date().toISOString(),
    commit: firstLine('git', ['describe', '--always', '--dirty']),
    node: process.version,
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: cpus().length,
    memoryMb: Math.round(totalmem() / 1e6),
    congestionControl: readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8')
      .trim()
      .split(' '),
    loadAverage: loadNow()
  }
}

/** Over one, five and fifteen minutes; other work on the machine shows here. */
export function loadNow() {
  return loadavg().map((value) => Number(value.toFixed(2)))
}

function firstLine(program, args) {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split(
      '\n'
    )[0]
  } catch {
    return 'unknown'
  }
}
