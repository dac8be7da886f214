/**
 * A TUN device in a network that this process cannot enter: a short-lived program makes it there and hands its descriptors
 * over. What they lead to stays where it was made.
 * @module
 */
import { spawn } from 'node:child_process'
import * as v from 'valibot'
import { SystemError } from '../errors.ts'
import { type PassedDescriptors, receiveDescriptors, socketPair } from '../native/descriptor-passing.ts'
import { libc } from '../native/libc.ts'
import { watch } from '../native/poller.ts'
import { TunDevice } from '../tun/tun-device.ts'
import { childEnvironment, essence } from './commands.ts'
import { ErrorData, errorFrom } from './error-data.ts'
import { packageFile } from './package-file.ts'

/** Node starts in a fraction of a second; a loaded machine may need several. */
const OPEN_TIMEOUT_MS = 20_000
/** The device, and a socket for questions about it. */
const DESCRIPTORS = 2
/** Where the program finds its end of the socket. */
export const PASSING_FD = 3

const Facility = v.object({ inUse: v.boolean(), why: v.nullable(v.string()) })
const Answer = v.union([
  v.object({
    name: v.string(),
    bare: v.boolean(),
    offloads: v.object({ checksum: Facility, tcp: Facility, udp: Facility })
  }),
  v.object({ error: ErrorData })
])

/**
 * @param enter makes the argument vector that runs a program where the device is to be
 * @throws what making the device throws there; SystemError when nothing comes back
 */
export async function openTunElsewhere(
  name: string | undefined,
  enter: (argv: readonly string[]) => string[]
): Promise<TunDevice> {
  const program = [process.execPath, packageFile('dist/host/tun-opener.js')]
  const [argv0 = '', ...argv] = enter(name === undefined ? program : [...program, name])
  const [ours, theirs] = socketPair()
  try {
    const child = spawn(argv0, argv, {
      env: childEnvironment(),
      stdio: ['ignore', 'ignore', 'pipe', theirs]
    })
    let complaint = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      complaint += chunk.toString()
    })
    child.once('error', (error) => {
      complaint += error.message
    })
    // The other end has to be the child's alone, so that its death is seen.
    libc().close(theirs)
    return deviceFrom(await received(ours), () => essence(complaint))
  } finally {
    libc().close(ours)
  }
}

function received(socketFd: number): Promise<PassedDescriptors | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer)
      watching.close()
      act()
    }
    const timer = setTimeout(() => settle(() => resolve(undefined)), OPEN_TIMEOUT_MS)
    const watching = watch(socketFd, { readable: true }, () => {
      try {
        const passed = receiveDescriptors(socketFd, DESCRIPTORS)
        if (passed !== undefined) settle(() => resolve(passed))
      } catch (error) {
        settle(() => reject(error))
      }
    })
  })
}

function deviceFrom(passed: PassedDescriptors | undefined, complaint: () => string): TunDevice {
  const answer = v.safeParse(Answer, jsonOf(passed?.text ?? ''))
  if (answer.success && 'error' in answer.output) throw errorFrom(answer.output.error)
  const [fd, controlFd] = passed?.descriptors ?? []
  if (!answer.success || 'error' in answer.output || fd === undefined || controlFd === undefined) {
    throw new SystemError(
      'tun-failed',
      `A TUN device cannot be made in a namespace: ${complaint()}`.trimEnd()
    )
  }
  return new TunDevice({ fd, controlFd, ...answer.output })
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
