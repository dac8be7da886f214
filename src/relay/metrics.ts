/**
 * Counters of a relay, in Prometheus' text format (version 0.0.4). Per-packet code holds its counters and adds to
 * their `value`; nothing is looked up or allocated there.
 * @module
 */
import { createServer, type Server } from 'node:http'
import type { Logger } from '../log.ts'
import type { Facility } from '../native/speedups.ts'
import { closeServer, listenOn, type StreamListener } from '../transport/stream-server.ts'
import type { Endpoint } from '../wire/endpoint.ts'

/** Why a stream ended. */
export type StreamEnd =
  | 'client-closed'
  | 'client-reset'
  | 'prefix-timeout'
  | 'wrong-prefix'
  | 'bad-frame-length'
  | 'corrupted'
  | 'first-message-timeout'
  | 'frame-timeout'
  | 'idle'
  | 'queue-full'
  | 'stalled'
  | 'target-unreachable'
  | 'no-socket'
  | 'fallback'
  | 'shutdown'

export interface Counter {
  value: number
}

interface Family {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  readonly samples: Map<string, Counter>
}

type Labels = Readonly<Record<string, string>>

export type Direction = 'to-server' | 'to-client'

/** What is counted for each packet of one direction. */
export interface DirectionCounters {
  readonly ike: Counter
  readonly esp: Counter
  readonly bytes: Counter
  readonly espDropped: Counter
  readonly keepalives: Counter
  readonly malformed: Counter
}

export class RelayMetrics {
  readonly #families: Family[] = []
  readonly connectionsOpen = this.#gauge('connections_open', 'Connections that are open now')
  readonly #connections = this.#family('connections_total', 'Connections accepted, by kind of listener')
  readonly #refused = this.#family('connections_refused_total', 'Connections closed at once, by reason')
  readonly #streams = this.#family(
    'streams_total',
    'Streams relayed, by who reads and writes them: ikestream directly, or Node and why'
  )
  readonly #ended = this.#family('streams_ended_total', 'Streams that ended, by reason')
  readonly #targetErrors = this.#family(
    'target_errors_total',
    'Errors of the way to the target, such as ICMP'
  )
  readonly #packets = this.#family('packets_total', 'Messages relayed, by direction and kind')
  readonly #bytes = this.#family('bytes_total', 'Bytes of messages relayed, by direction')
  readonly #espDropped = this.#family(
    'esp_dropped_total',
    'ESP packets dropped because the receiver was too slow'
  )
  readonly #keepalives = this.#family('keepalives_dropped_total', 'NAT-keepalives dropped, by direction')
  readonly #malformed = this.#family('malformed_total', 'Frames and datagrams that were neither IKE nor ESP')
  readonly toServer = this.#direction('to-server')
  readonly toClient = this.#direction('to-client')

  connected(listener: 'tcp' | 'tls'): void {
    sample(this.#connections, { listener }).value++
  }
  refused(reason: string): void {
    sample(this.#refused, { reason }).value++
  }
  relayed({ inUse, why }: Facility): void {
    sample(this.#streams, inUse ? { path: 'direct' } : { path: 'node', why: why ?? '' }).value++
  }
  ended(reason: StreamEnd): void {
    sample(this.#ended, { reason }).value++
  }
  targetError(code: string): void {
    sample(this.#targetErrors, { code }).value++
  }

  /** The exposition text. */
  format(): string {
    let text = ''
    for (const { name, help, type, samples } of this.#families) {
      const full = `ikestream_relay_${name}`
      text += `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n`
      for (const [labels, { value }] of samples) text += `${full}${labels} ${value}\n`
    }
    return text
  }

  #direction(direction: Direction): DirectionCounters {
    return {
      ike: sample(this.#packets, { direction, kind: 'ike' }),
      esp: sample(this.#packets, { direction, kind: 'esp' }),
      bytes: sample(this.#bytes, { direction }),
      espDropped: sample(this.#espDropped, { direction }),
      keepalives: sample(this.#keepalives, { direction }),
      malformed: sample(this.#malformed, { direction })
    }
  }

  #gauge(name: string, help: string): Counter {
    return sample(this.#family(name, help, 'gauge'), {})
  }

  #family(name: string, help: string, type: Family['type'] = 'counter'): Family {
    const family: Family = { name, help, type, samples: new Map() }
    this.#families.push(family)
    return family
  }
}

function sample(family: Family, labels: Labels): Counter {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  const key = pairs.length === 0 ? '' : `{${pairs.join(',')}}`
  const existing = family.samples.get(key)
  if (existing !== undefined) return existing
  const counter: Counter = { value: 0 }
  family.samples.set(key, counter)
  return counter
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

/** An HTTP server that answers `GET /metrics`. */
export class MetricsServer {
  readonly listening: Endpoint
  readonly #server: Server

  private constructor(server: Server, listening: Endpoint) {
    this.#server = server
    this.listening = listening
  }

  /** @throws SystemError `listen-failed` */
  static async open(
    metrics: RelayMetrics,
    at: Pick<StreamListener, 'address' | 'port'>,
    log: Logger
  ): Promise<MetricsServer> {
    const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
      if (request.method !== 'GET' || request.url !== '/metrics') {
        response.writeHead(404).end()
        return
      }
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(metrics.format())
    })
    return new MetricsServer(server, await listenOn(server, at, log))
  }

  async close(): Promise<void> {
    const closed = closeServer(this.#server)
    this.#server.closeAllConnections()
    await closed
  }
}
