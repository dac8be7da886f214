/**
 * Puts a client session together from its options: device, credentials, transports, memory of networks, host.
 * @module
 */
import { randomBytes } from 'node:crypto'
import type { RandomSource } from '../crypto/types.ts'
import type { PortalEvidence } from '../diagnosis/evidence.ts'
import { checkPortal } from '../diagnosis/portal.ts'
import { SystemError } from '../errors.ts'
import { SystemCommandRunner } from '../host/commands.ts'
import { keeperGone as lostKeeper } from '../host/keeper-channel.ts'
import { watchNetwork } from '../host/network-watch.ts'
import { dropPrivileges, lookUpUser, ownPrivileges, requireTunPrivileges } from '../host/privileges.ts'
import type { Logger } from '../log.ts'
import { NetworkMemory, networkMemoryFile } from '../transport/network-memory.ts'
import { proxyLabel } from '../transport/proxy-url.ts'
import { resolveServer } from '../transport/resolve.ts'
import { sourceAddressFor } from '../transport/source-address.ts'
import { TlsSessionCache } from '../transport/tls.ts'
import { Captures } from './captures.ts'
import type { ClientEvent } from './events.ts'
import { explainFailure, LadderEvidence, wantsExplanation } from './failure-diagnosis.ts'
import { GatewayAddresses } from './gateway-addresses.ts'
import { systemClock } from './ike-driver.ts'
import { KeyTables } from './key-tables.ts'
import { currentNetwork } from './network-identity.ts'
import { TransportOpener } from './open-transport.ts'
import type { ConnectOptions } from './options.ts'
import { PortalWatch } from './portal-watch.ts'
import { Redirects } from './redirects.ts'
import { type RunningSession, startSession } from './running-session.ts'
import { VpnSession } from './session.ts'
import { SessionFactory } from './session-factory.ts'
import { SessionHistory } from './session-history.ts'
import type { SessionStatus } from './session-status.ts'
import { Tunnel } from './tunnel.ts'
import { HostPlace, type TunnelPlace } from './tunnel-place.ts'

export interface ConnectHandlers {
  readonly log: Logger
  readonly stateDirectory: string
  readonly onEvent: (event: ClientEvent) => void
  /** Where the tunnel is to be; the machine's own network when absent. */
  readonly place?: TunnelPlace
  /** Where the control socket is made; there is none when absent. */
  readonly runtimeDirectory?: string | undefined
  readonly runBy?: SessionStatus['runBy']
}

/** A slow name server must not delay the first attempt much longer than it would anyway. */
const RECALL_TIMEOUT_MS = 5_000

/** Whoever waits for a tunnel that does not come has waited long enough. */
const PORTAL_TIMEOUT_MS = 2_500

const systemRandom: RandomSource = { bytes: (length) => randomBytes(length) }

/** Starts a session: the device is there when this resolves, the tunnel is up when the `connected` event comes. */
export async function connect(options: ConnectOptions, handlers: ConnectHandlers): Promise<RunningSession> {
  if (handlers.place === undefined) requireTunPrivileges(await ownPrivileges())
  const user = options.setuid === undefined ? undefined : await lookUpUser(options.setuid)
  const { log, stateDirectory, runtimeDirectory } = handlers
  const keyTables = options.keyDirectory === undefined ? undefined : new KeyTables(options.keyDirectory)
  const factory = new SessionFactory(options, { random: systemRandom, wallClockMs: () => Date.now() })
  const addresses = new GatewayAddresses((signal) => resolveServer(options.server, { signal }), systemClock)
  // A proxy setting that is none is found out before there is a device to take back.
  const opener = new TransportOpener(options, new TlsSessionCache())
  const proxy = opener.proxyFor('tcp')
  const history = new SessionHistory(() => Date.now())
  const captures = new Captures(options.capture, log)
  const ladder = new LadderEvidence()
  let session: VpnSession | undefined
  let deviceGone: string | undefined
  let keeperGone = false
  const onKeeperGone = (): void => {
    keeperGone = true
    session?.stop('keeper-gone')
  }
  const hostLog = log.child('host')
  const tunnel = await Tunnel.open(options, {
    log,
    random: systemRandom,
    now: () => systemClock.now(),
    place:
      handlers.place ??
      (await HostPlace.open(options, { stateDirectory, runtimeDirectory }, hostLog, onKeeperGone)),
    keyTables,
    capture: captures.inner,
    softLimits: factory.softLimits,
    gatewayAddresses: () => addresses.known,
    onSoftLimit: (spiIn) => session?.childLimitReached(spiIn),
    onDeviceGone: (what) => {
      deviceGone = what
      session?.stop('device-gone')
    }
  })
  const memory = new NetworkMemory({ file: networkMemoryFile(stateDirectory), log })
  const runner = new SystemCommandRunner(hostLog)
  let privileged = true
  const watching = watchNetwork(() => session?.networkChanged(), {
    ignoredDevices: [tunnel.interfaceName],
    log: hostLog
  })
  const becomeUser = (): void => {
    if (user === undefined || !privileged) return
    privileged = false
    watching.restart(() => dropPrivileges(user))
  }
  const told = (event: ClientEvent): void => {
    history.note(event)
    ladder.note(event)
    if (event.event === 'connected') becomeUser()
    handlers.onEvent(event)
  }
  const portal = new PortalWatch(options, ladder, () => portalNow(options, runner), told)
  session = new VpnSession(options, {
    clock: systemClock,
    chance: Math.random,
    log,
    tunnel,
    factory,
    open: async (candidate, signal, timeoutMs) => {
      const opened = await opener.open(candidate, signal, timeoutMs)
      return 'transport' in opened ? { transport: captures.of(opened.transport) } : opened
    },
    addresses,
    redirects: new Redirects({
      clock: systemClock,
      lookUp: (host, signal) => resolveServer(host, { signal }),
      onEvent: told
    }),
    sourceFor: sourceAddressFor,
    streamTarget:
      proxy === undefined
        ? { via: null, addresses: undefined }
        : { via: proxyLabel(proxy), addresses: [options.server] },
    recall: async () => {
      const [address] = await addresses.find(AbortSignal.timeout(RECALL_TIMEOUT_MS)).catch(() => [])
      const network = await currentNetwork(address, runner)
      return network === undefined ? undefined : memory.recall(network, options.server)
    },
    remember: async (transport, address) => {
      // What is remembered is root's, as what is in the journal.
      if (user !== undefined && !privileged) return
      const network = await currentNetwork(address, runner)
      if (network !== undefined) await memory.remember(network, options.server, { transport, address })
    },
    onEvent: told,
    onRetry: (error) => void portal.look(error, () => session?.connected === false && !session.stopping)
  })
  const { runBy = 'connect' } = handlers
  return startSession({
    ...{ options, session, tunnel, history, watching, captures, runBy, log, runtimeDirectory },
    streamFaults: opener.faults,
    failure: () => {
      if (deviceGone !== undefined) return lostDevice(deviceGone)
      return keeperGone ? lostKeeper() : undefined
    },
    explain: async (error) =>
      wantsExplanation(error, ladder)
        ? explainFailure(error, ladder, options, () => portalNow(options, runner))
        : error
  })
}

function portalNow({ portal }: ConnectOptions, runner: SystemCommandRunner): Promise<PortalEvidence | null> {
  return checkPortal(portal, {
    runner,
    timeoutMs: PORTAL_TIMEOUT_MS,
    signal: AbortSignal.timeout(PORTAL_TIMEOUT_MS)
  })
}

/** Nobody asked for this end, although it is a clean one. */
function lostDevice(what: string): SystemError {
  return new SystemError('device-gone', `${what} while the tunnel was up.`, {
    hint: 'Find out who deletes network devices here, such as a network manager, and connect again.'
  })
}
