/**
 * `npm run demo`: the whole product on one machine, without touching its network.
 *
 * The embedded gateway runs in one namespace, the client in another, and a hotel's router between them swallows
 * UDP and refuses TCP 4500. Every claim in the summary was observed: a step that does not happen ends the demo with
 * an error.
 * @module
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SystemError } from '../../errors.ts'
import { childEnvironment } from '../../host/commands.ts'
import type { LabNamespace } from '../../host/netlab.ts'
import { type Fault, HotelNetwork } from '../../host/netlab-hotel.ts'
import { packageFile } from '../../host/package-file.ts'
import { type JsonLine, LabProgram, runToEnd } from '../../lab/program.ts'

const IKESTREAM = packageFile('bin/ikestream.js')
const TOOL = packageFile('dist/lab/tool.js')

const GATEWAY_NAME = 'gateway.demo.test'
const INNER_ADDRESS = '10.99.0.1'
const HTTP_PORT = 8080
const MEBIBYTE = 1_048_576
const FETCH_BYTES = 192 * MEBIBYTE
/** Long enough that a change of path happens in the middle of it. */
const SLOW_DOWNLOAD = { bytes: 96 * MEBIBYTE, bytesPerSecond: 12 * MEBIBYTE }
const STEP_TIMEOUT_MS = 20_000
const UDP_PROBE_S = 2

/** The hotel: UDP is swallowed, TCP 4500 refused, 443 passes. */
const HOTEL: readonly Fault[] = [
  { protocol: 'udp', action: 'drop' },
  { protocol: 'tcp', ports: [4500], action: 'refuse' }
]
const HOTEL_WITH_UDP: readonly Fault[] = [{ protocol: 'tcp', ports: [4500], action: 'refuse' }]

/** A step of the demo was not observed. */
class DemoError extends SystemError {
  constructor(message: string) {
    super('demo-failed', message)
  }
}

interface Step {
  readonly what: string
  readonly seen: string
}

export interface DemoOutput {
  /** A line for people. */
  say(text: string): void
  heading(text: string): void
}

/** Runs the demo. @throws SystemError when a step was not observed */
export async function runDemo(output: DemoOutput): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'ikestream-demo-'))
  const startedAt = performance.now()
  output.heading('A hotel network: UDP is swallowed, TCP 4500 is refused, 443 passes')
  const hotel = await HotelNetwork.open()
  try {
    await hotel.setFaults(HOTEL)
    const demo = new Demo(hotel, directory, output)
    await demo.run()
    output.heading('What was observed')
    const width = Math.max(...demo.steps.map((step) => step.what.length))
    for (const { what, seen } of demo.steps) output.say(`✔ ${what.padEnd(width)}  ${seen}`)
    output.say(`\nAll of it in ${((performance.now() - startedAt) / 1000).toFixed(1)} s.`)
  } finally {
    await hotel.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

class Demo {
  readonly steps: Step[] = []
  readonly #hotel: HotelNetwork
  readonly #directory: string
  readonly #output: DemoOutput

  constructor(hotel: HotelNetwork, directory: string, output: DemoOutput) {
    this.#hotel = hotel
    this.#directory = directory
    this.#output = output
  }

  async run(): Promise<void> {
    const routesBefore = await this.#routes()
    const gateway = await this.#startGateway()
    const client = this.#startClient(String(gateway.ca))
    await this.#connected(client)
    await this.#pings()
    await this.#fetch()
    await this.#returnToUdp(client)
    await this.#cutAndHeal(client)
    await this.#disconnect(client, gateway.program, routesBefore)
  }

  async #startGateway(): Promise<{ program: LabProgram; ca: unknown }> {
    const users = this.#secretFile('users', 'traveller:correct horse battery staple\n')
    const program = this.#program('gateway', this.#hotel.gateway.namespace, [
      'gateway',
      '--json',
      ...['--listen', this.#hotel.gateway.address],
      ...['--identity', GATEWAY_NAME],
      ...['--users-file', users],
      ...['--pool', '10.99.0.0/24', '--pool', 'fd00:99::/64']
    ])
    const line = await program.waitFor('listening', isEvent('listening'), STEP_TIMEOUT_MS)
    this.#output.say(`Gateway at ${this.#hotel.gateway.address}: UDP 500 and 4500, TCP 4500, TLS 443`)
    const server = this.#tool('web server', this.#hotel.gateway.namespace, [
      'serve',
      INNER_ADDRESS,
      String(HTTP_PORT)
    ])
    await server.waitFor('listening', (candidate) => candidate['listening'] === HTTP_PORT, STEP_TIMEOUT_MS)
    return { program, ca: line['cafile'] }
  }

  #startClient(ca: string): LabProgram {
    const password = this.#secretFile('password', 'correct horse battery staple\n')
    const { address } = this.#hotel.gateway
    this.#output.heading(`ikestream connect ${address} --user traveller`)
    const client = this.#program('client', this.#hotel.client.namespace, [
      'connect',
      address,
      '--json',
      '--non-inter',
      ...['--remote-identity', GATEWAY_NAME],
      ...['--user', 'traveller', '--password-file', password],
      ...['--cafile', ca, '--no-system-trust'],
      ...['--udp-probe', String(UDP_PROBE_S)],
      '--no-dns'
    ])
    client.onLine((line) => this.#showRung(line))
    return client
  }

  #showRung(line: JsonLine): void {
    if (line['event'] !== 'rung' || line['outcome'] === 'trying') return
    const seconds = (Number(line['elapsedMs']) / 1000).toFixed(2).padStart(6)
    const why = line['reason'] === null ? '' : `: ${line['message'] ?? line['reason']}`
    this.#output.say(`${seconds} s  ${String(line['transport']).padEnd(3)}  ${line['outcome']}${why}`)
  }

  async #connected(client: LabProgram): Promise<void> {
    const line = await client.waitFor('a connection', isEvent('connected'), STEP_TIMEOUT_MS)
    const seconds = (Number(line['elapsedMs']) / 1000).toFixed(2)
    expectThat(line['transport'] === 'tls', `the tunnel came up over ${line['transport']}, not over TLS`)
    this.#output.say(
      `${seconds.padStart(6)} s  connected over TLS 443: ${(line['virtualIps'] as string[]).join(', ')} on ${line['interface']}, ${line['espSuite']}`
    )
    this.#observed('ladder: UDP lost, TCP 4500 refused, TLS 443 up', `${seconds} s`)
  }

  async #pings(): Promise<void> {
    const tool = this.#tool('ping', this.#hotel.client.namespace, ['ping', INNER_ADDRESS, '5'])
    const line = await runToEnd(tool, STEP_TIMEOUT_MS)
    const times = line['roundTripsMs'] as number[]
    expectThat(times.length === 5, `only ${times.length} of 5 pings were answered`)
    const median = [...times].sort((a, b) => a - b)[2] ?? 0
    this.#observed('5 pings through the tunnel', `median ${median.toFixed(2)} ms`)
  }

  async #fetch(): Promise<void> {
    const line = await runToEnd(this.#download(FETCH_BYTES), 60_000)
    expectThat(line['intact'] === true, `the download over TLS was damaged or cut: ${JSON.stringify(line)}`)
    const rate = (FETCH_BYTES * 8) / (Number(line['elapsedMs']) / 1000) / 1e6
    this.#observed(`${FETCH_BYTES / MEBIBYTE} MiB over HTTP, every byte checked`, `${rate.toFixed(0)} Mbit/s`)
  }

  async #returnToUdp(client: LabProgram): Promise<void> {
    this.#output.heading('The network opens UDP while a download runs')
    const change = await this.#changeDuringDownload(client, 'udp', () =>
      this.#hotel.setFaults(HOTEL_WITH_UDP)
    )
    this.#observed('moved to UDP under a running download', change)
  }

  async #cutAndHeal(client: LabProgram): Promise<void> {
    this.#output.heading('UDP is cut in the middle of a download')
    const change = await this.#changeDuringDownload(client, 'tls', () => this.#hotel.setFaults(HOTEL))
    this.#observed('path cut, healed over TLS, download unharmed', change)
  }

  /** Starts a paced download, changes the network, and waits until the session has moved and the download ended well. */
  async #changeDuringDownload(client: LabProgram, to: string, change: () => Promise<void>): Promise<string> {
    const download = this.#download(SLOW_DOWNLOAD.bytes, SLOW_DOWNLOAD.bytesPerSecond)
    await download.waitFor('progress', (line) => Number(line['bytes']) > MEBIBYTE, STEP_TIMEOUT_MS)
    const mark = client.mark
    await change()
    const moved = await client.waitFor(
      `a move to ${to}`,
      (line) => line['event'] === 'path-changed' && line['to'] === to,
      STEP_TIMEOUT_MS,
      mark
    )
    expectThat(!download.ended, 'the download had ended before the session moved')
    const outage = `outage ${Math.round(Number(moved['outageMs']))} ms`
    this.#output.say(`${moved['from']} → ${moved['to']} (${moved['reason']}), ${outage}`)
    const line = await runToEnd(download, 60_000)
    expectThat(line['intact'] === true, `the download was damaged or cut: ${JSON.stringify(line)}`)
    return `${outage}, ${Number(line['bytes']) / MEBIBYTE} MiB intact`
  }

  async #disconnect(client: LabProgram, gateway: LabProgram, routesBefore: string): Promise<void> {
    this.#output.heading('Ctrl-C')
    client.kill('SIGINT')
    await client.waitFor('disconnected', isEvent('disconnected'), STEP_TIMEOUT_MS)
    const exitCode = await client.exited
    expectThat(exitCode === 0, `the client ended with exit code ${exitCode}`)
    const down = await gateway.waitFor('the client’s end', isEvent('client-down'), STEP_TIMEOUT_MS)
    expectThat(
      (await this.#routes()) === routesBefore,
      'the client left other routes or devices behind than it found'
    )
    expectThat(down['reason'] === 'deleted-by-peer', `the gateway was not told of the end: ${down['reason']}`)
    this.#observed('clean disconnect', 'the gateway got the DELETE; routes and devices as before')
    gateway.kill('SIGTERM')
    expectThat((await gateway.exited) === 0, 'the gateway did not end cleanly')
  }

  #observed(what: string, seen: string): void {
    this.steps.push({ what, seen })
    this.#output.say(`✔ ${what}: ${seen}`)
  }

  async #routes(): Promise<string> {
    const { namespace } = this.#hotel.client
    const parts = await Promise.all(
      [
        ['ip', '-4', 'route', 'show', 'table', 'all'],
        ['ip', '-6', 'route', 'show', 'table', 'all'],
        ['ip', '-o', 'link']
      ].map((argv) => namespace.run(argv))
    )
    // Times and counters differ between two looks at the same thing.
    return parts.map((part) => part.stdout.replace(/ (expires|used|age) \S+/g, '')).join('\n')
  }

  #download(bytes: number, bytesPerSecond?: number): LabProgram {
    const rate = bytesPerSecond === undefined ? '' : `?rate=${bytesPerSecond}`
    const url = `http://${INNER_ADDRESS}:${HTTP_PORT}/bytes/${bytes}${rate}`
    return this.#tool('download', this.#hotel.client.namespace, ['fetch', url])
  }

  #program(name: string, namespace: LabNamespace, args: readonly string[]): LabProgram {
    const stateDirectory = join(this.#directory, name)
    return new LabProgram(name, namespace, [process.execPath, IKESTREAM, ...args], {
      ...childEnvironment(),
      IKESTREAM_STATE_DIR: stateDirectory
    })
  }

  #tool(name: string, namespace: LabNamespace, args: readonly string[]): LabProgram {
    return new LabProgram(name, namespace, [process.execPath, TOOL, ...args])
  }

  #secretFile(name: string, contents: string): string {
    const path = join(this.#directory, name)
    writeFileSync(path, contents, { mode: 0o600 })
    return path
  }
}

function isEvent(name: string): (line: JsonLine) => boolean {
  return (line) => line['event'] === name
}

function expectThat(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new DemoError(otherwise)
}
