/**
 * Network namespaces without a name: each lives as long as its holder, a process that ends when its standard input closes. When
 * the program that made it ends in whatever way, SIGKILL included, the kernel takes everything down.
 *
 * Needs only util-linux. With root or without (then inside a user namespace, where the caller is root).
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { SystemError } from '../errors.ts'
import { type CommandRunner, childEnvironment, succeeds } from './commands.ts'

/** How long a holder may take to enter its namespace, or a program to end after SIGTERM. */
const HOLDER_TIMEOUT_MS = 10_000
const TERMINATE_TIMEOUT_MS = 3_000
const STRAY_POLL_MS = 50

/**
 * Finds out how network namespaces can be made here.
 * @param wanted in a user namespace or not; undefined: only where it must be
 * @returns whether a user namespace is needed
 * @throws SystemError (`namespaces-unavailable`) when this machine lets us make none
 */
export async function needsUserNamespace(runner: CommandRunner, wanted?: boolean): Promise<boolean> {
  const asRoot = process.getuid?.() === 0 && (await succeeds(runner, ['unshare', '-n', '-m', 'true']))
  const needed = wanted ?? !asRoot
  if (needed && !(await succeeds(runner, ['unshare', '-U', '-r', '-n', '-m', 'true']))) {
    throw new SystemError('namespaces-unavailable', 'this system lets us make no network namespace', {
      hint: 'run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0'
    })
  }
  return needed
}

export interface HeldNamespace {
  readonly holder: ChildProcess
  readonly pid: number
}

/**
 * Makes a network and mount namespace.
 * @param ownerPid a process in the user namespace that it is to belong to; undefined: a new one
 * @throws SystemError
 */
export async function holdNamespace(userNamespace: boolean, ownerPid?: number): Promise<HeldNamespace> {
  const holder = startHolder(userNamespace, ownerPid)
  return { holder, pid: await holderReady(holder) }
}

/** Lets the namespace go: it ends when nobody else is in it. */
export async function releaseHolder(holder: ChildProcess): Promise<void> {
  holder.stdin?.end()
  // Without this an otherwise idle program would end here, in the middle of it.
  holder.ref()
  await exited(holder)
}

/** Sends SIGTERM, waits, and sends SIGKILL if that did not help. */
export async function terminate(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const timer = setTimeout(() => child.kill('SIGKILL'), TERMINATE_TIMEOUT_MS)
  child.kill('SIGTERM')
  await exited(child)
  clearTimeout(timer)
}

/** Ends every process in a holder's network namespace but the holder: SIGTERM, and after a while SIGKILL. */
export async function endStrays(holderPid: number): Promise<void> {
  const deadline = performance.now() + TERMINATE_TIMEOUT_MS
  for (let signal: NodeJS.Signals = 'SIGTERM'; ; ) {
    const pids = processesBeside(holderPid)
    if (pids.length === 0) return
    for (const pid of pids) trySignal(pid, signal)
    if (signal === 'SIGKILL') return
    await new Promise((resolve) => setTimeout(resolve, STRAY_POLL_MS))
    if (performance.now() > deadline) signal = 'SIGKILL'
  }
}

function processesBeside(holderPid: number): number[] {
  const home = networkOf(holderPid)
  if (home === undefined) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== holderPid && pid !== process.pid && networkOf(pid) === home)
}

/** Undefined: it is gone, or somebody else's. */
function networkOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`)
  } catch {
    return undefined
  }
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It is gone.
  }
}

function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined)
    return Promise.resolve()
  return new Promise((resolve) => child.once('exit', () => resolve()))
}

/** The holder is `cat`: it lives until its standard input closes, and echoes a line once it has arrived. */
function startHolder(userNamespace: boolean, ownerPid: number | undefined): ChildProcess {
  const argv = ['unshare', '-n', '-m']
  if (userNamespace && ownerPid === undefined) argv.push('-U', '-r')
  if (userNamespace && ownerPid !== undefined) {
    argv.unshift('nsenter', '-t', String(ownerPid), '-U', '--preserve-credentials', '--')
  }
  const [program = '', ...rest] = [...argv, '--', 'cat']
  // Detached, so that a Ctrl-C on the terminal reaches us and not the network under us.
  return spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'], env: childEnvironment(), detached: true })
}

function holderReady(holder: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let complaint = ''
    const fail = (why: string, cause?: unknown): void => {
      clearTimeout(timer)
      holder.kill('SIGKILL')
      reject(new SystemError('namespace-failed', `a network namespace could not be made: ${why}`, { cause }))
    }
    const timer = setTimeout(() => fail('no answer from its holder'), HOLDER_TIMEOUT_MS)
    holder.once('error', (cause) => fail(cause.message, cause))
    holder.once('exit', () => fail(complaint.trim() || 'its holder ended'))
    holder.stderr?.on('data', (chunk: Buffer) => {
      complaint += chunk.toString()
    })
    holder.stdin?.on('error', () => undefined)
    holder.stdout?.once('data', () => {
      clearTimeout(timer)
      holder.removeAllListeners('exit')
      holder.unref()
      resolve(holder.pid ?? 0)
    })
    holder.stdin?.write('ready\n')
  })
}
