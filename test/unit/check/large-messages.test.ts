import { describe, expect, it } from 'vitest'
import type { InitProbe } from '../../../src/check/init-probe.ts'
import { askLargeMessages, type LargeMessageAsker } from '../../../src/check/large-messages.ts'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import type { LargeMessageEvidence } from '../../../src/diagnosis/evidence.ts'
import type { Fragmentation } from '../../../src/transport/probe-socket.ts'
import { InitGateway } from '../../support/init-gateway.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const CLIENT = { address: '10.0.0.2', port: 4000 }
const GATEWAY = { address: '203.0.113.7', port: 4500 }
const OVERHEAD = 32

interface Path {
  readonly rttMs: number
  readonly mtu?: number
  readonly fragmentsPass?: boolean
  /** The first so many datagrams of a fragmented message are lost by chance. */
  readonly lostFragments?: number
}

/** A path in memory to a gateway in memory. */
class MemoryPath implements LargeMessageAsker {
  readonly overhead = OVERHEAD
  readonly announcedMtu: number | undefined = undefined
  readonly socket = {
    local: CLIENT,
    remote: GATEWAY,
    overhead: 28,
    linkMtu: 1500,
    setHandlers: () => {},
    send: () => true,
    close: () => {}
  }
  readonly #clock: VirtualClock
  readonly #path: Path
  readonly #gateway = new InitGateway(CLIENT, GATEWAY)
  readonly #listeners = new Map<InitProbe, Parameters<LargeMessageAsker['listen']>[1]>()
  #lost = 0

  constructor(clock: VirtualClock, path: Path) {
    this.#clock = clock
    this.#path = path
  }

  listen(probe: InitProbe, listener: Parameters<LargeMessageAsker['listen']>[1]): void {
    this.#listeners.set(probe, listener)
  }

  forget(probe: InitProbe): void {
    this.#listeners.delete(probe)
  }

  send(probe: InitProbe, fragmentation: Fragmentation = 'allowed'): boolean {
    const { rttMs, mtu = 1500, fragmentsPass = true, lostFragments = 0 } = this.#path
    const isFragmented = probe.message.length + OVERHEAD > 1500
    if (isFragmented && (!fragmentsPass || this.#lost++ < lostFragments)) return true
    if (fragmentation === 'never' && probe.message.length + OVERHEAD > mtu) return true
    const [answer] = this.#gateway.answer(probe.message)
    this.#clock.setTimer(rttMs, () => {
      const outcome = answer === undefined ? undefined : probe.receive(answer)
      if (outcome !== undefined && outcome.type !== 'ignored') this.#listeners.get(probe)?.(outcome)
    })
    return true
  }
}

async function ask(path: Path, withinMs = 5_000): Promise<LargeMessageEvidence | null> {
  const clock = new VirtualClock()
  const tooLate = new AbortController()
  clock.setTimer(withinMs, () => tooLate.abort())
  const asked = askLargeMessages(new MemoryPath(clock, path), {
    clock,
    random: new SeededRandom(1),
    signal: tooLate.signal,
    proposals: parseProposals(['aes256gcm16-prfsha256-ecp256'], 'ike'),
    rttMs: path.rttMs
  })
  let result: LargeMessageEvidence | null | undefined
  void asked.then((value) => {
    result = value
  })
  await clock.until(() => result !== undefined, withinMs + 1_000)
  return asked
}

describe('large messages', () => {
  it('pass in one piece and in fragments on an open path', async () => {
    expect(await ask({ rttMs: 20 })).toMatchObject({ pathMtu: 1500, fragments: 'pass', linkMtu: 1500 })
  })

  it('are found to be lost where they are', async () => {
    expect(await ask({ rttMs: 20, fragmentsPass: false })).toMatchObject({ pathMtu: 1500, fragments: 'lost' })
    expect(await ask({ rttMs: 20, mtu: 1400 })).toMatchObject({ pathMtu: 1400, fragments: 'pass' })
  })

  it('are waited for as long as the way is', async () => {
    for (const rttMs of [400, 600, 900])
      expect(await ask({ rttMs, lostFragments: 1 }), `${rttMs} ms`).toMatchObject({ fragments: 'pass' })
  })

  it('are not said to be lost when there was no time for an answer', async () => {
    const hurried = await ask({ rttMs: 600, fragmentsPass: false }, 1_500)
    expect(hurried).toMatchObject({ pathMtu: 1500, fragments: 'unknown' })
    expect(hurried?.probes.filter(({ fragmented }) => fragmented)).toEqual([])
    expect(await ask({ rttMs: 600, mtu: 1400 }, 1_500)).toBeNull()
    expect(await ask({ rttMs: 600, fragmentsPass: false })).toMatchObject({ fragments: 'lost' })
  })
})
