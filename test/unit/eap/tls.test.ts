import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  type CertifiedKey,
  createCertificateAuthority,
  issueCertificate,
  issueClientCertificate,
  issueServerCertificate
} from '../../../src/crypto/certificate-authority.ts'
import { der, derOid, derSequence, derUtf8 } from '../../../src/crypto/der.ts'
import type { EapTlsCredentials } from '../../../src/ike/auth/types.ts'
import { EapPeer } from '../../../src/ike/eap/peer.ts'
import { EapServer } from '../../../src/ike/eap/server.ts'
import {
  MAX_TLS_FLIGHT_LENGTH,
  TLS_FRAGMENT_LENGTH,
  TlsFragments
} from '../../../src/ike/eap/tls-fragments.ts'
import { certificateUserNames, eapTlsIdentity } from '../../../src/ike/eap/tls-identity.ts'
import { EapType } from '../../../src/wire/ike-constants.ts'
import { converse, hexOf, seededRandom, settle } from './support.ts'

const SEED = 20_260_103
const DAY_MS = 86_400_000
// TLS compares with the machine's clock, so the validity is built around it.
const validity = { notBeforeMs: Date.now() - DAY_MS, notAfterMs: Date.now() + DAY_MS }
const expired = { notBeforeMs: Date.now() - 2 * DAY_MS, notAfterMs: Date.now() - DAY_MS }

type Options = Partial<EapTlsCredentials>

let authority: CertifiedKey
let stranger: CertifiedKey
let server: CertifiedKey
let client: CertifiedKey

beforeAll(() => {
  authority = createCertificateAuthority('Test CA', validity)
  stranger = createCertificateAuthority('Other CA', validity)
  server = issueServerCertificate(authority, ['radius.example'], validity, 'rsa')
  client = issueClientCertificate(authority, ['alice@example.com'], validity, 'rsa')
})

function credentials(own: CertifiedKey, trusted: CertifiedKey, options: Options = {}): EapTlsCredentials {
  return {
    // The authority is sent along, as many deployments do: two RSA certificates need fragments.
    certificateChain: own.certificatePem + authority.certificatePem,
    privateKey: own.privateKeyPem,
    trustAnchors: [trusted.certificatePem],
    ...options
  }
}

function makePeer(tls: EapTlsCredentials, user = 'alice@example.com'): EapPeer {
  return new EapPeer({ user, tls }, seededRandom('peer'))
}

function makeServer(tls: EapTlsCredentials, methods: number[] = [EapType.TLS]): EapServer {
  return new EapServer({ methods, passwordOf: () => undefined, tls }, seededRandom('server'))
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('EAP-TLS over %s', (maxTlsVersion) => {
  it('succeeds in fragments, with one MSK and a proven identity on both ends', async () => {
    const eapServer = makeServer(credentials(server, authority, { maxTlsVersion }))
    const peer = makePeer(credentials(client, authority, { serverName: 'radius.example' }))
    const { peer: peerEnd, server: serverEnd, packets } = await converse(peer, eapServer)
    expect(serverEnd).toMatchObject({ kind: 'success' })
    expect(peerEnd).toMatchObject({ kind: 'success' })
    if (peerEnd.kind !== 'success' || serverEnd.kind !== 'success') return
    expect(peerEnd.msk).toHaveLength(64)
    expect(hexOf(peerEnd.msk)).toBe(hexOf(serverEnd.msk))
    expect(hexOf(peerEnd.msk)).not.toBe('00'.repeat(64))
    expect(eapServer.identity).toBe('alice@example.com')
    expect(packets.every((packet) => packet.length <= TLS_FRAGMENT_LENGTH + 10)).toBe(true)
    const moreFragments = packets.filter(
      (packet) => packet[4] === EapType.TLS && ((packet[5] ?? 0) & 0x40) !== 0
    )
    expect(moreFragments.length).toBeGreaterThan(1)
  })

  it('ends on both sides when the client has no certificate that the server trusts', async () => {
    const unknown = issueClientCertificate(stranger, ['alice@example.com'], validity)
    const outcome = await converse(
      makePeer(credentials(unknown, authority)),
      makeServer(credentials(server, authority, { maxTlsVersion }))
    )
    expect(outcome.server).toMatchObject({ kind: 'failure', error: { code: 'eap-tls-failed' } })
    expect(outcome.peer.kind).toBe('failure')
  })

  it('ends on both sides when the client certificate has expired', async () => {
    const old = issueClientCertificate(authority, ['alice@example.com'], expired)
    const outcome = await converse(
      makePeer(credentials(old, authority)),
      makeServer(credentials(server, authority, { maxTlsVersion }))
    )
    expect(outcome.server).toMatchObject({ kind: 'failure', error: { code: 'eap-tls-failed' } })
    expect(outcome.peer.kind).toBe('failure')
  })

  it.each([
    ['is not trusted', () => credentials(client, stranger)],
    ['carries another name', () => credentials(client, authority, { serverName: 'other.example' })]
  ])('is refused by the peer when the server certificate %s', async (_why, make) => {
    const outcome = await converse(
      makePeer(make()),
      makeServer(credentials(server, authority, { maxTlsVersion }))
    )
    expect(outcome.peer).toMatchObject({ kind: 'failure', error: { code: 'eap-tls-failed' } })
    expect(outcome.server.kind).not.toBe('success')
  })

  it('refuses an EAP-Success injected at any point of the handshake', async () => {
    // Counts the peer's turns until it would accept, then injects before each.
    let acceptedAfter = 0
    for (let turns = 0; acceptedAfter === 0; turns++) {
      const eapServer = makeServer(credentials(server, authority, { maxTlsVersion }))
      const peer = makePeer(credentials(client, authority))
      let packet: Uint8Array = eapServer.start()
      let ended = false
      for (let turn = 0; turn < turns && !ended; turn++) {
        const answer = await settle(peer, peer.receive(packet))
        if (answer.kind !== 'reply') throw new Error(`the peer ended with ${answer.kind}`)
        const next = await settle(eapServer, eapServer.receive(answer.packet))
        if (next.kind === 'pending' || next.packet === undefined) throw new Error(next.kind)
        ended = next.kind === 'success'
        packet = next.packet
      }
      const step = peer.receive(Uint8Array.of(3, packet[1] ?? 0, 0, 4))
      if (ended) acceptedAfter = turns
      if (!ended) expect(step).toMatchObject({ kind: 'failure', error: { code: 'eap-early-success' } })
      else expect(step.kind).toBe('success')
      eapServer.dispose()
    }
    expect(acceptedAfter).toBeGreaterThan(4)
  })
})

describe('EAP-TLS', () => {
  it('is what a peer with a certificate asks for when offered a password method', async () => {
    const eapServer = makeServer(credentials(server, authority), [EapType.MSCHAPV2, EapType.TLS])
    const outcome = await converse(makePeer(credentials(client, authority)), eapServer)
    expect(outcome.server.kind).toBe('success')
    expect(outcome.peer.kind).toBe('success')
  })

  it('takes the identity from the certificate, not from what the peer claims', async () => {
    const eapServer = makeServer(credentials(server, authority))
    const outcome = await converse(makePeer(credentials(client, authority), 'root'), eapServer)
    expect(outcome.server.kind).toBe('success')
    expect(eapServer.identity).toBe('alice@example.com')
  })

  it('says what is wrong with a key that does not belong to the certificate', async () => {
    const mixed = { ...credentials(client, authority), privateKey: server.privateKeyPem }
    const outcome = await converse(makePeer(mixed), makeServer(credentials(server, authority)))
    expect(outcome.peer).toMatchObject({ kind: 'failure', error: { code: 'eap-tls-failed' } })
    if (outcome.peer.kind !== 'failure') return
    expect(`${outcome.peer.error.message} ${outcome.peer.error.hint}`).not.toContain('PRIVATE KEY')
  })

  it('refuses data before the start, and a second start', async () => {
    const early = makePeer(credentials(client, authority))
    expect(early.receive(Uint8Array.of(1, 1, 0, 9, 13, 0, 22, 3, 1))).toMatchObject({
      kind: 'failure',
      error: { code: 'eap-malformed' }
    })
    const twice = makePeer(credentials(client, authority))
    await settle(twice, twice.receive(Uint8Array.of(1, 1, 0, 6, 13, 0x20)))
    expect(twice.receive(Uint8Array.of(1, 2, 0, 6, 13, 0x20))).toMatchObject({ kind: 'failure' })
  })

  it('never lets hostile data throw or succeed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 120 }), { maxLength: 4 }), async (payloads) => {
        const peer = makePeer(credentials(client, authority))
        const eapServer = makeServer(credentials(server, authority))
        const start = eapServer.start()
        let toServer = eapServer.receive(Uint8Array.of(2, start[1] ?? 0, 0, 6, 1, 97))
        await settle(peer, peer.receive(Uint8Array.of(1, 1, 0, 6, 13, 0x20)))
        for (const [index, data] of payloads.entries()) {
          const step = await settle(
            peer,
            peer.receive(Uint8Array.of(1, index + 2, 0, 5 + data.length, 13, ...data))
          )
          expect(step.kind).not.toBe('success')
          if (toServer.kind === 'reply') {
            const response = Uint8Array.of(2, toServer.packet[1] ?? 0, 0, 5 + data.length, 13, ...data)
            toServer = await settle(eapServer, eapServer.receive(response))
          }
          expect(toServer.kind).not.toBe('success')
        }
        peer.dispose()
        eapServer.dispose()
      }),
      { numRuns: 60, seed: SEED }
    )
  })
})

describe('EAP-TLS fragments', () => {
  function transfer(flight: Uint8Array, fragmentLength: number) {
    const sender = new TlsFragments('peer', fragmentLength)
    const receiver = new TlsFragments('server')
    sender.queue(flight)
    for (;;) {
      const input = receiver.receive(sender.next())
      if (input.kind !== 'partial') return input
      // The acknowledgement goes the other way.
      expect(sender.receive(receiver.next())).toEqual({ kind: 'empty' })
    }
  }

  it('carry any flight of any length', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 3000 }),
        fc.integer({ min: 1, max: 1500 }),
        (flight, length) => {
          expect(transfer(flight, length)).toEqual({ kind: 'flight', bytes: flight })
        }
      ),
      { numRuns: 200, seed: SEED }
    )
  })

  it('carry the longest flight', () => {
    const flight = new Uint8Array(MAX_TLS_FLIGHT_LENGTH).fill(7)
    expect(transfer(flight, TLS_FRAGMENT_LENGTH)).toEqual({ kind: 'flight', bytes: flight })
  })

  it.each([
    ['no flags', [[]]],
    ['a length that is cut short', [[0x80, 0, 0]]],
    ['an absurd length', [[0x80, 0xff, 0xff, 0xff, 0xff, 1]]],
    ['more than announced', [[0x80, 0, 0, 0, 1, 1, 2]]],
    ['less than announced', [[0x80, 0, 0, 0, 9, 1, 2]]],
    ['an empty fragment with more to come', [[0x40]]],
    ['an empty fragment in the middle', [[0xc0, 0, 0, 0, 9, 1], [0]]],
    [
      'lengths that differ',
      [
        [0xc0, 0, 0, 0, 9, 1],
        [0xc0, 0, 0, 0, 8, 1]
      ]
    ]
  ])('refuse %s', (_what, packets) => {
    const fragments = new TlsFragments('peer')
    const kinds = packets.map((packet) => fragments.receive(Uint8Array.from(packet)).kind)
    expect(kinds.at(-1)).toBe('malformed')
  })

  it('are bounded without an announced length', () => {
    const fragments = new TlsFragments('peer')
    const packet = new Uint8Array(1025)
    packet[0] = 0x40
    let taken = 0
    while (fragments.receive(packet).kind === 'partial') taken++
    expect(taken).toBe(64)
  })

  it('read the start flag as a peer and ignore it as a server', () => {
    expect(new TlsFragments('peer').receive(Uint8Array.of(0x20))).toEqual({ kind: 'start' })
    expect(new TlsFragments('server').receive(Uint8Array.of(0x20))).toEqual({ kind: 'empty' })
  })
})

describe('the identity of a client certificate', () => {
  const certify = (subject: string, altNames: string[], others?: Uint8Array) =>
    issueCertificate(
      {
        subject,
        ...validity,
        extensions:
          others === undefined
            ? { altNames }
            : { others: [{ oid: '2.5.29.17', critical: false, value: others }] }
      },
      authority
    ).certificate

  it('is the name that the peer claims if the certificate carries it', () => {
    const certificate = certify('Alice', ['alice@example.com', 'laptop.example'])
    expect(eapTlsIdentity(certificate, 'LAPTOP.example')).toBe('LAPTOP.example')
    expect(eapTlsIdentity(certificate, 'Alice')).toBe('Alice')
    expect(eapTlsIdentity(certificate, 'mallory')).toBe('alice@example.com')
  })

  it('prefers a principal name, and falls back to the common name', () => {
    const principal = der(0xa0, derOid('1.3.6.1.4.1.311.20.2.3'), der(0xa0, derUtf8('alice@corp.example')))
    const other = der(0xa0, derOid('1.2.3'), der(0xa0, derUtf8('not a name')))
    const mail = der(0x81, new TextEncoder().encode('mail@example.com'))
    const certificate = certify('Alice', [], derSequence(other, mail, principal))
    expect(certificateUserNames(certificate)).toEqual(['alice@corp.example', 'mail@example.com', 'Alice'])
    expect(certificateUserNames(certify('Bob', []))).toEqual(['Bob'])
  })

  it('is absent without a usable name, or without a certificate', () => {
    expect(eapTlsIdentity(certify('evil\nname', []), 'x')).toBeUndefined()
    expect(eapTlsIdentity(Uint8Array.of(1, 2, 3), 'x')).toBeUndefined()
  })
})
