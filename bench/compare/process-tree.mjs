/**
 * What programs have used so far, by /proc: a program counts with all its descendants. Work that the kernel does for
 * them in soft interrupts (most of a packet's way through a veth pair) is charged to whoever happens to run, and is not in here.
 * @module
 */
import { readdirSync, readFileSync } from 'node:fs'

/** Clock ticks of /proc a second: 100 on every Linux that Node runs on (USER_HZ is part of the kernel's interface). */
const TICKS_PER_SECOND = 100

/**
 * CPU time of process trees: user and system time of all that live, and of their children that have ended.
 * @param {readonly number[]} roots process ids
 * @returns {number} seconds
 */
export function cpuSeconds(roots) {
  if (roots.length === 0) return 0
  const table = new Map(readProcesses().map((process) => [process.pid, process]))
  const ticks = descendants(roots, table).reduce((total, pid) => total + (table.get(pid)?.ticks ?? 0), 0)
  return ticks / TICKS_PER_SECOND
}

/**
 * Memory of process trees.
 * @param {readonly number[]} roots process ids
 * @param {'VmHWM' | 'VmRSS'} field the most so far, or now
 * @returns {number} bytes; pages that several processes share count in each
 */
export function memoryBytes(roots, field) {
  if (roots.length === 0) return 0
  const table = new Map(readProcesses().map((process) => [process.pid, process]))
  return descendants(roots, table).reduce((total, pid) => {
    const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readProc(`/proc/${pid}/status`))
    return total + Number(match?.[1] ?? 0) * 1024
  }, 0)
}

/**
 * One line of /proc/PID/stat (proc(5)); the name in parentheses may hold anything.
 * @param {string} text
 * @returns {{ pid: number, parent: number, ticks: number } | undefined} ticks: own and those of children that were waited for
 */
export function parseStat(text) {
  const match = /^(\d+) \((.*)\) (\S.*)$/s.exec(text)
  if (match === null) return undefined
  const fields = match[3].trim().split(' ')
  const at = (number) => Number(fields[number - 3])
  return { pid: Number(match[1]), parent: at(4), ticks: at(14) + at(15) + at(16) + at(17) }
}

/**
 * @param {readonly number[]} roots
 * @param {ReadonlyMap<number, { readonly pid: number, readonly parent: number }>} table
 * @returns {number[]} the roots and everything below them, each once
 */
export function descendants(roots, table) {
  const children = new Map()
  for (const { pid, parent } of table.values()) children.set(parent, [...(children.get(parent) ?? []), pid])
  const found = new Set()
  const waiting = [...roots]
  while (waiting.length > 0) {
    const pid = waiting.pop()
    if (pid === undefined || found.has(pid)) continue
    found.add(pid)
    waiting.push(...(children.get(pid) ?? []))
  }
  return [...found]
}

function readProcesses() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => parseStat(readProc(`/proc/${pid}/stat`)))
    .filter((process) => process !== undefined)
}

function readProc(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // It has ended in between.
    return ''
  }
}
