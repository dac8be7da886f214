/**
 * Somebody on the way who sees every datagram and may send any, in anybody's name, but has no keys: forges, replays and reflects.
 * @module
 */
import type { Endpoint } from '../../../src/wire/endpoint.ts'
import { encodeMessage } from '../../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { IKE_HEADER_LENGTH, readMessageHeader } from '../../../src/wire/ike-header.ts'
import { espSpiToBytes, notify } from '../../../src/wire/ike-helpers.ts'
import type { IkeHeader } from '../../../src/wire/ike-message.ts'
import { read32, write16 } from '../../../src/wire/ip.ts'
import { NON_ESP_MARKER_LENGTH, withNonEspMarker } from '../../../src/wire/non-esp-marker.ts'
import type { Auditor } from './auditor.ts'
import { laneOf, type Network } from './network.ts'
import type { World } from './world.ts'

interface Seen {
  readonly bytes: Uint8Array
  readonly toGateway: boolean
  readonly port: number
  readonly at: number
}

const REMEMBERED = 200
/** Younger messages may still be on their way, or be sent again by those who sent them. */
const OLD_MS = 5_000
const ELSEWHERE: Endpoint = { address: '192.0.0.8', port: 31_337 }

export class Attacker {
  readonly #world: World
  readonly #network: Network
  readonly #auditor: Auditor
  readonly #seen: Seen[] = []
  /** Where the client's last datagram came from, as the gateway sees it. */
  #client: Endpoint = ELSEWHERE

  constructor(world: World, network: Network, auditor: Auditor) {
    this.#world = world
    this.#network = network
    this.#auditor = auditor
    network.onDatagram = (bytes, toGateway, port, remote) => {
      if (remote !== undefined) this.#client = remote
      if (bytes.length < NON_ESP_MARKER_LENGTH + IKE_HEADER_LENGTH) return
      this.#seen.push({ bytes: Uint8Array.from(bytes), toGateway, port, at: world.now })
      if (this.#seen.length > REMEMBERED) this.#seen.shift()
    }
  }

  /** A few packets at once. */
  strike(): void {
    for (let left = 1 + this.#world.random.integer(6); left > 0; left--) {
      const seen = this.#seen[this.#world.random.integer(this.#seen.length)]
      if (seen !== undefined) this.#world.pick([this.#forge, this.#replay, this.#reflect, this.#hint])(seen)
    }
  }

  /** With the SPIs of something real, and nonsense where a key would be needed. */
  readonly #forge = (seen: Seen): void => {
    const world = this.#world
    const bytes = Uint8Array.from(seen.bytes)
    const isEsp = this.#isEsp(seen)
    const head = isEsp ? 4 : IKE_HEADER_LENGTH + (seen.port === 4500 ? NON_ESP_MARKER_LENGTH : 0)
    // IKE_SA_INIT is protected by nobody: a forged one may be answered, and comes to nothing.
    if (!isEsp && this.#headerOf(seen)?.exchangeType === ExchangeType.IKE_SA_INIT) return
    if (isEsp || world.chance(0.5))
      for (let at = head; at < bytes.length; at++) bytes[at] = world.random.integer(256)
    else write16(bytes, head - 6, world.random.integer(4))
    if (isEsp) write16(bytes, 4, 0)
    world.fault(isEsp ? 'forged-esp' : 'forged-ike', seen.toGateway ? 'up' : 'down')
    this.#send(bytes, seen, seen.toGateway)
  }

  readonly #replay = (seen: Seen): void => {
    const isEsp = this.#isEsp(seen)
    if (
      isEsp
        ? !this.#auditor.hasArrived(seen.toGateway ? 'gateway' : 'client', seen.bytes)
        : this.#isYoung(seen)
    )
      return
    this.#world.fault(isEsp ? 'replayed-esp' : 'replayed-ike', seen.toGateway ? 'up' : 'down')
    this.#send(seen.bytes, seen, seen.toGateway)
  }

  readonly #reflect = (seen: Seen): void => {
    if (this.#headerOf(seen)?.exchangeType === ExchangeType.IKE_SA_INIT) return
    this.#world.fault('reflected', seen.toGateway ? 'down' : 'up')
    this.#send(seen.bytes, seen, !seen.toGateway)
  }

  /** "I know nothing of your SA", in the other end's name. */
  readonly #hint = (seen: Seen): void => {
    const header = this.#headerOf(seen)
    if (seen.port !== 4500 || header?.exchangeType === ExchangeType.IKE_SA_INIT) return
    const answer: IkeHeader = {
      ...(header ?? { spiI: 0n, spiR: 0n, majorVersion: 2, minorVersion: 0, messageId: 0 }),
      exchangeType: header?.exchangeType ?? ExchangeType.INFORMATIONAL,
      fromInitiator: header === undefined ? true : !header.fromInitiator,
      isResponse: header !== undefined
    }
    const payloads =
      header === undefined
        ? [notify(NotifyType.INVALID_SPI, espSpiToBytes(read32(seen.bytes, 0)))]
        : [notify(this.#world.pick([NotifyType.INVALID_IKE_SPI, NotifyType.AUTHENTICATION_FAILED]))]
    this.#world.fault('forged-hint', seen.toGateway ? 'down' : 'up')
    this.#send(withNonEspMarker(encodeMessage({ header: answer, payloads })), seen, !seen.toGateway)
  }

  #send(bytes: Uint8Array, { port }: Seen, toGateway: boolean): void {
    const network = this.#network
    if (toGateway) network.forgeToGateway(port, this.#world.chance(0.7) ? this.#client : ELSEWHERE, bytes)
    else for (const socket of network.sockets) network.forgeToClient(socket, port, bytes)
  }

  #isEsp({ port, bytes }: Seen): boolean {
    return laneOf(port, bytes) === 'esp-4500'
  }

  #isYoung({ at }: Seen): boolean {
    return this.#world.now - at < OLD_MS
  }

  #headerOf(seen: Seen): IkeHeader | undefined {
    if (this.#isEsp(seen)) return undefined
    try {
      return readMessageHeader(seen.bytes.subarray(seen.port === 4500 ? NON_ESP_MARKER_LENGTH : 0)).header
    } catch {
      return undefined
    }
  }
}
