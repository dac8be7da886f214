import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  isHeld,
  listJournals,
  ownIdentity,
  readJournal,
  writeJournalRecord
} from '../../../src/host/journal.ts'
import type { JournalRecord } from '../../../src/host/journal-record.ts'
import { LocalHost } from '../../../src/host/local-host.ts'
import { removePidFile, writePidFile } from '../../../src/host/pid-file.ts'
import type { HostSettings } from '../../../src/host/types.ts'
import { linkAnswer, RecordingRunner } from '../../support/recording-runner.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

let state: string
let runner: RecordingRunner
beforeEach(async () => {
  state = await scratchDirectory('local-host')
  runner = new RecordingRunner().answer(/link show/, linkAnswer(7))
})

function open(changes: Partial<HostSettings> = {}): Promise<LocalHost> {
  return LocalHost.open({ stateDirectory: state, sessionName: 'office', ...changes }, { runner })
}

const config = {
  interface: 'ike0',
  addresses: [{ address: '10.88.0.7', prefixLength: 32 }],
  mtu: 1400,
  routes: ['10.77.0.0/16'],
  pinned: []
}

/** Another process: this one's, but for its start. */
const GONE = { ...ownIdentity(), startTicks: '1' }

async function alter(changes: Partial<JournalRecord>): Promise<void> {
  const record = await readJournal(state, 'office')
  if (record !== undefined) await writeJournalRecord(state, { ...record, ...changes })
}

describe('the host of a session', () => {
  it('is put back when it is closed, and its journal ends', async () => {
    const host = await open()
    await host.apply(config)
    expect(await listJournals(state)).toEqual(['office'])
    await host.close()
    expect(runner.lines(/ del /)).toEqual([
      'ip -4 route del 10.77.0.0/16 dev ike0 proto static',
      'ip addr del 10.88.0.7/32 dev ike0'
    ])
    expect(await listJournals(state)).toEqual([])
  })

  it('says what could not be put back, and keeps it in the journal', async () => {
    const host = await open({ pidFile: join(state, 'pid') })
    await host.apply(config)
    runner.answer(/addr del/, { exitCode: 2, stderr: 'RTNETLINK answers: Device or resource busy' })
    await expect(host.close()).rejects.toMatchObject({ code: 'undo-incomplete' })
    expect((await readJournal(state, 'office'))?.steps.map(({ kind }) => kind)).toEqual(['address'])
    await expect(readFile(join(state, 'pid'))).rejects.toThrow('ENOENT')
  })

  it('begins with the end of a session that was killed', async () => {
    await (await open({ pidFile: join(state, 'pid') })).apply(config)
    await alter({ owner: GONE })
    const next = await open()
    expect(runner.lines(/addr del/)).toHaveLength(1)
    await expect(readFile(join(state, 'pid'))).rejects.toThrow('ENOENT')
    await next.close()
  })

  it('waits for the keeper of a session that was killed', async () => {
    await (await open()).apply(config)
    await alter({ owner: GONE, keeper: ownIdentity() })
    const record = await readJournal(state, 'office')
    expect(record !== undefined && isHeld(record)).toBe(true)
    const next = open()
    await alter({ keeper: GONE })
    await (await next).close()
    expect(runner.lines(/addr del/)).toHaveLength(1)
  })

  it('does not wait for a session that runs', async () => {
    const host = await open()
    await expect(open()).rejects.toMatchObject({ code: 'session-running' })
    await host.close()
  })
})

describe('the file with the process id', () => {
  it('is there from the beginning to the end', async () => {
    const pidFile = join(state, 'pid')
    const host = await open({ pidFile })
    expect(await readFile(pidFile, 'utf8')).toBe(`${process.pid}\n`)
    await host.close()
    await expect(readFile(pidFile)).rejects.toThrow('ENOENT')
  })

  it("is left alone when it is somebody else's by then", async () => {
    const path = join(state, 'pid')
    await writePidFile(path, 7)
    await writeFile(path, '8\n')
    await removePidFile(path, 7)
    expect(await readFile(path, 'utf8')).toBe('8\n')
  })

  it('is an error of its own when it cannot be written, and leaves no journal', async () => {
    await expect(open({ pidFile: join(state, 'no', 'folder') })).rejects.toMatchObject({
      code: 'pid-file',
      exitCode: 71
    })
    expect(await listJournals(state)).toEqual([])
  })
})
