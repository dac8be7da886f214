/**
 * The system's own lookup, and when that takes long the name servers asked directly beside it: the C library waits five seconds before
 * it asks again, so that one lost packet would cost more than everything else on the way to a tunnel.
 *
 * Only addresses from the name servers count; that a name does not exist is for the system to say, which may know it from elsewhere.
 * @module
 */
import { Resolver } from 'node:dns/promises'

/** Every address of a name in the system's own order of preference (RFC 6724). */
export type Lookup = (
  host: string
) => Promise<readonly { readonly address: string; readonly family: number }[]>

/** By then nearly every name server has answered. */
export const HEDGE_AFTER_MS = 800
/** Asked again so often, each time after at least so long. */
const DIRECT_TRIES = 5
const DIRECT_TIMEOUT_MS = 500

/** Addresses from the name servers; `cancel` ends the question. */
export interface DirectLookup {
  readonly answer: ReturnType<Lookup>
  cancel(): void
}

/** Whoever has addresses first. Rejects as the system's lookup does. */
export function hedgedLookup(
  bySystem: Lookup,
  directly: (host: string) => DirectLookup = askNameServers
): Lookup {
  return (host) => {
    let direct: DirectLookup | undefined
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        direct = directly(host)
        direct.answer.then(
          (found) => found.length > 0 && resolve(found),
          () => undefined
        )
      }, HEDGE_AFTER_MS)
      const end = (): void => {
        clearTimeout(timer)
        direct?.cancel()
      }
      bySystem(host).then(
        (found) => {
          end()
          resolve(found)
        },
        (error: unknown) => {
          end()
          reject(error)
        }
      )
    })
  }
}

function askNameServers(host: string): DirectLookup {
  const resolver = new Resolver({ timeout: DIRECT_TIMEOUT_MS, tries: DIRECT_TRIES })
  const ask = async (): ReturnType<Lookup> => {
    const [six, four] = await Promise.allSettled([resolver.resolve6(host), resolver.resolve4(host)])
    const entries = (result: PromiseSettledResult<string[]>, family: 4 | 6) =>
      result.status === 'fulfilled' ? result.value.map((address) => ({ address, family })) : []
    return [...entries(six, 6), ...entries(four, 4)]
  }
  return { answer: ask(), cancel: () => resolver.cancel() }
}
