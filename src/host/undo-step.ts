/**
 * What a session changes on the host, each change as plain data from which it can be undone: by the session itself, or, after
 * a crash, by another process that has only the journal.
 *
 * Undoing is idempotent: what is gone already counts as undone. What belongs to a network device is left
 * alone when the device is not the one that was changed (another session may have got its name).
 * @module
 */
import { SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { type CommandRunner, commandFailure, inNamespace } from './commands.ts'
import { removeControlSocket } from './control-path.ts'
import { deviceState } from './device.ts'
import { type FileBefore, removeDirectoryIfEmpty, restoreFile } from './file-backup.ts'
import { removePidFile } from './pid-file.ts'
import { type RouteSpec, routeArgv } from './route.ts'
import { runScript } from './vpnc-script.ts'

export type UndoStep =
  /** The device was configured and brought up. */
  | {
      readonly kind: 'link'
      readonly interface: string
      readonly index: number
      readonly mtu: number
      readonly up: boolean
      readonly addressGeneration: string | null
    }
  | { readonly kind: 'address'; readonly interface: string; readonly index: number; readonly address: string }
  /** A route into the tunnel, bound to a device of ours. */
  | {
      readonly kind: 'tunnel-route'
      readonly interface: string
      readonly index: number
      readonly route: RouteSpec
    }
  /** A route beside the tunnel (to the gateway), on somebody else's device. */
  | { readonly kind: 'host-route'; readonly route: RouteSpec }
  | { readonly kind: 'resolvectl'; readonly interface: string; readonly index: number }
  | { readonly kind: 'resolvconf'; readonly record: string; readonly force: boolean }
  /** A file was replaced by contents with this SHA-256. */
  | {
      readonly kind: 'file'
      readonly path: string
      readonly writtenSha256: string
      readonly before: FileBefore | null
    }
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'pid-file'; readonly path: string; readonly pid: number }
  | { readonly kind: 'control-socket'; readonly path: string }
  /** A vpnc-script was run; it is run again to disconnect. */
  | {
      readonly kind: 'script'
      readonly argv: readonly string[]
      readonly variables: Readonly<Record<string, string>>
      readonly timeoutMs: number
    }

export interface UndoContext {
  readonly runner: CommandRunner
  readonly log: Logger
  /** The named network namespace that the tunnel's device lives in. */
  readonly netns: string | null
}

/** What tools say about things that are no longer there. */
const GONE =
  /no such (process|device|file)|cannot find device|cannot assign requested address|not found|does not exist|cannot open network namespace|interface .* unknown|failed to resolve interface/i

/** Undoes one change. @throws SystemError when it is still there and cannot be undone */
export async function undoStep(step: UndoStep, context: UndoContext): Promise<void> {
  const tunnel = inNamespace(
    context.runner,
    context.netns === null ? undefined : { kind: 'name', name: context.netns }
  )
  if ('index' in step && (await deviceState(tunnel, step.interface))?.index !== step.index) return
  switch (step.kind) {
    case 'link':
      return undoLink(tunnel, step)
    case 'address':
      return tolerant(tunnel, ['ip', 'addr', 'del', step.address, 'dev', step.interface])
    case 'tunnel-route':
      return tolerant(tunnel, routeArgv('del', step.route))
    case 'host-route':
      return tolerant(context.runner, routeArgv('del', step.route))
    case 'resolvectl':
      return tolerant(context.runner, ['resolvectl', 'revert', step.interface])
    case 'resolvconf':
      return tolerant(context.runner, ['resolvconf', '-d', step.record, ...(step.force ? ['-f'] : [])])
    case 'file':
      return restoreFile(step.path, step.writtenSha256, step.before, context.log)
    case 'directory':
      return removeDirectoryIfEmpty(step.path)
    case 'pid-file':
      return removePidFile(step.path, step.pid)
    case 'control-socket':
      return removeControlSocket(step.path)
    case 'script':
      return runScript(context.runner, step.argv, { ...step.variables, reason: 'disconnect' }, step.timeoutMs)
  }
}

/** What is in files outlives a restart. */
const ON_DISK: readonly UndoStep['kind'][] = ['file', 'directory', 'pid-file', 'control-socket']

/** True for changes that a restart of the machine has undone already. */
export function undoneByReboot(step: UndoStep): boolean {
  return !ON_DISK.includes(step.kind)
}

async function undoLink(tunnel: CommandRunner, step: Extract<UndoStep, { kind: 'link' }>): Promise<void> {
  const on = ['ip', 'link', 'set', 'dev', step.interface]
  if (!step.up) await tolerant(tunnel, [...on, 'down'])
  await tolerant(tunnel, [...on, 'mtu', String(step.mtu)])
  if (step.addressGeneration !== null) await tolerant(tunnel, [...on, 'addrgenmode', step.addressGeneration])
}

/** Runs a command that removes something; that it is gone already is fine. */
async function tolerant(runner: CommandRunner, argv: readonly string[]): Promise<void> {
  const result = await runner.run(argv)
  if (result.exitCode === 0 || GONE.test(result.stderr)) return
  throw commandFailure(result)
}

/** Undoes changes, the last one first, carrying on past failures. `onUndone` is told of each that succeeded. */
export async function undoAll(
  steps: readonly UndoStep[],
  context: UndoContext,
  onUndone: (step: UndoStep) => Promise<void>
): Promise<SystemError[]> {
  const failures: SystemError[] = []
  for (const step of [...steps].reverse()) {
    try {
      await undoStep(step, context)
      await onUndone(step)
    } catch (cause) {
      const failure =
        cause instanceof SystemError
          ? cause
          : new SystemError('undo-failed', `a change (${step.kind}) could not be undone: ${String(cause)}`, {
              cause
            })
      context.log.log('error', failure.message, { step: step.kind })
      failures.push(failure)
    }
  }
  return failures
}
