import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  dropPrivileges,
  hasNetAdmin,
  type IdentitySwitch,
  lookUpUser,
  ownPrivileges,
  requireTunPrivileges
} from '../../../src/host/privileges.ts'
import { RecordingRunner } from '../../support/recording-runner.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

it('reads CAP_NET_ADMIN out of the effective set', () => {
  expect(hasNetAdmin('CapPrm:\t000001ffffffffff\nCapEff:\t0000000000001000\n')).toBe(true)
  expect(hasNetAdmin('CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000fff\n')).toBe(false)
  expect(hasNetAdmin('')).toBe(false)
})

it('tells an absent TUN device from one that is there', async () => {
  const folder = await scratchDirectory('privileges')
  await writeFile(join(folder, 'status'), 'CapEff:\t0000000000001000\n')
  await writeFile(join(folder, 'tun'), '')
  expect(await ownPrivileges(join(folder, 'status'), join(folder, 'none'))).toEqual({
    netAdmin: true,
    tunDevice: 'absent'
  })
  expect(await ownPrivileges(join(folder, 'status'), join(folder, 'tun'))).toEqual({
    netAdmin: true,
    tunDevice: 'usable'
  })
})

it('says what is missing, with the exit code and what to do', () => {
  expect(() => requireTunPrivileges({ netAdmin: true, tunDevice: 'usable' })).not.toThrow()
  const failure = (netAdmin: boolean, tunDevice: 'usable' | 'absent' | 'forbidden'): unknown => {
    try {
      requireTunPrivileges({ netAdmin, tunDevice })
      return undefined
    } catch (error) {
      return error
    }
  }
  expect(failure(false, 'usable')).toMatchObject({
    exitCode: 77,
    hint: expect.stringContaining('sudo')
  })
  expect(failure(true, 'forbidden')).toMatchObject({ exitCode: 77, code: 'tun-forbidden' })
  expect(failure(false, 'absent')).toMatchObject({
    exitCode: 71,
    hint: expect.stringContaining('modprobe tun')
  })
})

it('looks a user up as the system does', async () => {
  const runner = new RecordingRunner()
    .answer(/id -u -- alice/, { stdout: '1001\n' })
    .answer(/id -g -- alice/, { stdout: '100\n' })
    .answer(/mallory/, { exitCode: 1, stderr: 'id: no such user' })
  expect(await lookUpUser('alice', runner)).toEqual({ name: 'alice', uid: 1001, gid: 100 })
  await expect(lookUpUser('mallory', runner)).rejects.toMatchObject({ exitCode: 64 })
})

describe('giving up privileges', () => {
  function fake(changes: Partial<IdentitySwitch> = {}): { calls: string[]; target: IdentitySwitch } {
    const calls: string[] = []
    let uid = 0
    const target: IdentitySwitch = {
      setgroups: (groups) => void calls.push(`setgroups ${groups}`),
      initgroups: (user, group) => void calls.push(`initgroups ${user} ${group}`),
      setgid: (gid) => void calls.push(`setgid ${gid}`),
      setuid: (id) => {
        if (uid !== 0) throw new Error('EPERM')
        calls.push(`setuid ${id}`)
        uid = id
      },
      getuid: () => uid,
      geteuid: () => uid,
      ...changes
    }
    return { calls, target }
  }

  it('sets groups, group and user in that order', () => {
    const named = fake()
    dropPrivileges({ name: 'alice', uid: 1001, gid: 100 }, named.target)
    expect(named.calls).toEqual(['initgroups alice 100', 'setgid 100', 'setuid 1001'])
    const numbered = fake()
    dropPrivileges({ name: '1001', uid: 1001, gid: 100 }, numbered.target)
    expect(numbered.calls[0]).toBe('setgroups 100')
  })

  it('is an error when the system refuses, and when there is a way back', () => {
    const refused = fake({
      setgid: () => {
        throw new Error('EPERM')
      }
    })
    expect(() => dropPrivileges({ name: 'alice', uid: 1, gid: 1 }, refused.target)).toThrow(
      /cannot become alice/
    )
    expect(refused.calls).not.toContain('setuid 1')
    let uid = 0
    const back = fake({
      setuid: (id) => {
        uid = id
      },
      getuid: () => uid,
      geteuid: () => uid
    })
    expect(() => dropPrivileges({ name: 'alice', uid: 1, gid: 1 }, back.target)).toThrow(/could still undo/)
  })
})
