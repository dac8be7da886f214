/**
 * From the options of a command (or of the programmatic interface) to everything that a session needs to know: files
 * are read, names parsed, defaults filled in.
 * @module
 */
import { type ConnectOptions, DEFAULT_SESSION_TIMINGS } from '../client/options.ts'
import { DEFAULT_ESP_PROPOSALS, DEFAULT_IKE_PROPOSALS, parseProposals } from '../crypto/proposal.ts'
import { UsageError } from '../errors.ts'
import { requireSessionName } from '../host/session-name.ts'
import type { Logger } from '../log.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'
import { parseTrafficSelector } from '../wire/traffic-selectors.ts'
import { type GivenSecrets, loadCredentials } from './credentials.ts'
import type { OptionValues } from './option-values.ts'
import { transportSettings } from './transport-settings.ts'

/** Options that are no part of a profile, and that a session has to know. */
export interface ConnectFlags {
  readonly passwdOnStdin?: boolean
  readonly nonInter?: boolean
  readonly name?: string
  readonly setuid?: string
  readonly pidFile?: string
  readonly capture?: string
  readonly captureInner?: string
  readonly unsafeDumpKeys?: string
}

const TIMEOUT_MS = 60_000
/** As long as openconnect tries, whose inner connections live about as long, too. */
const RECONNECT_TIMEOUT_MS = 300_000

/** @throws UsageError, ConfigurationError, InputError, DataError */
export async function resolveOptions(
  server: string,
  profileName: string | undefined,
  effective: OptionValues,
  flags: ConnectFlags,
  log: Logger,
  secrets?: GivenSecrets
): Promise<ConnectOptions> {
  const prompting = {
    nonInteractive: flags.nonInter === true,
    passwordOnStdin: flags.passwdOnStdin === true,
    given: secrets
  }
  const credentials = await loadCredentials(effective, server, prompting, log)
  const milliseconds = (name: string): number | undefined => millisecondsOf(effective, name)
  const persist = effective.flag('persist')
  const timeoutMs = milliseconds('timeout') ?? TIMEOUT_MS
  const probeMs = milliseconds('udp-probe') ?? DEFAULT_SESSION_TIMINGS.udpProbeFirstMs
  return {
    server,
    sessionName:
      flags.name === undefined ? sessionName(profileName ?? server) : requireSessionName(flags.name),
    ...credentials,
    ikeProposals: proposals(effective, 'ike'),
    espProposals: proposals(effective, 'esp'),
    ...transportSettings(effective, log),
    localTs: selectors(effective, 'local-ts'),
    remoteTs: selectors(effective, 'remote-ts'),
    interfaceName: effective.text('interface'),
    mtu: effective.number('mtu'),
    netns: effective.text('netns'),
    routes: effective.enabled('routes'),
    dns: effective.enabled('dns'),
    script: effective.text('script'),
    timeoutMs: persist ? Number.POSITIVE_INFINITY : timeoutMs,
    reconnectTimeoutMs: persist
      ? Number.POSITIVE_INFINITY
      : // Who said how long it may take meant it, whichever time it is.
        (milliseconds('reconnect-timeout') ??
        (effective.source('timeout') === 'default' ? RECONNECT_TIMEOUT_MS : timeoutMs)),
    timers: {
      livenessMs: milliseconds('dpd') ?? 30_000,
      clusterLivenessMs: milliseconds('cluster-liveness') ?? 5_000,
      ...given('ikeLifetimeMs', milliseconds('ike-lifetime')),
      ...given('childLifetimeMs', milliseconds('child-lifetime'))
    },
    timings: { ...DEFAULT_SESSION_TIMINGS, udpProbeFirstMs: probeMs },
    ladder: ladderTimings(effective),
    initialContact: effective.flag('initial-contact'),
    resume: effective.enabled('resume'),
    redirect: effective.enabled('redirect'),
    setuid: flags.setuid,
    pidFile: flags.pidFile,
    capture: { outer: flags.capture, inner: flags.captureInner },
    keyDirectory: flags.unsafeDumpKeys,
    rememberNetworks: effective.text('transport') === 'auto' && effective.source('order') === 'default'
  }
}

function millisecondsOf(effective: OptionValues, name: string): number | undefined {
  const seconds = effective.number(name)
  return seconds === undefined ? undefined : seconds * 1000
}

export function ladderTimings(effective: OptionValues): ConnectOptions['ladder'] {
  return {
    ...given('udpGiveUpMs', millisecondsOf(effective, 'udp-timeout')),
    ...given('streamOpenAtMs', millisecondsOf(effective, 'stream-after')),
    ...given('streamIkeMs', millisecondsOf(effective, 'stream-timeout'))
  }
}

function given<K extends string>(key: K, value: number | undefined): Partial<Record<K, number>> {
  return value === undefined ? {} : ({ [key]: value } as Record<K, number>)
}

/** File names are made of it: whatever is not plain becomes a dash. */
function sessionName(text: string): string {
  return text.replace(/[^A-Za-z0-9_.@+=-]/g, '-').slice(0, 64)
}

export function proposals(effective: OptionValues, kind: 'ike' | 'esp'): ConnectOptions['ikeProposals'] {
  const texts = effective.list(`${kind}-proposal`)
  if (texts.length > 0) return parseProposals(texts, kind)
  return kind === 'ike' ? DEFAULT_IKE_PROPOSALS : DEFAULT_ESP_PROPOSALS
}

function selectors(effective: OptionValues, name: string): TrafficSelector[] {
  return effective.list(name).map((text) => {
    const selector = parseTrafficSelector(text)
    if (selector === undefined) {
      throw new UsageError('bad-traffic-selector', `--${name} ${text} is not a network.`, {
        hint: 'Examples: 10.0.0.0/8, 2001:db8::/32, 10.0.0.1/32[tcp/443].'
      })
    }
    return selector
  })
}
