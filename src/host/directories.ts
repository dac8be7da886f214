/**
 * Where things are kept: profiles, state that outlives a session, and sockets that do not (XDG Base Directory rules).
 * @module
 */
import { chmod, lstat, mkdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { SystemError } from '../errors.ts'

export interface Directories {
  /** Searched in this order for `<name>.toml`. */
  readonly profiles: readonly string[]
  /** Journals, what is remembered of networks, the development CA. */
  readonly state: string
  /** Control sockets and pid files. */
  readonly runtime: string
}

export interface DirectoryInputs {
  readonly env?: NodeJS.ProcessEnv
  readonly uid?: number
  readonly home?: string
}

/**
 * The folders of this user; none is created. Root's are the system's. `IKESTREAM_STATE_DIR` overrides the state folder and
 * takes the sockets with it; relative values of XDG variables are ignored, as their specification asks.
 */
export function directories(inputs: DirectoryInputs = {}): Directories {
  const env = inputs.env ?? process.env
  const uid = inputs.uid ?? process.getuid?.() ?? 0
  const home = inputs.home ?? homedir()
  const config = join(absolute(env['XDG_CONFIG_HOME']) ?? join(home, '.config'), 'ikestream')
  const profiles = uid === 0 ? ['/etc/ikestream', config] : [config, '/etc/ikestream']
  const override = absolute(env['IKESTREAM_STATE_DIR'])
  if (override !== undefined) return { profiles, state: override, runtime: join(override, 'run') }
  if (uid === 0) return { profiles, state: '/var/lib/ikestream', runtime: '/run/ikestream' }
  const state = join(absolute(env['XDG_STATE_HOME']) ?? join(home, '.local', 'state'), 'ikestream')
  const runtime = absolute(env['XDG_RUNTIME_DIR'])
  return { profiles, state, runtime: runtime === undefined ? join(state, 'run') : join(runtime, 'ikestream') }
}

/**
 * Makes a folder that only its owner can enter, with its parents, and closes it if it was open.
 * @throws SystemError when it cannot be made, or belongs to someone else
 */
export async function ensurePrivateDirectory(path: string, uid = process.getuid?.() ?? 0): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    const found = await lstat(path)
    if (found.isSymbolicLink() || !found.isDirectory()) throw new Error('it is not a directory')
    if (found.uid !== uid) throw new Error(`it belongs to user ${found.uid}`)
    if ((found.mode & 0o077) !== 0) await chmod(path, 0o700)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new SystemError('state-directory', `the folder ${path} cannot be used: ${why}`, {
      hint: 'name another one in IKESTREAM_STATE_DIR',
      cause
    })
  }
}

function absolute(value: string | undefined): string | undefined {
  return value !== undefined && isAbsolute(value) ? value : undefined
}
