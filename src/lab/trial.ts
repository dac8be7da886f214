/**
 * What a client makes of one network: the check, a session with traffic through it, or another client's command.
 * @module
 */
import type { CheckDocument } from '../check/document.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { Lab } from './lab.ts'
import { INNER_ADDRESS, SERVER_NAME } from './plan.ts'
import { type JsonLine, type LabProgram, runToEnd } from './program.ts'

/** Also where every rung has to fail first. */
const CONNECT_TIMEOUT_S = 30
/** Behind that comes whatever ends a process that hangs. */
const SETTLE_MS = 15_000
const TRAFFIC_TIMEOUT_MS = 20_000
const PINGS = 5
const BYTES = 1_000_000
/** How much longer than a NAT remembers nothing is said. */
const IDLE_MARGIN_MS = 1_500

export interface SeenCheck {
  readonly verdict: string
  readonly sentence: string
  readonly exitCode: number
  readonly over: TransportKind | null
  readonly via: string | null
  /** Codes of findings that are no mere information, sorted, each once. */
  readonly findings: readonly string[]
  readonly portal: string
  readonly portalUrl: string | null
  readonly pathMtu: number | null
  /** Of the best way. */
  readonly rttMs: number | null
  readonly elapsedMs: number
}

export interface SeenConnect {
  readonly over: TransportKind | null
  readonly via: string | null
  readonly mtu: number | null
  /** Code of the error that it ended with. */
  readonly error: string | null
  /** Portal or other address that the error names. */
  readonly message: string | null
  /** To the tunnel, or to the error. */
  readonly elapsedMs: number
  /** Null: there was no tunnel. */
  readonly traffic: SeenTraffic | null
  readonly exitCode: number
}

export interface SeenTraffic {
  /** At least one ping of five was answered. */
  readonly pings: boolean
  /** A megabyte came, every byte of it right. */
  readonly downloads: boolean
  readonly uploads: boolean
  /** After a silence that was longer than a NAT remembers; null: there is no such NAT. */
  readonly survivesIdle: boolean | null
}

export interface SeenClient {
  /** Exit code of the client's command; null: it was still running, as a client with a tunnel does. */
  readonly exitCode: number | null
  readonly pings: boolean
  readonly downloads: boolean
  /** Until the first ping was answered, or nothing was waited for any more. */
  readonly elapsedMs: number
  /** The last that it said, for people. */
  readonly said: string
}

/** Runs `ikestream check`. */
export async function tryCheck(lab: Lab): Promise<SeenCheck> {
  const program = lab.ikestream('check', ['check', SERVER_NAME, '--json'])
  const line = await program.waitFor(
    'its document',
    (one) => 'verdict' in one,
    SETTLE_MS + TRAFFIC_TIMEOUT_MS
  )
  const { verdict, findings, portal, udp, durationMs } = line as unknown as CheckDocument
  const serious = findings.filter(({ level }) => level !== 'info').map(({ code }) => code)
  return {
    verdict: verdict.code,
    sentence: verdict.sentence,
    exitCode: await program.exited,
    over: verdict.best?.transport ?? null,
    via: verdict.best?.via ?? null,
    findings: [...new Set(serious)].sort(),
    portal: portal.state,
    portalUrl: portal.url,
    pathMtu: udp.find(({ large }) => large !== null)?.large?.pathMtu ?? null,
    rttMs: verdict.best?.rttMs ?? null,
    elapsedMs: durationMs
  }
}

/** Runs `ikestream connect`, traffic through it, and ends it. */
export async function tryConnect(lab: Lab): Promise<SeenConnect> {
  const args = ['connect', SERVER_NAME, '--json', '--non-inter', '--timeout', String(CONNECT_TIMEOUT_S)]
  const startedAt = performance.now()
  const client = lab.ikestream('connect', args)
  const isOutcome = ({ event }: JsonLine): boolean => event === 'connected' || event === 'error'
  const line = await client.waitFor('its outcome', isOutcome, CONNECT_TIMEOUT_S * 1000 + SETTLE_MS)
  if (line['event'] === 'error')
    return {
      ...{ over: null, via: null, mtu: null, traffic: null },
      error: String(line['code']),
      message: String(line['message']),
      elapsedMs: Math.round(performance.now() - startedAt),
      exitCode: await client.exited
    }
  const traffic = await tryTraffic(lab)
  client.kill('SIGINT')
  return {
    over: line['transport'] as TransportKind,
    via: line['via'] as string | null,
    mtu: Number(line['mtu']),
    ...{ error: null, message: null, traffic },
    elapsedMs: Number(line['elapsedMs']),
    exitCode: await client.exited
  }
}

async function tryTraffic(lab: Lab): Promise<SeenTraffic> {
  const answers = async (): Promise<boolean> =>
    Number((await result(lab.tool(['ping', INNER_ADDRESS, String(PINGS)])))['received']) > 0
  const pings = await answers()
  const downloads = await download(lab)
  const upload = await result(lab.tool(['upload', lab.bulkUrl, String(BYTES)]))
  const { natTimeoutMs } = lab.settings
  let survivesIdle: boolean | null = null
  if (natTimeoutMs !== undefined) {
    await new Promise((resolve) => setTimeout(resolve, natTimeoutMs + IDLE_MARGIN_MS))
    survivesIdle = await answers()
  }
  return { pings, downloads, uploads: upload['status'] === 200, survivesIdle }
}

/**
 * Runs another client: a shell command that brings a tunnel up and stays, or leaves it behind.
 * @param command for `sh -c`
 * @param patienceS how long it may take
 */
export async function tryClient(lab: Lab, command: string, patienceS: number): Promise<SeenClient> {
  const startedAt = performance.now()
  const client = lab.start('client', ['sh', '-c', command])
  const waiting = lab.tool(['await', INNER_ADDRESS, String(patienceS)])
  // Whoever gives up has no tunnel; whoever leaves with success may have left one behind.
  void client.exited.then((code) => (code === 0 ? undefined : waiting.stop()))
  const line = await result(waiting, (patienceS + 1) * 1000 + SETTLE_MS)
  const pings = line['answered'] === true
  const elapsedMs = Math.round(performance.now() - startedAt)
  const downloads = pings && (await download(lab))
  const exitCode = client.ended ? await client.exited : null
  client.kill('SIGINT')
  await client.stop()
  return {
    exitCode,
    pings,
    downloads,
    elapsedMs,
    said: client.said
  }
}

async function download(lab: Lab): Promise<boolean> {
  return (await result(lab.tool(['fetch', `${lab.bulkUrl}/bytes/${BYTES}`])))['intact'] === true
}

/** The last line of a tool; an empty one when there was none in time. */
async function result(tool: LabProgram, timeoutMs = TRAFFIC_TIMEOUT_MS): Promise<JsonLine> {
  try {
    return await runToEnd(tool, timeoutMs)
  } catch {
    await tool.stop()
    return {}
  }
}
