/**
 * The file that `ikestream gateway --cluster` names: who the two nodes of a cluster are, and what moves between them.
 * @module
 */
import { dirname, resolve } from 'node:path'
import * as v from 'valibot'
import { ConfigurationError } from '../errors.ts'
import {
  type ClusterOptions,
  DEFAULT_DEAD_MS,
  DEFAULT_HEARTBEAT_MS,
  DEFAULT_PRIORITY
} from '../gateway/cluster-options.ts'
import { readSecretFile } from '../host/secrets-input.ts'
import type { Logger } from '../log.ts'
import type { Secret } from '../secret.ts'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'
import { parseCidr } from '../wire/cidr.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { readInput } from './files.ts'
import { parseToml } from './gateway-settings.ts'
import { nearest } from './nearest.ts'

/** Whoever has the secret can pose as the other node: it must not be a word that can be guessed. */
const MIN_SECRET_BYTES = 32
const MIN_HEARTBEAT_S = 0.02
const MAX_DEAD_S = 60
/** Fewer heartbeats than this in the dead time, and one that is late makes a takeover. */
const MIN_HEARTBEATS = 3

const seconds = v.pipe(v.number(), v.minValue(MIN_HEARTBEAT_S), v.maxValue(MAX_DEAD_S))
const ADDRESS = v.strictObject({ address: v.string(), interface: v.pipe(v.string(), v.minLength(1)) })
const ENTRIES = {
  node: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  listen: v.string(),
  peer: v.string(),
  'secret-file': v.string(),
  priority: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255)), DEFAULT_PRIORITY),
  preempt: v.optional(v.boolean(), false),
  heartbeat: v.optional(seconds, DEFAULT_HEARTBEAT_MS / 1000),
  'dead-time': v.optional(seconds, DEFAULT_DEAD_MS / 1000),
  takeover: v.optional(v.picklist(['self', 'external']), 'self'),
  'service-address': v.pipe(v.array(ADDRESS), v.minLength(1))
}
const SCHEMA = v.strictObject(ENTRIES)

/** @throws InputError, DataError, ConfigurationError */
export async function readClusterFile(file: string, log: Logger): Promise<ClusterOptions> {
  const path = resolve(file)
  const parsed = v.safeParse(SCHEMA, parseToml(readInput(path, 'The cluster file').toString('utf8'), path))
  if (!parsed.success) throw schemaError(parsed.issues[0], path)
  const { output } = parsed
  const heartbeatMs = output.heartbeat * 1000
  const deadMs = output['dead-time'] * 1000
  if (deadMs < heartbeatMs * MIN_HEARTBEATS)
    throw bad(path, `dead-time must be ${MIN_HEARTBEATS} times the heartbeat at least`)
  const listen = endpointOf(output.listen, 'listen', path)
  const peer = endpointOf(output.peer, 'peer', path)
  if (listen.address === peer.address && listen.port === peer.port)
    throw bad(path, 'listen and peer are the same: peer is where the other node listens')
  return {
    node: output.node,
    listen,
    peer,
    secret: await clusterSecret(resolve(dirname(path), output['secret-file']), log),
    priority: output.priority,
    preempt: output.preempt,
    heartbeatMs,
    deadMs,
    takeover: output.takeover,
    addresses: output['service-address'].map((one) => ({
      ...addressOf(one.address, path),
      interface: one.interface
    }))
  }
}

async function clusterSecret(path: string, log: Logger): Promise<Secret> {
  const secret = await readSecretFile(path, log)
  if (secret.reveal().length >= MIN_SECRET_BYTES) return secret
  throw new ConfigurationError('secret-too-short', `${path} holds fewer than ${MIN_SECRET_BYTES} bytes.`, {
    hint: `Make a secret that nobody can guess: openssl rand -base64 48 > ${path}`
  })
}

function addressOf(text: string, path: string): { address: string; prefixLength: number } {
  const cidr = parseCidr(text)
  if (cidr === undefined || !text.includes('/'))
    throw bad(path, `the service address ${text} is not an address with its prefix, like 203.0.113.10/24`)
  return { address: addressFromBytes(cidr.address), prefixLength: cidr.prefixLength }
}

/** `address:port`, or `[address]:port`. */
function endpointOf(text: string, key: string, path: string): Endpoint {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? []
  const bytes = addressToBytes(bracketed ?? plain ?? '')
  const port = Number(digits)
  if (bytes === undefined || bytes.every((byte) => byte === 0) || port < 1 || port > 65_535)
    throw bad(path, `${key} must be an address of its own and a port, like 10.0.0.1:4600`)
  return { address: addressFromBytes(bytes), port }
}

function schemaError(issue: v.BaseIssue<unknown>, path: string): ConfigurationError {
  const key = v.getDotPath(issue) ?? ''
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    const near = nearest(key, Object.keys(ENTRIES))
    return new ConfigurationError('cluster-unknown-key', `${key} in ${path} is not a known setting.`, {
      hint: near === undefined ? `Known: ${Object.keys(ENTRIES).join(', ')}.` : `Did you mean ${near}?`
    })
  }
  if (issue.received === 'undefined') return bad(path, `${key} is missing`)
  return bad(path, `${key} must be ${issue.expected ?? 'something else'}, not ${issue.received}`)
}

function bad(path: string, problem: string): ConfigurationError {
  return new ConfigurationError('cluster-bad-value', `The cluster file ${path} cannot be used: ${problem}.`)
}
