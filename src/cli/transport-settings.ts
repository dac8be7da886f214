/**
 * The options about the way to the gateway, resolved: what `connect` and `check` have in common.
 * @module
 */
import type { ProxySetting, TransportOptions } from '../client/options.ts'
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
