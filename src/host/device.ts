/**
 * What `ip` knows about one network device.
 * @module
 */
import * as v from 'valibot'
import { SystemError } from '../errors.ts'
import { type CommandRunner, commandFailure, inNamespace, must } from './commands.ts'

export interface DeviceState {
  /** The kernel's number for it: never used again for another device. */
  readonly index: number
  readonly mtu: number
  readonly up: boolean
  /** How its IPv6 link-local address is made (`eui64`, `none`, ...); null when the kernel has no IPv6 on it. */
  readonly addressGeneration: string | null
}

const Links = v.array(
  v.object({
    ifindex: v.number(),
    mtu: v.number(),
    flags: v.array(v.string()),
    inet6_addr_gen_mode: v.optional(v.string())
  })
)

/** The state of a device, or undefined if there is none of that name (or no such namespace). */
export async function deviceState(runner: CommandRunner, name: string): Promise<DeviceState | undefined> {
  const argv = ['ip', '-json', '-d', 'link', 'show', 'dev', name]
  const result = await runner.run(argv)
  if (result.exitCode !== 0) {
    if (/does not exist|cannot find|no such device|cannot open network namespace/i.test(result.stderr))
      return undefined
    throw commandFailure(result)
  }
  const links = v.safeParse(Links, parseJson(result.stdout))
  const link = links.success ? links.output[0] : undefined
  if (link === undefined)
    throw new SystemError('command-output', `\`ip link show dev ${name}\` gave no usable answer`)
  return {
    index: link.ifindex,
    mtu: link.mtu,
    up: link.flags.includes('UP'),
    addressGeneration: link.inet6_addr_gen_mode ?? null
  }
}

/**
 * The device's state where it is to be: in the named namespace, moved there if it is still here, or here.
 * @throws SystemError when it is in neither place
 */
export async function placeDevice(
  runner: CommandRunner,
  name: string,
  netns: string | undefined
): Promise<DeviceState> {
  const there = inNamespace(runner, netns === undefined ? undefined : { kind: 'name', name: netns })
  const found = await deviceState(there, name)
  if (found !== undefined) return found
  if (netns !== undefined && (await deviceState(runner, name)) !== undefined) {
    await must(runner, ['ip', 'link', 'set', 'dev', name, 'netns', netns])
    await must(there, ['ip', 'link', 'set', 'dev', 'lo', 'up'])
    const moved = await deviceState(there, name)
    if (moved !== undefined) return moved
  }
  throw new SystemError('no-device', `there is no network device ${name}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
