/**
 * A network of its own for one command: a network and mount namespace in which nothing is but loopback, until a tunnel is put
 * there.
 *
 * Without root it belongs to a user namespace in which we are root, and the command runs in a further one, as the user who
 * started it: it is nobody special in there, and cannot change its network. With root there is no user namespace at all.
 * @module
 */
import { existsSync } from 'node:fs'
import { SystemError } from '../errors.ts'
import {
  type CommandRunner,
  enterNamespace,
  inNamespace,
  must,
  type NetworkNamespace,
  succeeds
} from './commands.ts'
import { type HeldNamespace, holdNamespace, needsUserNamespace, releaseHolder } from './namespace-holder.ts'

const PING_GROUPS = '/proc/sys/net/ipv4/ping_group_range'
/** Every group there is, and the only one that a user namespace knows. */
const ALL_GROUPS = '0 2147483647'
const OWN_GROUP = '0 0'
/** Where util-linux is: the command's own PATH need not lead there. */
const TOOL_FOLDERS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/usr/local/bin']

export class PrivateNetwork {
  /** Runs commands in here that configure it. */
  readonly runner: CommandRunner
  readonly #namespace: NetworkNamespace & { readonly kind: 'process' }
  readonly #held: HeldNamespace

  private constructor(held: HeldNamespace, userNamespace: boolean, runner: CommandRunner) {
    this.#held = held
    this.#namespace = { kind: 'process', pid: held.pid, userNamespace }
    this.runner = inNamespace(runner, this.#namespace)
  }

  /** @throws SystemError (`namespaces-unavailable`, `namespace-failed`, `user-mapping`) */
  static async open(runner: CommandRunner): Promise<PrivateNetwork> {
    const userNamespace = await needsUserNamespace(runner)
    const network = new PrivateNetwork(await holdNamespace(userNamespace), userNamespace, runner)
    try {
      await network.#prepare(runner)
      return network
    } catch (error) {
      await network.close()
      throw error
    }
  }

  /** The argument vector that runs `argv` in here with every right over this network. */
  administrator(argv: readonly string[]): string[] {
    return withTool(enterNamespace(this.#namespace, argv))
  }

  /** The argument vector that runs `argv` in here as the user who started us; the process that is started becomes it. */
  command(argv: readonly string[]): string[] {
    if (!this.#namespace.userNamespace) return this.administrator(argv)
    const user = [`--map-user=${process.getuid?.() ?? 0}`, `--map-group=${process.getgid?.() ?? 0}`]
    return this.administrator(withTool(['unshare', '-U', ...user, '--', ...argv]))
  }

  /** Lets go of it. It ends with the last process that is in it. */
  close(): Promise<void> {
    return releaseHolder(this.#held.holder)
  }

  async #prepare(runner: CommandRunner): Promise<void> {
    await must(this.runner, ['ip', 'link', 'set', 'dev', 'lo', 'up'])
    const groups = this.#namespace.userNamespace ? OWN_GROUP : ALL_GROUPS
    // So that ping works without a privilege that nobody has in here. Only a wish.
    await this.runner.run(['tee', PING_GROUPS], { input: `${groups}\n` })
    if (await succeeds(runner, this.command(['true']))) return
    throw new SystemError('user-mapping', 'a command cannot keep its user inside a user namespace here', {
      hint: 'util-linux 2.36 or newer is needed (unshare --map-user), and user namespaces that may be nested'
    })
  }
}

function withTool([tool = '', ...rest]: readonly string[]): string[] {
  const path = TOOL_FOLDERS.map((folder) => `${folder}/${tool}`).find((candidate) => existsSync(candidate))
  return [path ?? tool, ...rest]
}
