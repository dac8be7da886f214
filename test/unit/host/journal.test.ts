import { chmod, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { cleanup, cleanupAll } from '../../../src/host/cleanup.ts'
import { directories, ensurePrivateDirectory } from '../../../src/host/directories.ts'
import {
  isAlive,
  Journal,
  journalPath,
  listJournals,
  ownIdentity,
  readJournal,
  writeJournalRecord
} from '../../../src/host/journal.ts'
import { type JournalRecord, parseRecord } from '../../../src/host/journal-record.ts'
import type { UndoStep } from '../../../src/host/undo-step.ts'
import { linkAnswer, RecordingRunner } from '../../support/recording-runner.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

let state: string
beforeEach(async () => {
  state = await scratchDirectory('journal')
})

const pin: UndoStep = {
  kind: 'host-route',
  route: {
    family: 4,
    destination: '198.18.0.1/32',
    type: 'unicast',
    via: '10.66.0.1',
    device: 'eth0',
    metric: 10
  }
}
const address: UndoStep = { kind: 'address', interface: 'ike0', index: 7, address: '10.88.0.7/32' }
const script: UndoStep = {
  kind: 'script',
  argv: ['/etc/vpnc/vpnc-script'],
  variables: { TUNDEV: 'ike0', reason: 'connect' },
  timeoutMs: 1000
}

/** A journal whose owner is gone. */
async function leftBehind(steps: UndoStep[], changes: Partial<JournalRecord> = {}): Promise<void> {
  const journal = await Journal.open(state, 'office')
  for (const step of steps) await journal.add(step)
  const record = await readJournal(state, 'office')
  if (record === undefined) throw new Error('no journal')
  await writeJournalRecord(state, { ...record, owner: { ...record.owner, startTicks: '1' }, ...changes })
}

describe('a journal', () => {
  it('is on the disk with mode 0600 when add() resolves, and gone after a clean end', async () => {
    const journal = await Journal.open(state, 'office', { netns: 'blue' })
    await journal.add(pin)
    await journal.add(address)
    const path = journalPath(state, 'office')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await stat(join(state, 'sessions'))).mode & 0o777).toBe(0o700)
    expect(parseRecord(await readFile(path, 'utf8'), path)).toMatchObject({
      name: 'office',
      netns: 'blue',
      owner: ownIdentity(),
      steps: [pin, address]
    })
    await journal.remove(address)
    expect((await readJournal(state, 'office'))?.steps).toEqual([pin])
    await journal.close()
    expect(await listJournals(state)).toEqual(['office'])
    await journal.remove(pin)
    await journal.close()
    expect(await listJournals(state)).toEqual([])
  })

  it('keeps changes in order when they are noted without waiting', async () => {
    const journal = await Journal.open(state, 'office')
    await Promise.all([journal.add(pin), journal.add(address), journal.remove(pin), journal.add(script)])
    expect((await readJournal(state, 'office'))?.steps).toEqual([address, script])
  })

  it('is refused while another of that name is open, or lies there unfinished', async () => {
    await Journal.open(state, 'office')
    await expect(Journal.open(state, 'office')).rejects.toMatchObject({ code: 'session-running' })
    await leftBehindElsewhere()
    await expect(Journal.open(state, 'home')).rejects.toMatchObject({
      code: 'session-stale',
      hint: 'undo them with: ikestream cleanup home'
    })
  })

  async function leftBehindElsewhere(): Promise<void> {
    await Journal.open(state, 'home')
    const record = await readJournal(state, 'home')
    if (record !== undefined) {
      await writeJournalRecord(state, { ...record, owner: { ...record.owner, pid: 4_000_000 } })
    }
  }

  it('refuses names that would be other files', async () => {
    for (const name of ['../x', 'a/b', '', '.hidden', 'x'.repeat(65), 'a b']) {
      await expect(Journal.open(state, name)).rejects.toMatchObject({ exitCode: 64 })
    }
  })

  it.each([
    ['an index without end', '"index":7', '"index":1e999'],
    ['half a second in half', '"timeoutMs":1000', '"timeoutMs":0.5'],
    ['a group of processes as its owner', '"pid":8', '"pid":-1']
  ])('is refused with %s', (_what, sound, damaged) => {
    const owner = { pid: 8, startTicks: '1', bootId: 'x' }
    const record = {
      schemaVersion: 1,
      name: 'office',
      owner,
      since: 'x',
      netns: null,
      steps: [address, script]
    }
    const text = JSON.stringify(record)
    expect(parseRecord(text, 'x')).toMatchObject({ owner })
    expect(text).toContain(sound)
    expect(() => parseRecord(text.replace(sound, damaged), 'x')).toThrow(/damaged/)
  })

  it('is refused as damaged, never half read, whatever is in the file', () => {
    const good = JSON.stringify({
      schemaVersion: 1,
      name: 'x',
      owner: ownIdentity(),
      since: 'now',
      netns: null,
      steps: [pin, address, script]
    })
    expect(parseRecord(good, 'x').steps).toHaveLength(3)
    expect(() => parseRecord(good.replace('host-route', 'rm -rf'), 'x')).toThrow(/damaged/)
    fc.assert(
      fc.property(fc.nat(good.length - 1), (length) => {
        expect(() => parseRecord(good.slice(0, length), 'x')).toThrow(/damaged/)
      }),
      { seed: 9329 }
    )
  })
})

it('knows a process by its start, not by its number alone', () => {
  const own = ownIdentity()
  expect(isAlive(own)).toBe(true)
  expect(isAlive({ ...own, startTicks: '1' })).toBe(false)
  expect(isAlive({ ...own, bootId: 'another' })).toBe(false)
  expect(isAlive({ ...own, pid: 4_000_000 })).toBe(false)
})

describe('cleanup', () => {
  const runner = () => new RecordingRunner().answer(/link show/, linkAnswer(7))
  const gone = { exitCode: 2, stderr: 'RTNETLINK answers: No such process\n' }

  it('undoes in reverse and forgets the journal', async () => {
    await leftBehind([address, pin, script])
    const recording = runner()
    expect(await cleanup('office', { stateDirectory: state, runner: recording })).toEqual({
      name: 'office',
      outcome: 'cleaned',
      undone: 3,
      failures: []
    })
    expect(recording.lines(/^(?!.*link show)/)).toEqual([
      '/etc/vpnc/vpnc-script',
      'ip -4 route del 198.18.0.1/32 via 10.66.0.1 dev eth0 metric 10 proto static',
      'ip addr del 10.88.0.7/32 dev ike0'
    ])
    expect(recording.calls[0]?.options.env).toMatchObject({ reason: 'disconnect', TUNDEV: 'ike0' })
    expect(await listJournals(state)).toEqual([])
  })

  it('takes what is gone for undone, and touches no device of another number', async () => {
    await leftBehind([address, pin])
    const recording = runner()
      .answer(/route del/, gone)
      .answer(/link show/, linkAnswer(8))
    expect(await cleanup('office', { stateDirectory: state, runner: recording })).toMatchObject({
      outcome: 'cleaned'
    })
    expect(recording.lines(/addr del/)).toEqual([])
  })

  it('keeps in the journal what it could not undo, and does the rest', async () => {
    await leftBehind([address, pin])
    const recording = runner().answer(/route del/, { exitCode: 2, stderr: 'Operation not permitted' })
    const [result] = await cleanupAll({ stateDirectory: state, runner: recording })
    expect(result).toMatchObject({
      outcome: 'failed',
      undone: 1,
      failures: [{ code: 'command-not-permitted' }]
    })
    expect((await readJournal(state, 'office'))?.steps).toEqual([pin])
    expect(await cleanup('office', { stateDirectory: state, runner: runner() })).toMatchObject({ undone: 1 })
  })

  it('undoes only files after a restart of the machine', async () => {
    await leftBehind([address, pin, { kind: 'directory', path: join(state, 'absent') }], {
      owner: { pid: process.pid, startTicks: null, bootId: 'an earlier one' }
    })
    const recording = runner()
    expect(await cleanup('office', { stateDirectory: state, runner: recording })).toMatchObject({ undone: 1 })
    expect(recording.lines()).toEqual([])
  })

  it('leaves a session alone that runs', async () => {
    await Journal.open(state, 'office')
    expect(await cleanup('office', { stateDirectory: state, runner: runner() })).toMatchObject({
      outcome: 'running'
    })
    expect(await cleanup('nobody', { stateDirectory: state, runner: runner() })).toMatchObject({
      outcome: 'clean'
    })
  })

  it('reports a damaged journal and goes on with the others', async () => {
    await leftBehind([pin])
    await writeFile(journalPath(state, 'broken'), '{')
    const results = await cleanupAll({ stateDirectory: state, runner: runner() })
    expect(results.map(({ name, outcome }) => [name, outcome])).toEqual([
      ['broken', 'failed'],
      ['office', 'cleaned']
    ])
  })
})

describe('directories', () => {
  it('follow XDG for users, the system’s folders for root, and the override', () => {
    const user = { uid: 1000, home: '/home/a' }
    expect(directories({ ...user, env: {} })).toEqual({
      profiles: ['/home/a/.config/ikestream', '/etc/ikestream'],
      state: '/home/a/.local/state/ikestream',
      runtime: '/home/a/.local/state/ikestream/run'
    })
    const xdg = { XDG_CONFIG_HOME: '/c', XDG_STATE_HOME: '/s', XDG_RUNTIME_DIR: '/run/user/1000' }
    expect(directories({ ...user, env: xdg })).toEqual({
      profiles: ['/c/ikestream', '/etc/ikestream'],
      state: '/s/ikestream',
      runtime: '/run/user/1000/ikestream'
    })
    expect(
      directories({ ...user, env: { XDG_STATE_HOME: 'relative', IKESTREAM_STATE_DIR: 'x' } }).state
    ).toBe('/home/a/.local/state/ikestream')
    expect(directories({ uid: 0, home: '/root', env: xdg })).toMatchObject({
      state: '/var/lib/ikestream',
      runtime: '/run/ikestream'
    })
    expect(directories({ uid: 0, home: '/root', env: { IKESTREAM_STATE_DIR: '/t' } })).toMatchObject({
      state: '/t',
      runtime: '/t/run'
    })
  })

  it('are made for the owner alone, closed if they were open, and refused if they are links', async () => {
    const path = join(state, 'a/b')
    await ensurePrivateDirectory(path)
    expect((await stat(path)).mode & 0o777).toBe(0o700)
    await chmod(path, 0o755)
    await ensurePrivateDirectory(path)
    expect((await stat(path)).mode & 0o777).toBe(0o700)
    await mkdir(join(state, 'real'))
    await symlink('real', join(state, 'link'))
    await expect(ensurePrivateDirectory(join(state, 'link'))).rejects.toMatchObject({
      code: 'state-directory'
    })
    await expect(ensurePrivateDirectory(join(state, 'real'), 12_345)).rejects.toThrow(/belongs to user/)
  })
})
