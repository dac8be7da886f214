/**
 * A virtual network for the ladder: what each rung would do, played on a virtual clock.
 * @module
 */
import type { IkestreamError } from '../../../src/errors.ts'
import { Ladder } from '../../../src/transport/ladder.ts'
import type {
  LadderInput,
  LadderOutput,
  LadderTimings,
  Rung,
  RungReport
} from '../../../src/transport/ladder-types.ts'
import type { TransportFailure, TransportFailureCode } from '../../../src/transport/types.ts'
import type { TransportKind } from '../../../src/wire/endpoint.ts'

/** Each step takes so long; undefined: never; a code: fails with it after `afterMs` (or at once). */
type Step = number | undefined | { readonly fail: TransportFailureCode; readonly afterMs?: number }
export interface Behaviour {
  readonly open?: Step
  readonly init?: Step
  /** From the answer to IKE_SA_INIT on: the first message of IKE_AUTH, and being established. */
  readonly progress?: Step
  readonly auth?: Step | { readonly error: IkestreamError; readonly afterMs?: number }
  readonly esp?: 'passes' | 'silent' | undefined
  /** The peer closes a connection that has been silent for this long. */
  readonly idleCloseMs?: number
}
export type Network = (transport: TransportKind, address: string) => Behaviour

export const good: Behaviour = { open: 0, init: 10, auth: 10, esp: 'passes' }
export const dropped: Behaviour = { open: undefined }
export const refused: Behaviour = { open: { fail: 'connection-refused' } }
export const udpDropped: Behaviour = { open: 0 }
export const udpUnreachable: Behaviour = { open: 0, init: { fail: 'port-unreachable' } }

export interface Result {
  readonly timeline: readonly { readonly at: number; readonly output: LadderOutput }[]
  readonly chosen: readonly {
    readonly at: number
    readonly rung: Rung
    readonly probeLater: readonly string[]
  }[]
  readonly exhausted: { readonly at: number; readonly reports: readonly RungReport[] } | undefined
  readonly fatal: { readonly at: number; readonly error: IkestreamError } | undefined
  readonly ladder: Ladder
  /** `transport address outcome reason` in order, with the time. */
  readonly story: readonly string[]
}

interface Scheduled {
  readonly at: number
  readonly order: number
  readonly run: (now: number) => void
}

export function simulate(
  input: LadderInput,
  network: Network,
  options: { timings?: Partial<LadderTimings>; untilMs?: number } = {}
): Result {
  const ladder = new Ladder(options.timings)
  const queue: Scheduled[] = []
  /** Events of an earlier connection or IKE session of a rung must not reach a later one. */
  const connection = new Map<number, number>()
  const session = new Map<number, number>()
  const timeline: { at: number; output: LadderOutput }[] = []
  let sequence = 0
  let now = 0
  const later = (delayMs: number, run: (at: number) => void) =>
    queue.push({ at: now + delayMs, order: sequence++, run })
  const bump = (map: Map<number, number>, id: number) => map.set(id, (map.get(id) ?? 0) + 1)
  const guarded = (map: Map<number, number>, id: number, delayMs: number, run: (at: number) => void) => {
    const value = map.get(id)
    later(delayMs, (at) => {
      if (map.get(id) === value) run(at)
    })
  }

  const step = (
    map: Map<number, number>,
    rung: Rung,
    what: Step | undefined,
    done: (at: number) => void,
    failed: (at: number, failure: TransportFailure) => void
  ) => {
    if (what === undefined) return
    if (typeof what === 'number') guarded(map, rung.id, what, done)
    else guarded(map, rung.id, what.afterMs ?? 0, (at) => failed(at, { code: what.fail, message: what.fail }))
  }

  const speakIke = (rung: Rung) => {
    const behaviour = network(rung.transport, rung.address)
    step(
      session,
      rung,
      behaviour.init,
      (at) => {
        ladder.ikeAnswered(at, rung.id)
        step(
          session,
          rung,
          behaviour.progress,
          (t) => ladder.ikeProgress(t, rung.id),
          () => undefined
        )
        const { auth } = behaviour
        if (typeof auth === 'object' && 'error' in auth)
          guarded(session, rung.id, auth.afterMs ?? 0, (t) => ladder.ikeFailed(t, rung.id, auth.error))
        else
          step(
            session,
            rung,
            auth,
            (t) => ladder.ikeEstablished(t, rung.id),
            (t, failure) => ladder.ikeFailed(t, rung.id, failure)
          )
      },
      (at, failure) => ladder.closed(at, rung.id, failure)
    )
  }

  const handle = (output: LadderOutput) => {
    timeline.push({ at: now, output })
    if (output.type === 'open') {
      const { rung } = output
      bump(connection, rung.id)
      const behaviour = network(rung.transport, rung.address)
      step(
        connection,
        rung,
        behaviour.open,
        (at) => {
          ladder.opened(at, rung.id)
          if (behaviour.idleCloseMs === undefined) return
          const before = session.get(rung.id)
          guarded(connection, rung.id, behaviour.idleCloseMs, (t) => {
            if (session.get(rung.id) !== before) return
            bump(connection, rung.id)
            ladder.closed(t, rung.id, { code: 'closed-by-peer', message: 'closed' })
          })
        },
        (at, failure) => ladder.openFailed(at, rung.id, failure)
      )
    } else if (output.type === 'start-ike') {
      bump(session, output.rung.id)
      speakIke(output.rung)
    } else if (output.type === 'abandon-ike') bump(session, output.rung.id)
    else if (output.type === 'close') {
      bump(connection, output.rung.id)
      bump(session, output.rung.id)
    } else if (output.type === 'chosen') {
      const { rung } = output
      const { esp } = network(rung.transport, rung.address)
      if (esp === 'passes') guarded(session, rung.id, 50, (at) => ladder.espConfirmed(at, rung.id))
      if (esp === 'silent') guarded(session, rung.id, 2500, (at) => ladder.espSilent(at, rung.id))
    }
  }
  const drain = () => {
    for (let output = ladder.poll(); output !== undefined; output = ladder.poll()) handle(output)
  }

  ladder.start(0, input)
  drain()
  const untilMs = options.untilMs ?? 120_000
  for (let turns = 0; ; turns++) {
    if (turns > 10_000) throw new Error('the ladder does not come to rest')
    queue.sort((a, b) => a.at - b.at || a.order - b.order)
    const next = queue[0]
    const timer = ladder.nextTimeout()
    if (timer !== undefined && timer <= now - 1) throw new Error(`a timer in the past: ${timer} at ${now}`)
    const at = Math.min(next?.at ?? Infinity, timer ?? Infinity)
    if (at === Infinity || at > untilMs) break
    now = Math.max(now, at)
    if (next !== undefined && next.at <= now) {
      queue.shift()
      next.run(now)
    } else ladder.timeout(now)
    drain()
  }
  return summarise(ladder, timeline)
}

function summarise(ladder: Ladder, timeline: readonly { at: number; output: LadderOutput }[]): Result {
  const chosen = []
  const story: string[] = []
  let exhausted: Result['exhausted']
  let fatal: Result['fatal']
  for (const { at, output } of timeline) {
    if (output.type === 'chosen') chosen.push({ at, rung: output.rung, probeLater: output.probeLater })
    if (output.type === 'exhausted') exhausted = { at, reports: output.reports }
    if (output.type === 'fatal') fatal = { at, error: output.error }
    if (output.type === 'report')
      story.push(
        `${at} ${output.rung.transport} ${output.rung.address} ${output.outcome}${output.reason === null ? '' : ` ${output.reason}`}`
      )
  }
  return { timeline, chosen, exhausted, fatal, ladder, story }
}
