/**
 * An emulated link between two namespaces of a lab: each gets a device with addresses of one subnet, and what passes between them
 * meets the link's conditions. Two ways to do it: a process of ours with two TUN devices, which is seeded and counts everything, or
 * a veth cable with the kernel's netem at both ends, where the kernel has that.
 * @module
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { SystemError, UsageError } from '../../errors.ts'
import { childEnvironment, succeeds } from '../commands.ts'
import type { LabNamespace, NetLab } from '../netlab.ts'
import { packageFile } from '../package-file.ts'
import { type LinkConditions, parseConditions } from './conditions.ts'
import type { NatPlan } from './nat.ts'
import { NetemLink } from './netem.ts'
import type {
  LabLink,
  LinkEnd,
  LinkEngine,
  LinkOrder,
  LinkProcessPlan,
  LinkReport,
  OutageReport
} from './types.ts'

const PROCESS = packageFile('dist/host/link/process.js')
const START_TIMEOUT_MS = 10_000
/** Above whatever else the machine does: lateness here would look like the network's. A wish, which root is granted. */
const REAL_TIME = ['chrt', '--rr', '1']
const DEFAULT_MTU = 1500
/** Packets that may wait in the device until the carrying process reads them: 50 ms at 1 Gbit/s. */
const DEVICE_QUEUE_PACKETS = '5000'

export interface LinkOptions {
  /** `auto`: the user-space one, whose runs repeat and which also counts; netem only if it was asked for. */
  readonly engine?: LinkEngine | 'auto' | undefined
  /** From a to b. */
  readonly forward?: LinkConditions | undefined
  readonly backward?: LinkConditions | undefined
  readonly seed?: number | undefined
  readonly mtu?: number | undefined
  /** Hides a behind another address; the user-space engine only. */
  readonly nat?: NatPlan | undefined
}

/** @throws UsageError for impossible conditions, SystemError when devices cannot be made, or netem was asked for and is not there */
export async function openLink(
  lab: NetLab,
  a: LinkEnd,
  b: LinkEnd,
  options: LinkOptions = {}
): Promise<LabLink> {
  const forward = parseConditions(options.forward ?? {})
  const backward = parseConditions(options.backward ?? {})
  const mtu = options.mtu ?? DEFAULT_MTU
  const engine = chooseEngine(options.engine ?? 'auto', options.engine === 'netem' && (await hasNetem(a)))
  if (engine === 'netem') {
    await lab.connect(a.namespace, b.namespace, { a: a.device, b: b.device })
    for (const end of [a, b]) await configure(end, mtu)
    const link = new NetemLink(a, b)
    await link.setConditions(forward, backward)
    return link
  }
  const { nat, seed = 1 } = options
  const plan = { a: endOf(a), b: endOf(b), forward, backward, seed, mtu, nat }
  const link = await ProcessLink.start(a.namespace, plan)
  try {
    for (const end of [a, b]) {
      await configure(end, mtu)
      await end.namespace.run(['ip', 'link', 'set', 'dev', end.device, 'txqueuelen', DEVICE_QUEUE_PACKETS])
    }
  } catch (error) {
    await link.close()
    throw error
  }
  return link
}

/** @throws SystemError when netem is wanted and not there */
export function chooseEngine(wanted: LinkEngine | 'auto', netemIsThere: boolean): LinkEngine {
  if (wanted !== 'netem') return 'user-space'
  if (netemIsThere) return 'netem'
  throw new SystemError('netem-missing', 'This kernel has no netem queue discipline', {
    hint: 'Load it (modprobe sch_netem), or leave the choice to ikestream: its own emulator needs only TUN devices'
  })
}

/** Tried on the loopback device of a lab's namespace, and taken away again. */
function hasNetem({ namespace }: LinkEnd): Promise<boolean> {
  const onLoopback = ['dev', 'lo', 'root']
  return succeeds(namespace.runner, ['tc', 'qdisc', 'add', ...onLoopback, 'netem', 'delay', '1ms']).then(
    async (there) => {
      if (there) await namespace.run(['tc', 'qdisc', 'del', ...onLoopback])
      return there
    }
  )
}

async function configure({ namespace, device, addresses }: LinkEnd, mtu: number): Promise<void> {
  for (const address of addresses) {
    const noDetection = address.includes(':') ? ['nodad'] : []
    await namespace.run(['ip', 'addr', 'add', address, 'dev', device, ...noDetection])
  }
  await namespace.run(['ip', 'link', 'set', 'dev', device, 'mtu', String(mtu), 'up'])
}

function endOf({ namespace, device }: LinkEnd): LinkProcessPlan['a'] {
  return { netnsPath: `/proc/${namespace.pid}/ns/net`, device }
}

interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}

/** The owner's end of the carrying process. */
class ProcessLink implements LabLink {
  readonly engine = 'user-space'
  readonly #child: ChildProcess
  readonly #waiting = new Map<
    number,
    { resolve: (result: unknown) => void; reject: (error: Error) => void }
  >()
  readonly #exited: Promise<void>
  #complaint = ''
  #nextId = 1
  #ended = false

  static async start(namespace: LabNamespace, plan: LinkProcessPlan): Promise<ProcessLink> {
    const realTime = (await succeeds(namespace.runner, [...REAL_TIME, 'true'])) ? REAL_TIME : []
    const carrier = [...realTime, process.execPath, PROCESS, JSON.stringify(plan)]
    const [program = '', ...rest] = namespace.argv(carrier)
    // Detached: Ctrl-C on the terminal is meant for whoever uses the link. It ends with its standard input.
    const options: SpawnOptions = { stdio: ['pipe', 'pipe', 'pipe'], env: childEnvironment(), detached: true }
    const child = spawn(program, rest, options)
    const link = new ProcessLink(child)
    const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS)
    try {
      await link.#answer(0)
    } finally {
      clearTimeout(timer)
    }
    return link
  }

  private constructor(child: ChildProcess) {
    this.#child = child
    child.stdin?.on('error', () => undefined)
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#complaint += chunk.toString()
    })
    if (child.stdout !== null)
      createInterface({ input: child.stdout }).on('line', (line) => this.#take(JSON.parse(line) as Answer))
    this.#exited = new Promise((resolve) => {
      const end = (): void => {
        this.#ended = true
        for (const { reject } of this.#waiting.values()) reject(this.#failure())
        this.#waiting.clear()
        resolve()
      }
      child.once('close', end)
      child.once('error', (cause) => {
        this.#complaint += cause.message
        end()
      })
    })
  }

  async setConditions(forward?: LinkConditions, backward?: LinkConditions): Promise<void> {
    await this.#ask({ order: 'conditions', forward, backward })
  }

  async setDown(down: boolean): Promise<void> {
    await this.#ask({ order: 'down', down })
  }

  async outage(forMs: number): Promise<OutageReport> {
    return (await this.#ask({ order: 'outage', forMs })) as OutageReport
  }

  async report(): Promise<LinkReport> {
    return (await this.#ask({ order: 'report' })) as LinkReport
  }

  async close(): Promise<void> {
    this.#child.stdin?.end()
    await this.#exited
  }

  #ask(order: LinkOrder): Promise<unknown> {
    if (this.#ended) return Promise.reject(this.#failure())
    const id = this.#nextId++
    this.#child.stdin?.write(`${JSON.stringify({ id, ...order })}\n`)
    return this.#answer(id)
  }

  #answer(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
  }

  #take({ id, result, error }: Answer): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) waiting?.resolve(result)
    else waiting?.reject(new UsageError('link-order', error))
  }

  #failure(): SystemError {
    const why = this.#complaint.trim().split('\n').at(-1) ?? ''
    return new SystemError('link-ended', `The process of an emulated link ended: ${why || 'without a word'}`)
  }
}
