/**
 * Each invariant notices what it is for: the code under test is broken on purpose, and the simulation has to say so.
 */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Reconnection } from '../../src/client/reconnection.ts'
import { VpnSession } from '../../src/client/session.ts'
import { ReplayVerdict, ReplayWindow } from '../../src/esp/replay-window.ts'
import { Sad } from '../../src/esp/sad.ts'
import { ExchangeManager } from '../../src/ike/exchange-manager.ts'
import { IkeSession } from '../../src/ike/session.ts'
import { SessionState } from '../../src/ike/session-state.ts'
import { StreamTransport } from '../../src/transport/stream.ts'
import { PayloadType } from '../../src/wire/ike-constants.ts'
import type { Profile } from './model/plan.ts'
import { type Simulation, simulate } from './model/simulation.ts'

/** A fault that no seed of so many brings to light would be well hidden. */
const SEEDS = 40

/** @returns the first invariant that does not hold in this profile */
async function firstBroken(profile: Profile, sabotage?: (simulation: Simulation) => void): Promise<string> {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { invariant } = await simulate({ seed, profile, sabotage })
    if (invariant !== undefined) return invariant
  }
  return 'none'
}

describe('the simulation notices', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  it('a Message ID that is used again', async () => {
    const actual = Object.getOwnPropertyDescriptor(ExchangeManager.prototype, 'nextRequestId')?.get
    vi.spyOn(ExchangeManager.prototype, 'nextRequestId', 'get').mockImplementation(function (
      this: ExchangeManager
    ) {
      return Math.min(3, actual?.call(this))
    })
    expect(await firstBroken('rekeys')).toBe('message-ids')
  })

  it('a replay window that lets everything through', async () => {
    vi.spyOn(ReplayWindow.prototype, 'check').mockReturnValue(ReplayVerdict.fresh)
    expect(await firstBroken('lossy')).toBe('no-duplicates')
  })

  it('an old Child SA that goes at once', async () => {
    const { retireChild } = SessionState.prototype
    vi.spyOn(SessionState.prototype, 'retireChild').mockImplementation(function (
      this: SessionState,
      child,
      reason
    ) {
      retireChild.call(this, child, reason)
      this.removeChild(child, 'rekeyed')
    })
    expect(await firstBroken('rekeys')).toBe('no-loss')
  })

  it('a key that the two ends do not share', async () => {
    const { install } = Sad.prototype
    let installed = 0
    vi.spyOn(Sad.prototype, 'install').mockImplementation(function (this: Sad, parameters) {
      // Those of the first connection are as they should be.
      if (++installed > 2)
        parameters.outbound.encryptionKey[0] = (parameters.outbound.encryptionKey[0] ?? 0) ^ 1
      return install.call(this, parameters)
    })
    expect(await firstBroken('rekeys')).toBe('keys')
  })

  it('a data plane that keeps SAs which are gone', async () => {
    vi.spyOn(Sad.prototype, 'remove').mockReturnValue(true)
    expect(await firstBroken('rekeys')).toBe('spis')
  })

  it('streams that are never closed', async () => {
    vi.spyOn(StreamTransport.prototype, 'close').mockResolvedValue()
    expect(await firstBroken('streams')).toMatch(/^(spis|memory)$/)
  })

  it('a gateway that never asks whether its clients live', async () => {
    const nothing = () => undefined
    vi.spyOn(IkeSession.prototype, 'checkLiveness').mockImplementation(nothing)
    vi.spyOn(IkeSession.prototype, 'noteTraffic').mockImplementation(nothing)
    vi.spyOn(IkeSession.prototype, 'replaced').mockImplementation(nothing)
    vi.spyOn(IkeSession.prototype, 'rekeyIke').mockImplementation(nothing)
    expect(await firstBroken('crashes')).toMatch(/^(spis|beliefs|comes-back)$/)
  })

  it('a session that believes an unprotected message', async () => {
    const { receive } = IkeSession.prototype
    vi.spyOn(IkeSession.prototype, 'receive').mockImplementation(function (
      this: IkeSession,
      now,
      message,
      path
    ) {
      if (message[16] === PayloadType.NOTIFY && this.state === 'ESTABLISHED') this.replaced()
      return receive.call(this, now, message, path)
    })
    expect(await firstBroken('hostile')).toBe('authentic')
  })

  it('a client that does not come back', async () => {
    vi.spyOn(Reconnection.prototype, 'regain').mockReturnValue(new Promise(() => undefined))
    expect(await firstBroken('crashes')).toBe('comes-back')
  })

  it('a client that does not end', async () => {
    vi.spyOn(VpnSession.prototype, 'stop').mockReturnValue()
    expect(await firstBroken('rekeys')).toBe('ends')
  })

  it('an engine that throws', async () => {
    vi.spyOn(IkeSession.prototype, 'rekeyChild').mockImplementation(() => {
      throw new Error('on purpose')
    })
    expect(await firstBroken('rekeys')).toBe('engine')
  })

  it('timers without end', async () => {
    const sabotage = ({ gateway }: Simulation): void => {
      for (let count = 0; count < 1_000; count++) gateway.clock?.setTimer(1e9, () => undefined)
    }
    expect(await firstBroken('rekeys', sabotage)).toBe('memory')
  })
})
