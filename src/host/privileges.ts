/**
 * What this process may do: make a TUN device, change the network; and giving such rights up.
 * @module
 */
import { constants } from 'node:fs'
import { access, readFile } from 'node:fs/promises'
import { AuthenticationError, SystemError, UsageError } from '../errors.ts'
import { type CommandRunner, SystemCommandRunner } from './commands.ts'

/** Bit of CAP_NET_ADMIN in the capability sets (capability.h). */
const CAP_NET_ADMIN = 12n

export interface Privileges {
  /** CAP_NET_ADMIN is in force, in whichever user namespace this process is. */
  readonly netAdmin: boolean
  /** `/dev/net/tun` can be opened. */
  readonly tunDevice: 'usable' | 'absent' | 'forbidden'
}

export async function ownPrivileges(
  statusPath = '/proc/self/status',
  tunPath = '/dev/net/tun'
): Promise<Privileges> {
  return { netAdmin: hasNetAdmin(await readFile(statusPath, 'utf8')), tunDevice: await tunState(tunPath) }
}

/** Reads the effective capabilities out of /proc/<pid>/status. */
export function hasNetAdmin(status: string): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/im.exec(status)?.[1]
  return mask !== undefined && ((BigInt(`0x${mask}`) >> CAP_NET_ADMIN) & 1n) === 1n
}

/** Checks that a tunnel can be made here. @throws AuthenticationError (exit code 77) or SystemError (71), with what to do */
export function requireTunPrivileges(privileges: Privileges): void {
  if (privileges.tunDevice === 'absent') {
    throw new SystemError('no-tun', 'This system has no /dev/net/tun.', {
      hint: 'Load the module with "modprobe tun" (in a container: --device /dev/net/tun).'
    })
  }
  if (!privileges.netAdmin) {
    throw new AuthenticationError('no-net-admin', 'A tunnel cannot be made without CAP_NET_ADMIN.', {
      hint: 'Run it with sudo, or give node CAP_NET_ADMIN; "ikestream exec" needs neither.'
    })
  }
  if (privileges.tunDevice === 'forbidden') {
    throw new AuthenticationError('tun-forbidden', '/dev/net/tun may not be opened.', {
      hint: 'Run it with sudo, or allow it with "chmod 666 /dev/net/tun".'
    })
  }
}

export interface UserIdentity {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** Looks a user up, by name or number, wherever this system keeps its users. @throws UsageError if there is none */
export async function lookUpUser(
  name: string,
  runner: CommandRunner = new SystemCommandRunner()
): Promise<UserIdentity> {
  const [user, group] = await Promise.all([
    runner.run(['id', '-u', '--', name]),
    runner.run(['id', '-g', '--', name])
  ])
  const [uid, gid] = [Number(user.stdout.trim() || Number.NaN), Number(group.stdout.trim() || Number.NaN)]
  if (user.exitCode !== 0 || group.exitCode !== 0 || !Number.isInteger(uid) || !Number.isInteger(gid)) {
    throw new UsageError('unknown-user', `there is no user ${JSON.stringify(name)}`, {
      hint: 'name one that `id` knows, such as nobody'
    })
  }
  return { name, uid, gid }
}

/** What `dropPrivileges` needs of `process`. */
export interface IdentitySwitch {
  setgroups?(groups: readonly number[]): void
  initgroups?(user: string | number, extraGroup: number): void
  setgid?(gid: number): void
  setuid?(uid: number): void
  getuid?(): number
  geteuid?(): number
}

/**
 * Becomes another user for good: groups first, then group, then user, and makes sure that there is no way back.
 * Afterwards the host can no longer be configured: routes and name servers stay until `ikestream cleanup` is run as root.
 * @throws SystemError when the system refuses
 */
export function dropPrivileges(user: UserIdentity, target: IdentitySwitch = process): void {
  try {
    // A number has no entry of supplementary groups; then there are none.
    if (/^\d+$/.test(user.name)) target.setgroups?.([user.gid])
    else target.initgroups?.(user.name, user.gid)
    target.setgid?.(user.gid)
    target.setuid?.(user.uid)
  } catch (cause) {
    throw new SystemError('setuid', `this process cannot become ${user.name}: ${String(cause)}`, { cause })
  }
  if (target.getuid?.() !== user.uid || target.geteuid?.() !== user.uid || canGoBack(user, target)) {
    throw new SystemError('setuid', `this process could still undo becoming ${user.name}`)
  }
}

function canGoBack(user: UserIdentity, target: IdentitySwitch): boolean {
  if (user.uid === 0) return false
  try {
    target.setuid?.(0)
    return true
  } catch {
    return false
  }
}

async function tunState(path: string): Promise<Privileges['tunDevice']> {
  try {
    await access(path, constants.R_OK | constants.W_OK)
    return 'usable'
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    return code === 'ENOENT' || code === 'ENOTDIR' ? 'absent' : 'forbidden'
  }
}
