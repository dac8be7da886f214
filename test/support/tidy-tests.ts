/**
 * What tests of clients on a site have in common: each finds the network whole, and leaves the client's host as it was.
 * @module
 */
import { afterEach, beforeEach, expect } from 'vitest'
import type { IkestreamSite } from './ikestream-site.ts'

/**
 * Call in a `describe`.
 * @param site opened by the time that the first test begins
 * @returns what the host was like before the test that runs
 */
export function expectTidyTests(site: () => IkestreamSite): () => string {
  let before: string
  beforeEach(async () => {
    await site().hotel.restore()
    before = await site().clientState()
  })
  afterEach(async () => {
    await site().stopClients()
    expect(await site().clientState()).toBe(before)
  })
  return () => before
}
