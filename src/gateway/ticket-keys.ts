/**
 * The keys that a gateway seals session tickets with (RFC 5723), kept beside its development certificate so that a gateway that is
 * started anew takes the tickets that it gave before.
 *
 *     tickets.key: one key a line, the newest first: when it was made (ms since 1970), and 32 bytes in hex
 * @module
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SEALED_BOX_KEY_LENGTH } from '../crypto/sealed-box.ts'
import { SystemError } from '../errors.ts'
import { replaceFile } from '../host/atomic-file.ts'
import { TICKET_KEY_ID_LENGTH, type TicketKey } from '../ike/ticket-vault.ts'
import type { Logger } from '../log.ts'

const FILE = 'tickets.key'
/** Much longer than any ticket lives (section 6.1): the key before is kept for as long again. */
const KEY_LIFETIME_MS = 30 * 86_400_000
const LINE = new RegExp(`^(\\d{1,15}) ([0-9a-f]{${2 * SEALED_BOX_KEY_LENGTH}})$`)

interface DatedKey {
  readonly madeAtMs: number
  readonly key: Uint8Array
}

/** @throws SystemError when they can be neither read nor written */
export async function loadTicketKeys(
  directory: string,
  nowMs: number,
  log: Logger
): Promise<readonly [TicketKey, ...TicketKey[]]> {
  const path = join(directory, FILE)
  const [newest, ...older] = await read(path)
  if (newest !== undefined && nowMs - newest.madeAtMs < KEY_LIFETIME_MS)
    return [named(newest), ...older.map(named)]
  const made: DatedKey = { madeAtMs: nowMs, key: randomBytes(SEALED_BOX_KEY_LENGTH) }
  const kept = newest !== undefined && nowMs - newest.madeAtMs < 2 * KEY_LIFETIME_MS ? [newest] : []
  const lines = [made, ...kept].map(
    ({ madeAtMs, key }) => `${madeAtMs} ${Buffer.from(key).toString('hex')}\n`
  )
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await replaceFile(path, lines.join(''), { mode: 0o600 })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new SystemError('ticket-key-unwritable', `${path} cannot be written: ${why}.`, {
      hint: 'Sessions need no tickets: --no-tickets.',
      cause
    })
  }
  log.log('debug', 'made a key for session tickets', { path })
  return [named(made), ...kept.map(named)]
}

/** What is damaged counts as none: its tickets are refused, and their clients authenticate. */
async function read(path: string): Promise<DatedKey[]> {
  try {
    const text = await readFile(path, 'latin1')
    return text.split('\n').flatMap((line) => {
      const [, madeAt, hex] = LINE.exec(line) ?? []
      return madeAt === undefined || hex === undefined
        ? []
        : [{ madeAtMs: Number(madeAt), key: Buffer.from(hex, 'hex') }]
    })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return []
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new SystemError('ticket-key-unreadable', `${path} cannot be read: ${why}.`, { cause })
  }
}

function named({ key }: DatedKey): TicketKey {
  return { id: createHash('sha256').update(key).digest().subarray(0, TICKET_KEY_ID_LENGTH), key }
}
