/**
 * What a session without privileges and the keeper of its host say to each other: lines of JSON on two pipes.
 *
 * The session's side may be in the hands of whoever broke into it. So there are few requests, each with a strict schema: values
 * are addresses, networks, names and numbers, never a path or a command after the first two requests, which come while the
 * session is trusted still (`open`, `apply`; see `Keeper` for the order). Lines and lists are bounded.
 * @module
 */
import * as v from 'valibot'
import { addressFamily } from '../wire/address.ts'
import { isDomainName } from '../wire/domain-name.ts'
import { parseNetwork } from './route.ts'

/** Room for thousands of routes. */
export const MAX_LINE_LENGTH = 1_048_576
const INITIAL_CAPACITY = 4096
const MAX_ADDRESSES = 64
/** Of one tunnel. */
export const MAX_ROUTES = 16_384
const MAX_DOMAINS = 256
/** What Linux takes for the name of a device, but none that looks like an option. */
const DEVICE = /^(?!-)(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/
/** Every IPv4 host has to reassemble 576; 68 is the least that a link may have (RFC 791). */
const LEAST_MTU = 68

const Address = v.pipe(
  v.string(),
  v.check((text) => addressFamily(text) !== undefined, 'no address')
)
const Network = v.pipe(
  v.string(),
  v.check((text) => parseNetwork(text) !== undefined, 'no network')
)
const Domain = v.pipe(v.string(), v.check(isDomainName, 'no domain'))
const Mtu = v.pipe(v.number(), v.integer(), v.minValue(LEAST_MTU), v.maxValue(65_535))
const Addresses = v.pipe(v.array(Address), v.maxLength(MAX_ADDRESSES))

const TunnelAddress = v.pipe(
  v.strictObject({
    address: Address,
    prefixLength: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(128))
  }),
  v.check(({ address, prefixLength }) => addressFamily(address) === 6 || prefixLength <= 32, 'no prefix')
)
const InnerNetwork = {
  addresses: v.pipe(v.array(TunnelAddress), v.maxLength(MAX_ADDRESSES)),
  routes: v.pipe(v.array(Network), v.maxLength(MAX_ROUTES)),
  dns: v.optional(
    v.strictObject({
      servers: Addresses,
      domains: v.pipe(v.array(Domain), v.maxLength(MAX_DOMAINS)),
      exclusive: v.boolean()
    })
  )
}

const Ask = v.variant('op', [
  v.strictObject({
    op: v.literal('open'),
    /** Process id of the session. */
    pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    settings: v.strictObject({
      stateDirectory: v.string(),
      sessionName: v.string(),
      netns: v.optional(v.string()),
      script: v.optional(v.string()),
      pidFile: v.optional(v.string()),
      controlSocket: v.optional(v.string())
    })
  }),
  v.strictObject({
    op: v.literal('apply'),
    config: v.strictObject({
      ...InnerNetwork,
      interface: v.pipe(v.string(), v.regex(DEVICE)),
      netns: v.optional(v.string()),
      mtu: Mtu,
      pinned: Addresses
    })
  }),
  v.strictObject({ op: v.literal('reconfigure'), network: v.strictObject(InnerNetwork) }),
  v.strictObject({ op: v.literal('update-pinned'), addresses: Addresses }),
  v.strictObject({ op: v.literal('repin') }),
  v.strictObject({ op: v.literal('set-mtu'), mtu: Mtu }),
  v.strictObject({ op: v.literal('undo') }),
  v.strictObject({ op: v.literal('close') })
])
const Request = v.strictObject({ id: v.pipe(v.number(), v.safeInteger()), ask: Ask })
export type KeeperAsk = v.InferOutput<typeof Ask>
export type KeeperRequest = v.InferOutput<typeof Request>

const Conflicts = v.array(
  v.object({
    kind: v.picklist([
      'route-exists',
      'route-is-gateway',
      'gateway-unrouted',
      'ipv6-unavailable',
      'dns-outside-tunnel'
    ]),
    subject: v.string(),
    message: v.string()
  })
)
const Reply = v.variant('type', [
  v.object({
    type: v.literal('done'),
    id: v.pipe(v.number(), v.safeInteger()),
    result: v.object({
      conflicts: v.optional(Conflicts, []),
      dnsMode: v.optional(v.nullable(v.picklist(['resolvectl', 'resolvconf', 'file', 'netns-file'])), null),
      moved: v.optional(v.array(v.string()), [])
    })
  }),
  v.object({
    type: v.literal('failed'),
    id: v.pipe(v.number(), v.safeInteger()),
    family: v.string(),
    code: v.string(),
    message: v.string(),
    hint: v.optional(v.string())
  }),
  v.object({
    type: v.literal('log'),
    level: v.picklist(['trace', 'debug', 'info', 'warn', 'error']),
    message: v.string(),
    fields: v.optional(v.record(v.string(), v.unknown()))
  })
])
export type KeeperReply = v.InferOutput<typeof Reply>
/** What a request that was done has to tell; what it does not is empty. */
export type KeeperResult = Extract<KeeperReply, { type: 'done' }>['result']

/** @returns undefined for anything that is not exactly a request */
export function parseRequest(line: string): KeeperRequest | undefined {
  return parsed(Request, line)
}

export function parseReply(line: string): KeeperReply | undefined {
  return parsed(Reply, line)
}

function parsed<S extends v.GenericSchema>(schema: S, line: string): v.InferOutput<S> | undefined {
  try {
    const result = v.safeParse(schema, JSON.parse(line))
    return result.success ? result.output : undefined
  } catch {
    return undefined
  }
}

/** Cuts a stream into lines. Each byte is copied once, however small the pieces are that it comes in. */
export class LineReader {
  readonly #onLine: (line: string) => void
  /** The line that is not whole yet. */
  #held: Buffer = Buffer.alloc(INITIAL_CAPACITY)
  #heldLength = 0

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  /** @returns false once a line is longer than any may be; nothing is read from then on */
  push(chunk: Buffer): boolean {
    let rest = chunk
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = this.#heldLength === 0 ? rest.subarray(0, end) : this.#whole(rest.subarray(0, end))
      this.#heldLength = 0
      this.#onLine(line.toString())
      rest = rest.subarray(end + 1)
    }
    if (rest.length > 0) this.#hold(rest)
    return this.#heldLength <= MAX_LINE_LENGTH
  }

  #whole(end: Buffer): Buffer {
    this.#hold(end)
    return this.#held.subarray(0, this.#heldLength)
  }

  #hold(bytes: Buffer): void {
    const length = this.#heldLength + bytes.length
    if (length > this.#held.length) {
      const larger = Buffer.alloc(Math.max(length, this.#held.length * 2))
      this.#held.copy(larger, 0, 0, this.#heldLength)
      this.#held = larger
    }
    bytes.copy(this.#held, this.#heldLength)
    this.#heldLength = length
  }
}
