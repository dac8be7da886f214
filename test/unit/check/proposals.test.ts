import { describe, expect, it } from 'vitest'
import type { InitAsker, Question } from '../../../src/check/init-asker.ts'
import { type InitAnswer, InitProbe } from '../../../src/check/init-probe.ts'
import { findProposals, type ProposalEvidence } from '../../../src/check/proposals.ts'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import type { ResponderConfig } from '../../../src/ike/types.ts'
import { InitGateway } from '../../support/init-gateway.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const GATEWAY = { address: '203.0.113.7', port: 4500 }

/** Asks a gateway in memory; falls silent after so many questions. */
class MemoryAsker implements Pick<InitAsker, 'ask' | 'asked'> {
  readonly gateway: InitGateway
  asked = 0
  readonly #patience: number

  constructor(config: Partial<ResponderConfig>, patience = Number.POSITIVE_INFINITY) {
    this.gateway = new InitGateway({ address: '10.0.0.2', port: 4000 }, GATEWAY, config)
    this.#patience = patience
  }

  ask(question: Question): Promise<InitAnswer | undefined> {
    if (++this.asked > this.#patience) return Promise.resolve(undefined)
    const probe = new InitProbe({ ...question, remote: GATEWAY }, new SeededRandom(this.asked))
    for (;;) {
      const [bytes] = this.gateway.answer(probe.message)
      const outcome = probe.receive(bytes ?? new Uint8Array(0))
      if (outcome.type !== 'again')
        return Promise.resolve(outcome.type === 'answer' ? outcome.answer : undefined)
    }
  }
}

async function find(
  proposals: readonly string[],
  config: Partial<ResponderConfig> = {},
  patience?: number
): Promise<{ readonly found: ProposalEvidence; readonly asker: MemoryAsker }> {
  const asker = new MemoryAsker({ ikeProposals: parseProposals(proposals, 'ike'), ...config }, patience)
  return { found: await findProposals(asker as unknown as InitAsker), asker }
}

describe('finding out what a gateway accepts', () => {
  it('finds exactly what is configured, and leaves nothing half-open', async () => {
    const { found, asker } = await find([
      'aes128gcm16-prfsha256-prfsha384-ecp256-x25519',
      'aes256-sha256-sha512-prfsha256-modp2048'
    ])
    expect(found.suites).toEqual([
      {
        encryption: 'aes128gcm16',
        integrities: [],
        prfs: ['prfsha384', 'prfsha256'],
        groups: ['x25519', 'ecp256'],
        preferredGroup: expect.stringMatching(/x25519|ecp256/)
      },
      {
        encryption: 'aes256',
        integrities: ['sha512', 'sha256'],
        prfs: ['prfsha256'],
        groups: ['modp2048'],
        preferredGroup: 'modp2048'
      }
    ])
    expect(found.complete).toBe(true)
    expect(found.questions).toBe(asker.asked)
    expect(asker.gateway.responder.halfOpen).toBe(0)
  })

  it('recommends what it has found in words that --ike-proposal takes', async () => {
    const { found } = await find(['aes256-sha256-modp2048'])
    expect(found.recommended).toBe('aes256-sha256-prfsha256-modp2048')
    expect(parseProposals([found.recommended ?? ''], 'ike')).toHaveLength(1)
  })

  it('is not turned away by cookies', async () => {
    const { found } = await find(['aes256gcm16-prfsha512-x448'], { cookies: 'always' })
    expect(found.recommended).toBe('aes256gcm16-prfsha512-x448')
  })

  it('says that it is not done when the gateway falls silent', async () => {
    const { found } = await find(['aes256gcm16-prfsha512-x25519'], {}, 5)
    expect(found.complete).toBe(false)
    expect(found.questions).toBe(6)
  })

  it('recommends nothing where nothing is spoken by both', async () => {
    const { found } = await find(['aes192gcm16-prfsha1-x25519'], { ikeProposals: [] })
    expect(found).toMatchObject({ suites: [], recommended: null, complete: true })
  })
})
