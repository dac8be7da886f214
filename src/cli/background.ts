/**
 * `--background`: a child of the same command line does the work; its parent shows what it says until the tunnel is up, and
 * leaves with success, or with the child's exit code if that comes first.
 *
 * The child gets a channel to its parent instead of a flag that a user could pass by accident. It leaves the terminal
 * itself, once the tunnel is up: until then it may have to ask for a password there, and Ctrl-C is meant for it.
 * @module
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { ExitCode } from '../errors.ts'
import { libc } from '../native/libc.ts'
import type { Reporter } from './reporter.ts'

const CHILD_MARK = 'IKESTREAM_DETACHED'

export function isDetachedChild(): boolean {
  return process.env[CHILD_MARK] === '1' && process.send !== undefined
}

/** The parent's part: resolves with the exit code to leave with. */
export function detachedParent(reporter: Reporter): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, process.argv.slice(1), {
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, [CHILD_MARK]: '1' }
    })
    const pass = (signal: NodeJS.Signals): void => {
      child.kill(signal)
    }
    process.on('SIGINT', pass)
    process.on('SIGTERM', pass)
    child.on('message', (message: { failed: boolean }) => {
      if (message.failed) return
      reporter.line(`going on in the background as process ${child.pid}`)
      child.disconnect()
      child.unref()
      process.off('SIGINT', pass)
      process.off('SIGTERM', pass)
      resolve(ExitCode.ok)
    })
    child.on('exit', (code, signal) => resolve(exitCodeOf(code, signal)))
    child.on('error', () => resolve(ExitCode.failure))
  })
}

/** 128+n where signal n ended it, as shells say it. */
export function exitCodeOf(code: number | null, signal: NodeJS.Signals | null): number {
  if (code !== null) return code
  return signal === null ? ExitCode.failure : 128 + constants.signals[signal]
}

/** The child's part: the tunnel is up, or will never be. Does nothing in the foreground. */
export function tellParent(message: { readonly failed: boolean }): void {
  if (!isDetachedChild() || process.connected !== true) return
  // Fails only for the leader of a process group, which a child never is.
  if (!message.failed) libc().setsid()
  process.send?.(message, undefined, undefined, () => process.disconnect?.())
}
