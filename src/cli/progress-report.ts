/**
 * Shows a session's events: as JSON lines with `--json`, else as lines for people with a spinner in between.
 * @module
 */
import type { ClientEvent, ConnectedEvent, RungEvent } from '../client/events.ts'
import type { Reporter } from './reporter.ts'
import { bytes, duration } from './units.ts'

export const TRANSPORT_NAMES = { udp: 'UDP', tcp: 'TCP', tls: 'TLS' } as const

export class ProgressReport {
  readonly #reporter: Reporter
  /** Failures that were told since something last worked: an outage may last for hours. */
  readonly #failures = new Set<string>()

  constructor(reporter: Reporter) {
    this.#reporter = reporter
  }

  show(event: ClientEvent): void {
    if (event.event === 'liveness') {
      if (this.#reporter.options.verbose) this.#reporter.event({ ...event })
      return
    }
    this.#reporter.event({ ...event })
    this.#tell(event)
  }

  stop(): void {
    this.#reporter.stop()
  }

  #tell(event: Exclude<ClientEvent, { event: 'liveness' }>): void {
    const reporter = this.#reporter
    if (event.event !== 'rung' && event.event !== 'rekeyed') this.#failures.clear()
    switch (event.event) {
      case 'rung':
        this.#rung(event)
        return
      case 'connected':
        reporter.stop()
        for (const line of connectedLines(event)) reporter.line(line, 'ok')
        this.#warnOfTls(event)
        return
      case 'path-changed': {
        const { from, to, reason, outageMs } = event
        reporter.stop()
        const move =
          from === to ? `back on ${TRANSPORT_NAMES[to]}` : `${TRANSPORT_NAMES[from]} → ${TRANSPORT_NAMES[to]}`
        reporter.line(`${move} (${reason}), outage ${outageMs} ms`, 'ok')
        return
      }
      case 'rekeyed':
        if (reporter.options.verbose) reporter.line(`${event.what === 'ike' ? 'IKE' : 'Child'} SA rekeyed`)
        return
      case 'reconnecting':
        reporter.line(
          `reconnecting (${event.reason}): trying every path until the gateway is back; connections inside are kept`,
          'warn'
        )
        reporter.update('Reconnecting')
        return
      case 'redirected':
        reporter.line(`the gateway at ${event.from} sends us to ${event.to}`)
        return
      case 'resumed':
        reporter.line(`resumed the session with ${event.gateway}, without authentication`, 'ok')
        return
      case 'portal':
        reporter.line(`${event.message} ${event.hint ?? ''}`.trimEnd(), 'warn')
        return
      case 'disconnected':
        reporter.stop()
        reporter.line(
          `disconnected (${event.reason}) after ${duration(event.durationMs)}, ${bytes(event.bytesIn)} in, ${bytes(event.bytesOut)} out`
        )
    }
  }

  /** Somebody in the middle shows up here; a gateway with a certificate of its own making does, too. */
  #warnOfTls({ outerTls }: ConnectedEvent): void {
    if (outerTls === null || outerTls.authorized) return
    const issuer = outerTls.issuer === '' ? '' : ` from ${outerTls.issuer}`
    this.#reporter.line(
      `the outer TLS certificate${issuer} is not trusted here (${outerTls.problem}); IKE has authenticated the gateway all the same`,
      'warn'
    )
  }

  #rung({ transport, via, address, outcome, reason, message, elapsedMs }: RungEvent): void {
    const name = `${TRANSPORT_NAMES[transport]}${via === null ? '' : ` through ${via}`}`
    const at = `${(elapsedMs / 1000).toFixed(2)} s`
    if (outcome === 'trying') this.#reporter.update(`Trying ${name} to ${address}`)
    else if (outcome === 'answered') this.#reporter.line(`${name}: the gateway answers (${at})`, 'ok')
    else if (outcome === 'failed' && !this.#failures.has(`${name} ${address} ${reason}`)) {
      this.#failures.add(`${name} ${address} ${reason}`)
      this.#reporter.line(`${name}: ${message ?? reason} (${at})`, 'bad')
    }
  }
}

function connectedLines(event: ConnectedEvent): string[] {
  const dns = event.dns.length === 0 ? '' : `, DNS ${event.dns.join(', ')}`
  return [
    `connected over ${TRANSPORT_NAMES[event.transport]} to ${event.gatewayId} in ${(event.elapsedMs / 1000).toFixed(2)} s`,
    `${event.interface}: ${event.virtualIps.join(', ')}, MTU ${event.mtu}${dns}`,
    `through the tunnel: ${event.remoteTs.join(', ')}; ${event.espSuite}`
  ]
}
