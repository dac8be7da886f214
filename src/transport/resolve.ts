/**
 * A server's name to all its addresses, in the order in which they are worth trying (RFC 8305 section 4).
 * @module
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { ResolveError } from '../errors.ts'
import { systemCode } from './failure.ts'
import { hedgedLookup, type Lookup } from './hedged-lookup.ts'

const systemLookup: Lookup = hedgedLookup((host) => lookup(host, { all: true, order: 'verbatim' }))

export interface ResolveOptions {
  readonly lookup?: Lookup | undefined
  readonly signal?: AbortSignal | undefined
  /** Only addresses of this family. */
  readonly family?: 4 | 6 | undefined
}

/**
 * An address (brackets allowed) is returned as it is.
 * @throws ResolveError `name-not-found`, `name-lookup-failed`, `no-address`, `resolve-aborted`
 */
export async function resolveServer(host: string, options: ResolveOptions = {}): Promise<string[]> {
  const literal = host.replace(/^\[(.*)\]$/, '$1')
  if (isIP(literal) !== 0) return [literal]
  const found = await withAbort((options.lookup ?? systemLookup)(host), host, options.signal)
  const wanted = found.filter(({ family }) => options.family === undefined || family === options.family)
  const addresses = interleave(wanted)
  if (addresses.length === 0)
    throw new ResolveError('no-address', `${host} has no address${familyText(options.family)}`, {
      hint: 'Check the spelling, or give the server by its address'
    })
  return addresses
}

/** Families take turns, beginning with that of the first address; within a family the order stays. */
export function interleave(
  found: readonly { readonly address: string; readonly family: number }[]
): string[] {
  const first = found[0]?.family
  const ours = unique(found.filter(({ family }) => family === first).map(({ address }) => address))
  const others = unique(found.filter(({ family }) => family !== first).map(({ address }) => address))
  const result: string[] = []
  for (let index = 0; index < Math.max(ours.length, others.length); index++) {
    for (const address of [ours[index], others[index]]) if (address !== undefined) result.push(address)
  }
  return result
}

function unique(addresses: readonly string[]): string[] {
  return [...new Set(addresses)]
}

function familyText(family: 4 | 6 | undefined): string {
  return family === undefined ? '' : ` for IPv${family}`
}

async function withAbort<T>(work: Promise<T>, host: string, signal: AbortSignal | undefined): Promise<T> {
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(new ResolveError('resolve-aborted', `Looking up ${host} was given up`))
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted === true) onAbort()
  })
  try {
    return await Promise.race([work, aborted])
  } catch (error) {
    throw error instanceof ResolveError ? error : lookupError(error, host)
  } finally {
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort)
  }
}

function lookupError(error: unknown, host: string): ResolveError {
  const code = systemCode(error)
  if (code === 'ENOTFOUND' || code === 'ENODATA')
    return new ResolveError('name-not-found', `The name ${host} does not exist`, {
      hint: 'Check the spelling, or give the server by its address',
      cause: error
    })
  return new ResolveError(
    'name-lookup-failed',
    `The name ${host} could not be looked up (${code || 'no reason given'})`,
    {
      hint: 'Check that this machine has a working DNS server, or give the server by its address',
      cause: error
    }
  )
}
