/**
 * Inputs of the largest size that is taken, made to cost as much as they can. What grows faster than its input would need minutes
 * or hours for these, or all the memory or stack that there is; what does not is done at once.
 */
import { describe, expect, it } from 'vitest'
import { readImport } from '../../src/cli/import/import-file.ts'
import { nearest } from '../../src/cli/nearest.ts'
import { parseProfile } from '../../src/cli/profile.ts'
import { certificateFields } from '../../src/crypto/certificate-fields.ts'
import { openSignedMessage } from '../../src/crypto/cms.ts'
import { loadPkcs12, loadPrivateKey } from '../../src/crypto/credentials.ts'
import {
  contextTag,
  der,
  derInteger,
  derOctetString,
  derOid,
  derSequence,
  derSet
} from '../../src/crypto/der.ts'
import { parseProposals } from '../../src/crypto/proposal.ts'
import { parseCertificates } from '../../src/crypto/trust-store.ts'
import { parsePortalStatus } from '../../src/diagnosis/portal-api.ts'
import { parseUsers } from '../../src/gateway/users-file.ts'
import { parseRequest as parseControlRequest } from '../../src/host/control-protocol.ts'
import { resolvConfText } from '../../src/host/dns.ts'
import { nameserversOf } from '../../src/host/dns-decision.ts'
import { parseRecord } from '../../src/host/journal-record.ts'
import { parseRequest } from '../../src/host/keeper-protocol.ts'
import { formatDistinguishedName } from '../../src/ike/auth/distinguished-name.ts'
import { formatIdentity, identityFromText } from '../../src/ike/auth/identity.ts'
import { certificateUserNames } from '../../src/ike/eap/tls-identity.ts'
import { IkeResponder } from '../../src/ike/responder.ts'
import { decodeMessage, encodeMessage } from '../../src/wire/ike-codec.ts'
import { formatIkeMessage } from '../../src/wire/ike-format.ts'
import type { Payload, Proposal } from '../../src/wire/ike-message.ts'
import { StreamDeframer } from '../../src/wire/stream-framing.ts'
import { intersectSelectors, selectorsContain } from '../../src/wire/traffic-selectors.ts'
import { pathPair, responderConfig } from '../support/ike-pair.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { refusing, refusingAsync, utf8 } from './target.ts'

const MIB = 1 << 20

/** As many times as fit into so many characters. */
const filled = (piece: string, length: number): string => piece.repeat(Math.ceil(length / piece.length))

const PIECES = [
  '[',
  '{',
  '{"a":',
  '[[',
  '"',
  '\\',
  '\n',
  ' ',
  '=',
  '-----BEGIN PRIVATE KEY-----',
  '-----BEGIN CERTIFICATE-----\n',
  '<dict>',
  '<!--',
  '<key>a</key>',
  '&amp;',
  '<array><dict>',
  'a.',
  'a=[',
  'a:b\n',
  '#',
  ',',
  '+',
  '0',
  '\u{1f600}',
  '\0',
  'E=',
  '<![CDATA['
]

const READERS: Readonly<Record<string, (text: string) => unknown>> = {
  profile: (text) => refusing(() => parseProfile(text, '/etc/x.toml')),
  users: (text) => refusing(() => parseUsers(text, '/etc/users')),
  import: (text) => refusing(() => readImport(utf8(text), 'x')),
  'signed import': (text) => refusing(() => readImport(utf8(`<plist version="1.0">${text}`), 'x')),
  control: (text) => refusing(() => parseControlRequest(text)),
  keeper: parseRequest,
  journal: (text) => refusing(() => parseRecord(text, '/run/x')),
  portal: parsePortalStatus,
  'private key': (text) => refusing(() => loadPrivateKey(utf8(text))),
  certificates: (text) => refusing(() => parseCertificates(utf8(text))),
  nameservers: nameserversOf,
  'resolv.conf': (text) =>
    resolvConfText({ servers: ['10.0.0.1'], domains: [], exclusive: false }, text, 'ike0'),
  identity: (text) => refusing(() => formatIdentity(identityFromText(text))),
  proposals: (text) => refusing(() => parseProposals([text], 'ike')),
  'nearest word': (text) => nearest(text, ['transport', 'password-file'])
}

describe.each(Object.entries(READERS))(
  'half a megabyte of nothing in particular, read as %s',
  (_name, read) => {
    it.each(PIECES)('is done with: %j', (piece) => {
      read(filled(piece, MIB / 2))
    })
  }
)

describe('DER that is made to cost time', () => {
  const nested = (tag: number, depth: number): Buffer => {
    // From the inside out; each length is right.
    const parts: Buffer[] = []
    let length = 0
    for (let level = 0; level < depth; level++) {
      const head =
        length < 0x80
          ? Buffer.from([tag, length])
          : Buffer.from([tag, 0x83, length >>> 16, (length >>> 8) & 0xff, length & 0xff])
      parts.push(head)
      length += head.length
    }
    return Buffer.concat(parts.reverse())
  }

  it.each([
    ['sequences', 0x30],
    ['octet strings in pieces', 0x24],
    ['explicit tags', 0xa0]
  ])('may be nested without end: %s', async (_what, tag) => {
    const deep = nested(tag, 100_000)
    expect(openSignedMessage(deep).kind).toBe('unknown')
    expect(certificateFields(deep)).toBeUndefined()
    expect(formatDistinguishedName(deep)).toBeUndefined()
    await refusingAsync(() => loadPkcs12(deep))
    refusing(() => loadPrivateKey(deep))
    refusing(() => parseCertificates(deep))
  })

  it('may have hundreds of thousands of elements, in names and extensions', () => {
    const attribute = derSequence(derOid('2.5.4.3'), der(0x14, Buffer.from('x')))
    const many = Buffer.concat(Array.from({ length: 50_000 }, () => attribute))
    const name = derSequence(derSet(many))
    formatDistinguishedName(name)
    const alternative = der(contextTag(1, false), Buffer.from('a@b'))
    const extension = derSequence(
      derOid('2.5.29.17'),
      derOctetString(derSequence(Buffer.concat(Array.from({ length: 100_000 }, () => alternative))))
    )
    const fields = [derInteger(1), derSequence(), name, derSequence(), name, derSequence()]
    const certificate = derSequence(derSequence(...fields, der(contextTag(3), derSequence(extension))))
    expect(certificateUserNames(certificate).length).toBeGreaterThan(0)
  })

  it('may hold one string of a megabyte, of any kind', () => {
    for (const tag of [0x0c, 0x13, 0x14, 0x16, 0x1e]) {
      const name = derSequence(derSet(derSequence(derOid('2.5.4.3'), der(tag, Buffer.alloc(MIB, 0x41)))))
      expect(formatDistinguishedName(name)?.length).toBeGreaterThan(MIB / 3)
    }
  })
})

describe('IKE messages of 64 KiB that are made to cost time', () => {
  const transform = { type: 4, id: 31 }
  const proposal = (count: number): Proposal => ({
    number: 1,
    protocolId: 1,
    spi: new Uint8Array(0),
    transforms: Array.from({ length: count }, () => transform)
  })
  const selector = (index: number) => ({
    family: 4 as const,
    protocol: index & 0xff,
    startPort: 0,
    endPort: 0xffff,
    startAddress: Uint8Array.of(10, index, 0, 1),
    endAddress: Uint8Array.of(10, index, 255, 254)
  })
  const selectors = Array.from({ length: 255 }, (_, index) => selector(index))
  const notify: Payload = {
    type: 41,
    protocolId: 0,
    spi: new Uint8Array(0),
    notifyType: 16_388,
    data: new Uint8Array(200)
  }
  const messages: Readonly<Record<string, Payload[]>> = {
    'transforms without number': [{ type: 33, proposals: Array.from({ length: 32 }, () => proposal(250)) }],
    'proposals without number': [{ type: 33, proposals: Array.from({ length: 64 }, () => proposal(100)) }],
    'NAT detection without number': Array.from({ length: 250 }, () => notify),
    'selectors without number': Array.from({ length: 14 }, () => ({ type: 44 as const, selectors })),
    'attributes without number': [
      {
        type: 47,
        cfgType: 2,
        attributes: Array.from({ length: 256 }, () => ({ type: 25, value: new Uint8Array(200).fill(46) }))
      }
    ],
    'certificates without number': Array.from({ length: 250 }, () => ({
      type: 37 as const,
      encoding: 4,
      data: new Uint8Array(200)
    })),
    'requests for certificates': [{ type: 38, encoding: 4, authorities: new Uint8Array(65_000) }],
    'hash algorithms without number': [{ ...notify, notifyType: 16_431, data: new Uint8Array(65_000) }]
  }

  it.each(Object.entries(messages))('%s', (_what, payloads) => {
    const { client: _, gateway } = pathPair()
    const responder = new IkeResponder(responderConfig({ cookies: 'never' }), {
      random: new SeededRandom(1),
      wallClockMs: () => 0
    })
    const nonce: Payload = { type: 40, data: new Uint8Array(32) }
    const exchange: Payload = { type: 34, group: 31, data: new Uint8Array(32).fill(9) }
    for (let round = 1; round <= 30; round++) {
      const message = encodeMessage({
        header: {
          spiI: BigInt(round),
          spiR: 0n,
          majorVersion: 2,
          minorVersion: 0,
          exchangeType: 34,
          fromInitiator: true,
          isResponse: false,
          messageId: 0
        },
        payloads: [...payloads, exchange, nonce].slice(-256)
      })
      const decoded = decodeMessage(message)
      if (decoded.ok) formatIkeMessage(decoded.message)
      responder.receive(round * 1000, message, gateway)
      while (responder.poll() !== undefined);
    }
  })

  it('selectors against selectors', () => {
    const common = intersectSelectors(selectors, selectors)
    expect(selectorsContain(selectors, common)).toBe(true)
  })
})

it('a stream of the smallest frames that there are', () => {
  const deframer = new StreamDeframer()
  const sink = { onIke: () => undefined, onEsp: () => undefined }
  const frames = Buffer.from(filled('\x00\x02\x00\x03\xff', 4 * MIB), 'latin1')
  for (let at = 0; at < frames.length; at += 1000) deframer.push(frames.subarray(at, at + 1000), sink)
  expect(deframer.keepalives).toBeGreaterThan(800_000)
})
