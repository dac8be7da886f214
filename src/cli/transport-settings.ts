/**
 * The options about the way to the gateway, resolved: what `connect` and `check` have in common.
 * @module
 */
import type { ProxySetting, TransportOptions } from '../client/options.ts'
import {
  acceptedApiUrl,
  acceptedProbeUrl,
  DEFAULT_PORTAL_URL,
  type PortalSettings
} from '../diagnosis/portal-settings.ts'
import { ConfigurationError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import { readInput } from './files.ts'
import type { OptionValues } from './option-values.ts'
import { socketSettings } from './socket-options.ts'

/** @throws ConfigurationError, InputError */
export function transportSettings(effective: OptionValues, log: Logger): Omit<TransportOptions, 'server'> {
  return {
    order: ladderOrder(effective),
    ports: {
      ike: effective.number('udp-port') ?? 500,
      natT: effective.number('nat-t-port') ?? 4500,
      tcp: effective.number('tcp-port') ?? 4500,
      tls: effective.number('tls-port') ?? 443
    },
    tls: {
      name: effective.text('tls-name'),
      verify: effective.flag('tls-verify'),
      ca: effective.list('tls-cafile').map((path) => readInput(path, 'The TLS CA file').toString())
    },
    proxy: proxySetting(effective),
    portal: portalSettings(effective),
    sockets: socketSettings(
      {
        socketBuffer: effective.number('socket-buffer'),
        notsentLowat: effective.number('notsent-lowat'),
        congestionControl: effective.text('congestion-control')
      },
      log
    )
  }
}

const TRANSPORTS: readonly TransportKind[] = ['udp', 'tcp', 'tls']

function ladderOrder(effective: OptionValues): readonly TransportKind[] {
  const transport = effective.text('transport') ?? 'auto'
  const forced = TRANSPORTS.find((kind) => kind === transport)
  if (forced !== undefined) return [forced]
  const wanted = effective.list('order')
  if (wanted.length === 0) return TRANSPORTS
  return [...new Set(wanted)].map((name) => {
    const kind = TRANSPORTS.find((candidate) => candidate === name)
    if (kind === undefined) {
      throw new ConfigurationError('bad-order', `transport.order names ${name}, which is no transport.`, {
        hint: `Known: ${TRANSPORTS.join(', ')}.`
      })
    }
    return kind
  })
}

function proxySetting(effective: OptionValues): ProxySetting {
  if (!effective.enabled('proxy')) return { kind: 'none' }
  const url = effective.text('proxy')
  return url === undefined ? { kind: 'environment' } : { kind: 'url', url }
}

function portalSettings(effective: OptionValues): PortalSettings {
  const url = effective.text('portal-url') ?? DEFAULT_PORTAL_URL
  const api = effective.text('captive-portal-api')
  const probe = acceptedProbeUrl(url)
  if (probe === undefined) {
    throw new ConfigurationError('bad-portal-url', `The web probe ${url} is not an http:// URL.`, {
      hint: 'A portal cannot answer in the place of an https:// page, and so would not be seen.'
    })
  }
  const accepted = api === undefined ? undefined : acceptedApiUrl(api)
  if (api !== undefined && accepted === undefined) {
    throw new ConfigurationError('bad-portal-api', `The captive portal API ${api} is not an https:// URL.`, {
      hint: 'RFC 8908 section 4 wants one.'
    })
  }
  return { enabled: effective.enabled('portal'), url: probe, api: accepted }
}
