/**
 * Network services in a namespace of a lab: started together, ended together.
 * @module
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { SystemError } from '../../errors.ts'
import { childEnvironment } from '../commands.ts'
import type { LabNamespace } from '../netlab.ts'
import { packageFile } from '../package-file.ts'
import type { ServiceEvent, ServicePlan } from './types.ts'

const PROCESS = packageFile('dist/host/services/process.js')
const START_TIMEOUT_MS = 10_000

export class LabServices {
  /** Called with whatever happens, such as a login at a portal. */
  onEvent: ((event: ServiceEvent) => void) | undefined
  readonly #child: ChildProcess
  readonly #exited: Promise<void>

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#exited = new Promise((resolve) => child.once('close', () => resolve()))
  }

  /** Resolves when all of them listen. @throws SystemError when one cannot */
  static async start(namespace: LabNamespace, plans: readonly ServicePlan[]): Promise<LabServices> {
    const [program = '', ...rest] = namespace.argv([process.execPath, PROCESS, JSON.stringify(plans)])
    // Detached: Ctrl-C on the terminal is meant for whoever uses the lab. They end with their standard input.
    const options: SpawnOptions = { stdio: ['pipe', 'pipe', 'pipe'], env: childEnvironment(), detached: true }
    const child = spawn(program, rest, options)
    const services = new LabServices(child)
    await services.#ready()
    return services
  }

  async close(): Promise<void> {
    this.#child.stdin?.end()
    await this.#exited
  }

  #ready(): Promise<void> {
    const child = this.#child
    let complaint = ''
    child.stdin?.on('error', () => undefined)
    child.stderr?.on('data', (chunk: Buffer) => {
      complaint += chunk.toString()
    })
    return new Promise((resolve, reject) => {
      const fail = (): void => {
        clearTimeout(timer)
        const why = complaint.trim().split('\n').at(-1) ?? ''
        reject(new SystemError('lab-service', `A service of the lab did not start: ${why || 'no answer'}`))
      }
      const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS)
      child.once('error', fail)
      child.once('close', fail)
      if (child.stdout === null) return
      createInterface({ input: child.stdout }).on('line', (line) => {
        const event = JSON.parse(line) as ServiceEvent
        if (event.event === 'listening') {
          clearTimeout(timer)
          resolve()
        } else this.onEvent?.(event)
      })
    })
  }
}
