/**
 * A whole gateway inside the test process, on loopback and with a TUN device in memory; and a client that drives the
 * real engine over real sockets, with a data plane of its own.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { IkeDriver, type IkeEvent } from '../../src/client/ike-driver.ts'
import { systemClock } from '../../src/clock.ts'
import {
  type CertifiedKey,
  createCertificateAuthority,
  issueClientCertificate,
  issueServerCertificate
} from '../../src/crypto/certificate-authority.ts'
import {
  DEFAULT_ESP_PROPOSALS,
  DEFAULT_IKE_PROPOSALS,
  DEFAULT_RESPONDER_ESP_PROPOSALS
} from '../../src/crypto/proposal.ts'
import { signingKeyFrom } from '../../src/crypto/signature.ts'
import { Pump } from '../../src/dataplane/pump.ts'
import { Sad } from '../../src/esp/sad.ts'
import type { GatewayEvent } from '../../src/gateway/events.ts'
import { type Gateway, startGateway } from '../../src/gateway/gateway.ts'
import type { GatewayOptions } from '../../src/gateway/options.ts'
import { identityFromText } from '../../src/ike/auth/identity.ts'
import type { LocalAuth, RemoteAuth } from '../../src/ike/auth/types.ts'
import { DEFAULT_FRAGMENT_SIZE, DEFAULT_TIMERS } from '../../src/ike/options.ts'
import { IkeSession } from '../../src/ike/session.ts'
import type { EstablishedInfo, IkeTimers } from '../../src/ike/types.ts'
import { silentLogger } from '../../src/log.ts'
import { Secret } from '../../src/secret.ts'
import { openTcp } from '../../src/transport/tcp.ts'
import { openTls } from '../../src/transport/tls.ts'
import type { Transport } from '../../src/transport/types.ts'
import { openUdp } from '../../src/transport/udp.ts'
import { MemoryTun } from '../../src/tun/memory-tun.ts'
import { VNET_HEADER_LENGTH } from '../../src/tun/vnet-header.ts'
import { parseCidr } from '../../src/wire/cidr.ts'
import type { TransportKind } from '../../src/wire/endpoint.ts'
import { selectEverything } from '../../src/wire/traffic-selectors.ts'
import { waitUntil } from './wait-until.ts'

export const GATEWAY_NAME = 'gateway.test'
export const PASSWORD = new Secret('correct horse')
export const PSK = new Secret('a shared key that is long enough')

const validity = { notBeforeMs: Date.now() - 60_000, notAfterMs: Date.now() + 3_600_000 }
let made: { readonly authority: CertifiedKey; readonly server: CertifiedKey } | undefined

/** One CA and gateway certificate for all tests of a file. */
export function credentials(): { readonly authority: CertifiedKey; readonly server: CertifiedKey } {
  if (made === undefined) {
    const authority = createCertificateAuthority('Gateway test CA', validity)
    made = { authority, server: issueServerCertificate(authority, [GATEWAY_NAME, '127.0.0.1'], validity) }
  }
  return made
}

export function cidr(text: string): NonNullable<ReturnType<typeof parseCidr>> {
  const parsed = parseCidr(text)
  if (parsed === undefined) throw new Error(`${text} is no network`)
  return parsed
}

export function gatewayOptions(changes: Partial<GatewayOptions> = {}): GatewayOptions {
  const { authority, server } = credentials()
  return {
    listen: ['127.0.0.1'],
    ports: { ike: 0, natT: 0, tcp: 0, tls: 0 },
    udp: true,
    tcp: true,
    tls: true,
    identity: identityFromText(GATEWAY_NAME),
    certificate: { chain: [server.certificate], key: server.privateKey },
    cafile: undefined,
    psk: PSK,
    users: new Map([['alice', PASSWORD]]),
    clientTrust: { anchors: [authority.certificate], crls: [] },
    pools: [cidr('10.99.0.0/24'), cidr('fd00:99::/64')],
    dns: ['10.99.0.1'],
    dnsDomains: [],
    localTs: [],
    interfaceName: undefined,
    ikeProposals: DEFAULT_IKE_PROPOSALS,
    espProposals: DEFAULT_RESPONDER_ESP_PROPOSALS,
    timers: {},
    cookies: 'auto',
    maxHalfOpen: 64,
    limits: { closePatienceMs: 200 },
    ...changes
  }
}

/** A running gateway with what it said and what reached its inner side. */
export class GatewayFixture {
  readonly gateway: Gateway
  readonly events: readonly GatewayEvent[]
  readonly tun: MemoryTun

  private constructor(gateway: Gateway, events: readonly GatewayEvent[], tun: MemoryTun) {
    this.gateway = gateway
    this.events = events
    this.tun = tun
  }

  static async start(changes: Partial<GatewayOptions> = {}): Promise<GatewayFixture> {
    const events: GatewayEvent[] = []
    const tun = new MemoryTun({ name: 'gateway0' })
    const gateway = await startGateway(gatewayOptions(changes), {
      log: silentLogger,
      onEvent: (event) => events.push(event),
      openDevice: () => Promise.resolve({ tun, close: async () => tun.release() })
    })
    return new GatewayFixture(gateway, events, tun)
  }

  all<N extends GatewayEvent['event']>(name: N): Extract<GatewayEvent, { event: N }>[] {
    return this.events.filter((one): one is Extract<GatewayEvent, { event: N }> => one.event === name)
  }

  /** UDP ports: plain IKE, then NAT traversal. */
  get udpPorts(): { readonly ike: number; readonly natT: number } {
    const [ike, natT] = this.gateway.listening.filter(({ transport }) => transport === 'udp')
    return { ike: ike?.port ?? 0, natT: natT?.port ?? 0 }
  }

  port(kind: 'tcp' | 'tls'): number {
    return this.gateway.listening.find(({ transport }) => transport === kind)?.port ?? 0
  }

  /** Inner packets that came out of the tunnel. */
  get received(): Uint8Array[] {
    return this.tun.written.map((frame) => frame.subarray(VNET_HEADER_LENGTH))
  }

  send(packet: Uint8Array): void {
    this.tun.inject(packet)
    this.tun.run()
  }

  async open(kind: TransportKind): Promise<Transport> {
    const host = '127.0.0.1'
    switch (kind) {
      case 'udp': {
        const { ike, natT } = this.udpPorts
        return openUdp({ remoteAddress: host, ikePort: ike, natTPort: natT })
      }
      case 'tcp':
        return openTcp({ host, port: this.port('tcp') })
      case 'tls':
        return openTls({ host, port: this.port('tls'), serverName: GATEWAY_NAME })
    }
  }
}

export interface ClientIdentity {
  readonly identity: string
  readonly localAuth: LocalAuth
  readonly remoteAuth?: RemoteAuth
}

export function eapUser(user = 'alice', password = PASSWORD): ClientIdentity {
  return { identity: user, localAuth: { method: 'eap', credentials: { user, password } } }
}

export function pskClient(identity = 'branch@test', secret = PSK): ClientIdentity {
  return {
    identity,
    localAuth: { method: 'psk', secret },
    remoteAuth: { method: 'psk', secret }
  }
}

export function certificateClient(name = 'carol@test'): ClientIdentity {
  const issued = issueClientCertificate(credentials().authority, [name], validity)
  return {
    identity: name,
    localAuth: {
      method: 'certificate',
      chain: [issued.certificate],
      key: signingKeyFrom(issued.privateKey)
    }
  }
}

export function eapTlsClient(name = 'dave@test'): ClientIdentity {
  const { authority } = credentials()
  const issued = issueClientCertificate(authority, [name], validity)
  const tls = {
    certificateChain: issued.certificatePem,
    privateKey: issued.privateKeyPem,
    trustAnchors: [authority.certificatePem]
  }
  return { identity: name, localAuth: { method: 'eap', credentials: { user: name, tls } } }
}

export class TestClient {
  readonly tun = new MemoryTun({ name: 'client0' })
  readonly events: IkeEvent[] = []
  readonly driver: IkeDriver
  readonly #sad: Sad
  readonly #pump: Pump
  readonly #transports = new Set<Transport>()
  info: EstablishedInfo | undefined

  constructor(who: ClientIdentity, wantedName = GATEWAY_NAME, changes: Partial<IkeTimers> = {}) {
    const timers = { ...DEFAULT_TIMERS, ...changes }
    const { childLifetimeBytes: bytes, childLifetimePackets: packets, rekeyMargin } = timers
    const softLimits = { bytes: bytes * (1 - rekeyMargin), packets: packets * (1 - rekeyMargin) }
    this.#sad = new Sad({ random: { bytes: randomBytes }, softLimits })
    const trust = { anchors: [credentials().authority.certificate], crls: [] }
    const everything = [selectEverything(4), selectEverything(6)]
    const session = new IkeSession(
      {
        role: 'initiator',
        ikeProposals: DEFAULT_IKE_PROPOSALS,
        espProposals: DEFAULT_ESP_PROPOSALS,
        timers,
        fragmentSize: DEFAULT_FRAGMENT_SIZE,
        mobike: true,
        haSync: true,
        localIdentity: identityFromText(who.identity),
        remoteIdentity: identityFromText(wantedName),
        localAuth: who.localAuth,
        remoteAuth: who.remoteAuth ?? { method: 'certificate', trust },
        configRequest: { ipv4: true, ipv6: true, dns: true },
        localTs: everything,
        remoteTs: everything
      },
      { random: { bytes: randomBytes }, wallClockMs: () => Date.now() }
    )
    this.#pump = new Pump({
      tun: this.tun,
      sad: this.#sad,
      logger: silentLogger,
      mtu: 1400,
      now: () => systemClock.now(),
      observer: {
        onSoftLimit: ({ parameters }) =>
          this.driver.input((one, now) => one.childLimitReached(now, parameters.inbound.spi, 'packets'))
      }
    })
    this.driver = new IkeDriver(session, systemClock, silentLogger, (event) => this.#onEvent(event))
    this.#pump.resume()
  }

  get address(): string {
    return this.info?.config?.addresses[0]?.address ?? ''
  }

  get received(): Uint8Array[] {
    return this.tun.written.map((frame) => frame.subarray(VNET_HEADER_LENGTH))
  }

  get sad(): Sad {
    return this.#sad
  }

  /** IKE and ESP of this transport are ours from now on. */
  attach(transport: Transport): void {
    this.#transports.add(transport)
    this.driver.attach(transport)
    transport.setHandlers({
      onIke: (message, path) => this.driver.receive(message, path),
      onEsp: (buffer, offset, length, _path, ecn) => void this.#pump.handleEsp(buffer, offset, length, ecn),
      onEspBatchEnd: () => this.#pump.handleEspBatchEnd(),
      onWritable: () => this.#pump.handleWritable(),
      onClose: () => {
        this.driver.input((session, now) => session.pathLost(now, transport.path))
        this.driver.detach(transport)
        this.#transports.delete(transport)
      }
    })
  }

  /** Begins on this transport; resolves when a Child SA sends, rejects when the session ends. */
  async connect(transport: Transport): Promise<void> {
    this.attach(transport)
    this.#pump.setTransport(transport)
    this.driver.input((session, now) => session.connect(now, transport.path))
    await waitUntil('the tunnel', () => {
      const closed = this.events.find((event) => event.type === 'closed')
      if (closed?.type === 'closed') throw closed.error ?? new Error(closed.reason)
      return this.#sad.sending.length > 0
    })
  }

  /** Moves everything over, as MOBIKE says; resolves when the gateway has agreed. */
  async move(transport: Transport): Promise<void> {
    const before = this.events.length
    this.attach(transport)
    this.driver.input((session, now) => session.movePath(now, transport.path))
    await waitUntil('the move', () => this.events.slice(before).some(({ type }) => type === 'path-changed'))
    this.#pump.setTransport(transport)
  }

  /** ESP goes there from now on, without a word by IKE. */
  sendEspOver(transport: Transport): void {
    this.attach(transport)
    this.#pump.setTransport(transport)
  }

  send(packet: Uint8Array): void {
    this.tun.inject(packet)
    this.tun.run()
  }

  async disconnect(): Promise<void> {
    this.driver.input((session, now) => session.close(now))
    await waitUntil('the end', () => this.events.some(({ type }) => type === 'closed'))
  }

  async dispose(): Promise<void> {
    this.driver.dispose()
    this.#pump.stop()
    await Promise.all([...this.#transports].map((transport) => transport.close(50)))
  }

  #onEvent(event: IkeEvent): void {
    this.events.push(event)
    if (event.type === 'established') this.info = event.info
    else if (event.type === 'child-up') this.#sad.install(event.child)
    else if (event.type === 'child-outbound') {
      this.#sad.activateOutbound(event.spiIn)
      this.#pump.handleWritable()
    } else if (event.type === 'child-down') this.#sad.remove(event.spiIn)
  }
}
