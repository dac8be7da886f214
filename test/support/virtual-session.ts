/**
 * A whole client session on a virtual site: how to begin it, wait for it, and look for what it left behind.
 * @module
 */
import { expect } from 'vitest'
import type { ClientEvent } from '../../src/client/events.ts'
import type { ConnectOptions } from '../../src/client/options.ts'
import { VpnSession } from '../../src/client/session.ts'
import { connectOptions, type Overrides, sessionEnvironment } from './virtual-client.ts'
import { VirtualClock } from './virtual-clock.ts'
import { type SiteOptions, VirtualSite } from './virtual-site.ts'

export const KINDS = ['udp', 'tcp', 'tls'] as const

export interface SetUp {
  readonly options?: Partial<ConnectOptions>
  readonly site?: SiteOptions
  readonly environment?: Overrides
}

export function setUp(wanted: SetUp = {}) {
  const site = new VirtualSite(new VirtualClock(), wanted.site)
  const options = connectOptions(wanted.options)
  const { environment, tunnel, events } = sessionEnvironment(site, options, wanted.environment)
  const session = new VpnSession(options, environment)
  const state: { isOver: boolean; error: unknown } = { isOver: false, error: undefined }
  const begin = () => {
    void session.run().then(
      () => {
        state.isOver = true
      },
      (error: unknown) => {
        state.error = error
        state.isOver = true
      }
    )
  }
  const of = <E extends ClientEvent['event']>(name: E) =>
    events.filter((event): event is Extract<ClientEvent, { event: E }> => event.event === name)
  const { clock } = site
  const connected = async () => {
    begin()
    expect(await clock.until(() => of('connected').length > 0, 60_000)).toBe(true)
  }
  const ended = async (limitMs: number) => {
    expect(await clock.until(() => state.isOver, limitMs)).toBe(true)
  }
  const moved = (count: number, limitMs = 60_000) =>
    clock.until(() => of('path-changed').length >= count, limitMs)
  /** Ends it and looks for what was left behind. */
  const finish = async () => {
    session.stop()
    tunnel.stopTraffic()
    await ended(4000)
    await expectNothingLeft(site)
    expect(events.at(-1)?.event).toBe('disconnected')
    expect(of('disconnected')).toHaveLength(1)
  }
  return { site, clock, options, tunnel, events, session, state, begin, of, connected, ended, moved, finish }
}

/** No timer, no transport, and each was closed exactly once (those that broke need not be). */
export async function expectNothingLeft(site: VirtualSite): Promise<void> {
  site.tell((session) => session.replaced())
  await site.clock.advance(1000)
  expect(site.alive.map(({ kind }) => kind)).toEqual([])
  site.restart()
  await site.clock.advance(600_000)
  expect(site.clock.armed).toBe(0)
  for (const { kind, ended, closeCalls } of site.transports)
    if (ended?.code === 'closed') expect(closeCalls, kind).toBe(1)
}
