/**
 * Targets of EAP: packets, the methods' own formats, whole conversations of either end.
 * @module
 */
import type { EapCredentials, EapServerConfig, EapTlsCredentials } from '../../../src/ike/auth/types.ts'
import {
  decodeMschapPacket,
  parseAuthenticatorResponse,
  parseMschapFailure
} from '../../../src/ike/eap/mschapv2-packets.ts'
import { decodeEapPacket, encodeEapRequest, encodeEapResponse } from '../../../src/ike/eap/packet.ts'
import { EapPeer } from '../../../src/ike/eap/peer.ts'
import { showPeerText } from '../../../src/ike/eap/peer-text.ts'
import { EapServer } from '../../../src/ike/eap/server.ts'
import { endsWithAlert, MAX_TLS_FLIGHT_LENGTH, TlsFragments } from '../../../src/ike/eap/tls-fragments.ts'
import type { EapStep } from '../../../src/ike/eap/types.ts'
import { Secret } from '../../../src/secret.ts'
import { EapCode, EapType } from '../../../src/wire/ike-constants.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import keyFiles from '../../vectors/key-files.json' with { type: 'json' }
import { bounded, type FuzzTarget, holds, same, textOf, texts, utf8 } from '../target.ts'

const PASSWORD: EapCredentials = { user: 'alice', password: new Secret('wonderland') }
const SERVER: EapServerConfig = {
  methods: [EapType.MSCHAPV2],
  passwordOf: (user) => (user === 'alice' ? new Secret('wonderland') : undefined)
}
/** More packets than a conversation has. */
const MAX_PACKETS = 400

interface Conversation {
  readonly toPeer: Uint8Array[]
  readonly toServer: Uint8Array[]
  readonly msk: Uint8Array | undefined
}

/** The one conversation that these credentials and this chance make. */
function genuine(): Conversation {
  const peer = new EapPeer(PASSWORD, new SeededRandom(1))
  const server = new EapServer(SERVER, new SeededRandom(2))
  const toPeer: Uint8Array[] = [server.start()]
  const toServer: Uint8Array[] = []
  let msk: Uint8Array | undefined
  for (;;) {
    const answer = peer.receive(toPeer.at(-1) ?? new Uint8Array(0))
    if (answer.kind === 'success') msk = answer.msk
    if (answer.kind !== 'reply') {
      if (msk === undefined) throw new Error('the genuine conversation has failed')
      return { toPeer, toServer, msk }
    }
    toServer.push(answer.packet)
    const next = server.receive(answer.packet)
    if (next.kind === 'pending' || next.packet === undefined) throw new Error(`the server is ${next.kind}`)
    toPeer.push(next.packet)
  }
}

/** Packets with their length in front, so that mutations can lose, repeat and swap them. */
function packed(packets: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(packets.flatMap((packet) => [packet.length >>> 8, packet.length & 0xff, ...packet]))
}

function unpacked(input: Uint8Array): Uint8Array[] {
  const packets: Uint8Array[] = []
  for (let at = 0; at + 2 <= input.length && packets.length < MAX_PACKETS; ) {
    const length = ((input[at] ?? 0) << 8) | (input[at + 1] ?? 0)
    packets.push(input.subarray(at + 2, at + 2 + length))
    at += 2 + length
  }
  return packets
}

const packetFormats: FuzzTarget = {
  name: 'eap-packet',
  covers: [
    'ike/eap/packet.ts#decodeEapPacket',
    'ike/eap/mschapv2-packets.ts#decodeMschapPacket',
    'ike/eap/mschapv2-packets.ts#parseAuthenticatorResponse',
    'ike/eap/mschapv2-packets.ts#parseMschapFailure',
    'ike/eap/tls-fragments.ts#endsWithAlert'
  ],
  weight: 5,
  corpus: () => {
    const { toPeer, toServer } = genuine()
    return [
      ...toPeer,
      ...toServer,
      ...texts(
        'S=0123456789ABCDEF0123456789ABCDEF01234567 M=OK',
        'E=691 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=no'
      )
    ]
  },
  dictionary: ['S=', 'E=', 'R=', 'C=', 'V=', 'M=', '\0', '691', '99999999999999999999', '\u202e'],
  open: () => (input) => {
    const packet = decodeEapPacket(input)
    if (packet !== undefined) {
      bounded(packet, input)
      const { code, identifier, type, data } = packet
      if (type !== undefined) {
        const encode = code === EapCode.REQUEST ? encodeEapRequest : encodeEapResponse
        holds(
          same(decodeEapPacket(encode(identifier, type, data)), packet),
          'a packet survives writing and reading'
        )
      }
    }
    const mschap = decodeMschapPacket(input.subarray(5))
    if (mschap !== undefined) bounded(mschap, input)
    const text = textOf(input)
    parseAuthenticatorResponse(text)
    bounded(parseMschapFailure(text), input)
    endsWithAlert(input)
    holds(showPeerText(input).length <= 130, 'text of the other side is short when it is shown')
    holds(!/[\p{Cc}\p{Cf}]/u.test(showPeerText(input)), 'and harmless')
  }
}

const tlsFragments: FuzzTarget = {
  name: 'eap-tls-fragments',
  covers: ['ike/eap/tls-fragments.ts#TlsFragments'],
  weight: 3,
  maxLength: 8192,
  corpus: () => [
    packed([
      Uint8Array.of(0x20),
      Uint8Array.of(0xc0, 0, 0, 0, 8, 1, 2, 3, 4),
      Uint8Array.of(0x40, 5, 6),
      Uint8Array.of(0, 7, 8)
    ]),
    packed([Uint8Array.of(0x80, 0, 0, 0, 3, 1, 2, 3), Uint8Array.of(0), Uint8Array.of(0x40)]),
    packed(Array.from({ length: 40 }, () => Uint8Array.of(0x40, ...new Uint8Array(60))))
  ],
  open: () => (input) => {
    const packets = unpacked(input)
    for (const role of ['peer', 'server'] as const) {
      const fragments = new TlsFragments(role)
      let pending = 0
      for (const packet of packets) {
        const taken = fragments.receive(packet)
        pending += packet.length
        if (taken.kind === 'flight') {
          holds(
            taken.bytes.length <= Math.min(pending, MAX_TLS_FLIGHT_LENGTH),
            'a flight is what came, and bounded'
          )
          pending = 0
        }
      }
    }
  }
}

/** A step that is not an end, or an end that this conversation may have. */
function examine(step: EapStep, msk: Uint8Array | undefined): void {
  if (step.kind === 'success')
    holds(same(step.msk, msk), 'nobody succeeds with another key than the genuine one')
  if (step.kind === 'reply') holds(step.packet.length <= 2_000, 'a reply is short')
}

const peerTalk: FuzzTarget = {
  name: 'eap-peer',
  covers: ['ike/eap/peer.ts#EapPeer'],
  weight: 1,
  corpus: () => [
    packed(genuine().toPeer),
    packed([
      encodeEapRequest(1, EapType.IDENTITY, utf8('who?')),
      encodeEapRequest(2, 2, utf8('a notification')),
      encodeEapRequest(3, EapType.MD5_CHALLENGE, Uint8Array.of(16, ...new Uint8Array(16).fill(7), 65)),
      Uint8Array.of(EapCode.SUCCESS, 3, 0, 4)
    ]),
    packed([encodeEapRequest(1, EapType.GTC, utf8('Password: ')), Uint8Array.of(EapCode.SUCCESS, 1, 0, 4)]),
    packed([
      encodeEapRequest(1, 25, Uint8Array.of(0x20)),
      encodeEapRequest(2, 254, Uint8Array.of(0, 0, 0, 0, 0, 0, 0))
    ])
  ],
  open: () => {
    const { msk } = genuine()
    return (input, random) => {
      const mutualOnly = random.below(2) === 0
      const peer = new EapPeer(PASSWORD, new SeededRandom(1), { mutualOnly })
      for (const packet of unpacked(input)) {
        const step = peer.receive(packet)
        // Methods without a key are for gateways that proved themselves before.
        if (step.kind !== 'success' || mutualOnly || step.msk !== undefined) examine(step, msk)
        if (step.kind !== 'reply') break
      }
      holds(peer.notifications.length <= 8, 'notifications are bounded')
      for (const line of peer.notifications) holds(!/\p{Cc}/u.test(line), 'and harmless')
      peer.dispose()
    }
  }
}

const serverTalk: FuzzTarget = {
  name: 'eap-server',
  covers: ['ike/eap/server.ts#EapServer'],
  weight: 1,
  corpus: () => [
    packed(genuine().toServer),
    packed([
      encodeEapResponse(0, EapType.IDENTITY, utf8('alice')),
      encodeEapResponse(1, 3, Uint8Array.of(13, 26))
    ])
  ],
  repair: (input) => input,
  open: () => {
    const { msk } = genuine()
    return (input) => {
      const server = new EapServer(SERVER, new SeededRandom(2))
      let request = server.start()
      for (const packet of unpacked(input)) {
        // The identifier is the server's choice, and cannot be guessed from a corpus.
        const response = packet.slice()
        if (response.length > 1) response[1] = request[1] ?? 0
        const step = server.receive(response)
        examine(step, msk)
        if (step.kind !== 'reply') break
        request = step.packet
      }
      holds((server.identity ?? '').length <= 253, 'an identity is bounded')
      server.dispose()
    }
  }
}

function tlsCredentials(): EapTlsCredentials {
  const file = (name: keyof typeof keyFiles.files) => Buffer.from(keyFiles.files[name], 'base64').toString()
  return {
    certificateChain: file('ec.pem'),
    privateKey: new Secret(file('ec.key')),
    trustAnchors: [file('ca.pem')]
  }
}

/** Waits as often as the engine asks for it. */
async function settled(side: { continue(): EapStep }, step: EapStep): Promise<EapStep> {
  let now = step
  while (now.kind === 'pending') {
    await now.ready
    now = side.continue()
  }
  return now
}

/** TLS has chance of its own: what is replayed is the input, not every byte that is answered. */
const tlsTalk: FuzzTarget = {
  name: 'eap-tls',
  covers: ['ike/eap/peer.ts#EapPeer', 'ike/eap/server.ts#EapServer', 'crypto/tls-engine.ts#createTlsEngine'],
  weight: 0.03,
  corpus: () => {
    const hello = Buffer.from(
      '16030100390100003503030000000000000000000000000000000000000000000000000000000000000000000008c02bc02f130113030100000400170000',
      'hex'
    )
    const alert = Uint8Array.of(0x15, 3, 3, 0, 2, 2, 40)
    return [
      packed([Uint8Array.of(0x20), Uint8Array.of(0x80, 0, 0, 0, hello.length, ...hello)]),
      packed([
        Uint8Array.of(0x20),
        Uint8Array.of(0xc0, 0, 0, 0, hello.length, ...hello.subarray(0, 20)),
        Uint8Array.of(0, ...hello.subarray(20))
      ]),
      packed([Uint8Array.of(0x20), Uint8Array.of(0, ...alert)])
    ]
  },
  open: () => async (input) => {
    const tls = tlsCredentials()
    const peer = new EapPeer({ user: 'alice', tls }, new SeededRandom(1))
    const server = new EapServer(
      { methods: [EapType.TLS], passwordOf: () => undefined, tls },
      new SeededRandom(2)
    )
    let request = server.start()
    let identifier = 1
    let serving = true
    let asking = true
    const hello = await settled(
      server,
      server.receive(encodeEapResponse(request[1] ?? 0, EapType.IDENTITY, utf8('alice')))
    )
    if (hello.kind === 'reply') request = hello.packet
    for (const data of unpacked(input).slice(0, 8)) {
      if (asking) {
        const step = await settled(peer, peer.receive(encodeEapRequest(identifier++, EapType.TLS, data)))
        examineTls(step)
        asking = step.kind === 'reply'
      }
      if (serving) {
        const step = await settled(
          server,
          server.receive(encodeEapResponse(request[1] ?? 0, EapType.TLS, data))
        )
        examineTls(step)
        serving = step.kind === 'reply'
        if (step.kind === 'reply') request = step.packet
      }
    }
    peer.dispose()
    server.dispose()
  }
}

function examineTls(step: EapStep): void {
  holds(step.kind !== 'success', 'nobody has a certificate here')
}

export const EAP_TARGETS: readonly FuzzTarget[] = [packetFormats, tlsFragments, peerTalk, serverTalk, tlsTalk]
