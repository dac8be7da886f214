import { describe, expect, it } from 'vitest'
import { InnerProbes } from '../../../src/client/inner-probes.ts'
import { PathSize } from '../../../src/client/path-size.ts'
import type { AssignedConfig } from '../../../src/ike/types.ts'
import { addressToBytes } from '../../../src/wire/address.ts'
import { echoRequest } from '../../../src/wire/probe-packets.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const bytes = (text: string): Uint8Array => addressToBytes(text) ?? new Uint8Array(0)

function config(dns: readonly string[]): AssignedConfig {
  const addresses = [
    { address: '10.9.0.5', prefixLength: 32 },
    { address: 'fd09::5', prefixLength: 128 }
  ]
  return { addresses, dns, dnsDomains: [], subnets: [] }
}

function setUp(dns: readonly string[] = ['10.9.0.1']) {
  const probes = new InnerProbes(new SeededRandom(4), new PathSize(new SeededRandom(5)))
  probes.configure(config(dns))
  const ask = (series = 1): Uint8Array[] => {
    let packets: Uint8Array[] = []
    for (let count = 0; count < series; count++) packets = probes.burst().map(({ packet }) => packet)
    return packets
  }
  const pass = (packet: Uint8Array): void => probes.inbound(packet, 0, packet.length)
  return { probes, ask, pass }
}

const isDns = (packet: Uint8Array) => packet[9] === 17 || packet[6] === 17

/** The question as its answer. */
function answerTo(question: Uint8Array): Uint8Array {
  const answer = Uint8Array.from(question)
  answer.set(question.subarray(12, 16), 16)
  answer.set(question.subarray(16, 20), 12)
  if (isDns(question)) answer.set([...question.subarray(22, 24), ...question.subarray(20, 22)], 20)
  else answer[20] = 0
  return answer
}

/** Any packet between two hosts. */
const packet = (source: string, destination: string): Uint8Array =>
  echoRequest({ source: bytes(source), destination: bytes(destination), identifier: 0, sequence: 0 })

describe('questions to those inside', () => {
  it('go to the name server, and to the first router on the way to it', () => {
    const { ask } = setUp()
    const [query, hop, ...others] = ask()
    expect(others).toEqual([])
    expect(query?.subarray(16, 20)).toEqual(bytes('10.9.0.1'))
    expect(isDns(query ?? new Uint8Array(40))).toBe(true)
    expect([hop?.[8], hop?.[9]]).toEqual([1, 1])
  })

  it('use the family in which there is an address of ours', () => {
    const { probes, ask } = setUp(['fd09::1', '10.9.0.1'])
    expect(ask()[0]?.[0]).toBe(0x60)
    const onlyV4 = { ...config(['fd09::1', '10.9.0.1']), addresses: config([]).addresses.slice(0, 1) }
    probes.configure(onlyV4)
    expect(ask()[0]?.[0]).toBe(0x45)
  })

  it('go to whoever was heard last, where there is no name server', () => {
    const { probes, ask, pass } = setUp([])
    expect(ask()).toEqual([])
    // As it comes: in a buffer that is used again.
    const buffer = Buffer.from(packet('10.0.7.7', '10.9.0.5'))
    pass(buffer)
    buffer.fill(0xff)
    probes.begin()
    expect(ask().map((question) => [question[8], question.slice(16, 20)])).toEqual([
      [1, bytes('10.0.7.7')],
      [64, bytes('10.0.7.7')]
    ])
  })
})

describe('a witness', () => {
  it('is nobody who never answered', () => {
    const { probes, ask } = setUp()
    probes.begin()
    ask(5)
    expect(probes.witness).toBe('none')
  })

  it('is silent after three questions, if it used to answer', () => {
    const { probes, ask, pass } = setUp()
    probes.begin()
    const [query] = ask()
    pass(answerTo(query ?? new Uint8Array(40)))
    expect(probes.witness).toBe('answers')
    probes.begin()
    ask(2)
    expect(probes.witness).toBe('answers')
    ask()
    expect(probes.witness).toBe('silent')
    pass(answerTo(ask()[0] ?? new Uint8Array(40)))
    expect(probes.witness).toBe('answers')
  })

  it('may be the router that says that the hop limit was exceeded', () => {
    const { probes, ask, pass } = setUp()
    const question = ask()[1] ?? new Uint8Array(28)
    const error = new Uint8Array(28 + question.length)
    error.set(packet('10.0.0.1', '10.9.0.5'))
    error.set([0, error.length], 2)
    error[20] = 11
    error.set(question, 28)
    pass(error)
    expect(probes.witness).toBe('answers')
  })

  it('is not believed about a silence before the one at hand', () => {
    const { probes, ask, pass } = setUp()
    pass(answerTo(ask()[0] ?? new Uint8Array(40)))
    probes.begin()
    ask(3)
    probes.begin()
    expect(probes.witness).toBe('answers')
  })

  it('is none any more when others were heard while it was silent', () => {
    const { probes, ask, pass } = setUp()
    pass(answerTo(ask()[0] ?? new Uint8Array(40)))
    probes.begin()
    ask(3)
    probes.tick()
    pass(packet('10.0.7.7', '10.9.0.5'))
    probes.begin()
    ask(3)
    expect(probes.witness).toBe('none')
  })

  it('is forgotten when no path does better', () => {
    const { probes, ask, pass } = setUp()
    pass(answerTo(ask()[0] ?? new Uint8Array(40)))
    probes.begin()
    ask(3)
    probes.disbelieve()
    expect(probes.witness).toBe('none')
  })

  it('counts only while there is nobody better: a host in conversation that falls silent altogether', () => {
    const { probes, ask, pass } = setUp([])
    pass(packet('10.0.7.7', '10.9.0.5'))
    probes.begin()
    const talk = (to: string) => {
      for (let tick = 0; tick < 4; tick++) {
        probes.tick()
        probes.outbound(packet('10.9.0.5', to), 0)
      }
    }
    talk('10.0.8.8')
    ask(3)
    expect(probes.witness).toBe('none')
    talk('10.0.7.7')
    expect(probes.witness).toBe('silent')
    probes.tick()
    pass(packet('10.0.9.9', '10.9.0.5'))
    expect(probes.witness).toBe('none')
  })
})

describe('what is counted against a path', () => {
  it('is the name server at first, then whoever has answered', () => {
    const { probes, pass } = setUp()
    expect(probes.burst().map(({ counts }) => counts)).toEqual([true, false])
    probes.disbelieve()
    expect(probes.burst().map(({ counts }) => counts)).toEqual([false, false])
    for (const { packet: question } of probes.burst()) pass(answerTo(question))
    expect(probes.burst().map(({ counts }) => counts)).toEqual([true, true])
  })
})
