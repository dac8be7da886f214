/**
 * Names for requests that may have to be given up. The C library's own lookup cannot be: with a silent name server it holds
 * the whole process for ten seconds. So the name servers are asked directly, and the C library only about names that they do
 * not know (it reads /etc/hosts), which then does not take long.
 * @module
 */
import { lookup as lookupBySystem } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import type { LookupFunction } from 'node:net'
import { systemCode } from '../transport/failure.ts'

/** One lost packet is not a silent name server. The wait doubles from question to question. */
const FIRST_WAIT_MS = 400
const TRIES = 3

interface Found {
  readonly address: string
  readonly family: number
}

/** For `lookup` of `net.connect` and everything that is made of it. */
export function cancellableLookup(timeoutMs: number, signal: AbortSignal): LookupFunction {
  return (host, options, callback) => {
    const resolver = new Resolver({ timeout: Math.min(FIRST_WAIT_MS, timeoutMs), tries: TRIES })
    const cancel = (): void => resolver.cancel()
    signal.addEventListener('abort', cancel, { once: true })
    const timer = setTimeout(cancel, timeoutMs)
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', cancel)
    }
    askBoth(resolver, host).then(
      (found) => {
        end()
        const [first] = found
        if (first === undefined) lookupBySystem(host, options, callback)
        else if (options.all === true) callback(null, [...found])
        else callback(null, first.address, first.family)
      },
      (error: NodeJS.ErrnoException) => {
        end()
        callback(error, '')
      }
    )
  }
}

/** @returns nothing when there is no such name; rejects when nobody answers */
async function askBoth(resolver: Resolver, host: string): Promise<readonly Found[]> {
  const [ipv4, ipv6] = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
  const found = [
    ...(ipv4.status === 'fulfilled' ? ipv4.value.map((address) => ({ address, family: 4 })) : []),
    ...(ipv6.status === 'fulfilled' ? ipv6.value.map((address) => ({ address, family: 6 })) : [])
  ]
  if (found.length > 0 || ipv4.status === 'fulfilled') return found
  const code = systemCode(ipv4.reason)
  if (code === 'ENOTFOUND' || code === 'ENODATA') return []
  throw ipv4.reason
}
