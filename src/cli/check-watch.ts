/**
 * `ikestream check --watch`: checks again and again, and tells what has changed.
 * @module
 */
import type { CheckDocument } from '../check/document.ts'
import type { Reporter } from './reporter.ts'

/** Far enough apart that a gateway has forgotten one check's half-open IKE SA by the next (30 s is common). */
export const DEFAULT_WATCH_S = 30

/**
 * What would have to be different for somebody to be told: not figures, which always are.
 */
export function stateOf({ verdict, findings, udp, streams, portal, network, dns }: CheckDocument): string {
  return JSON.stringify([
    verdict.code,
    verdict.exitCode,
    verdict.best === null ? null : [verdict.best.transport, verdict.best.via, verdict.best.address],
    findings.map(({ code }) => code).sort(),
    udp.map(({ address, ike, natT, nat }) => [address, ike.outcome, natT.outcome, nat?.present ?? null]),
    streams.map(({ transport, via, address, outcome }) => [transport, via, address, outcome]),
    [portal.state, portal.url],
    [network?.ipv4.address ?? null, network?.ipv6.address ?? null],
    dns === null ? null : [dns.outcome, dns.honesty, dns.addresses.map(({ address }) => address).sort()]
  ])
}

/**
 * Runs until the signal; every failure but that of a whole check is part of a document.
 * @param show tells one document that differs from the one before
 * @returns the exit code: 0 once it has seen anything, since it was ended as it was meant to be
 */
export async function watchChecks(
  run: () => Promise<CheckDocument>,
  show: (document: CheckDocument, isFirst: boolean) => void,
  intervalMs: number,
  signal: AbortSignal
): Promise<void> {
  let last: string | undefined
  while (!signal.aborted) {
    const startedAt = performance.now()
    const document = await run()
    if (signal.aborted) return
    const state = stateOf(document)
    if (state !== last) show(document, last === undefined)
    last = state
    await pause(Math.max(0, intervalMs - (performance.now() - startedAt)), signal)
  }
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve()
      return
    }
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, delayMs)
    signal.addEventListener('abort', done, { once: true })
  })
}

/** A later document, in one line. */
export function changeLine({ time, verdict }: CheckDocument, reporter: Reporter): string {
  const at = new Date(time).toTimeString().slice(0, 8)
  return `${at}  ${reporter.resultMark(verdict.works ? 'ok' : 'bad')} ${verdict.sentence}`
}
