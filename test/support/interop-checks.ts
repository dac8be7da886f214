/**
 * What interoperability suites check again and again.
 * @module
 */
import { expect } from 'vitest'
import type { ClientProcess } from './client-process.ts'
import { INNER_V4, INNER_V6 } from './interop-network.ts'
import type { InteropSite } from './interop-site.ts'
import type { Requirement } from './require.ts'

export const INTEROP_NEEDS: readonly Requirement[] = [
  'namespaces',
  'tun',
  'ipv6',
  'strongswan',
  'openssl',
  'ping'
]

/** Packets and checked bytes of both families and directions pass, and the inner network sees the virtual address. */
export async function expectWorkingTunnel(site: InteropSite, client: ClientProcess): Promise<void> {
  const { network } = site
  const { virtualIps } = await client.connected()
  expect(await network.ping(INNER_V4, { size: 1200 })).toBe(true)
  expect(await network.ping(INNER_V6)).toBe(true)
  expect(await network.download(700_001)).toMatchObject({ bytes: 700_001, matches: true })
  expect(await network.upload(700_003, INNER_V6)).toMatchObject({ bytes: 700_003, matches: true })
  expect(virtualIps).toContain(await network.seenAddress())
  expect(virtualIps).toContain(await network.seenAddress(INNER_V6))
}

/** Ctrl-C: exit code 0, the gateway was told, the machine is as before, and standard output held JSON lines only. */
export async function expectCleanEnd(
  site: InteropSite,
  client: ClientProcess,
  connection: string
): Promise<void> {
  expect(await client.interrupt(), client.transcript()).toBe(0)
  expect(client.all('disconnected')).toHaveLength(1)
  expect(client.all('error')).toEqual([])
  expect(client.strayOutput).toEqual([])
  await expect.poll(() => site.gateway.listSas(connection)).toEqual([])
  expect(await site.leftovers()).toBe('')
}
