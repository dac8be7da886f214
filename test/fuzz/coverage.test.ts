import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { TARGETS } from './registry.ts'

const SOURCE = join(import.meta.dirname, '../../src')

/** What reads something that came from elsewhere is called so. */
const DECODER =
  /^(?:decode|read|parse|load|classify|restore|accepted)|FromBytes$|FromText$|(?:Deframer|Reader|Reassembler|Fragments|Segmenter|Coalescer|Fragmenter)$/

/** Those that need no target of their own, and why. */
const EXEMPT: Readonly<Record<string, string>> = {
  'cli/cluster-file.ts#readClusterFile': 'a file that is TOML (`parseToml`) behind a strict schema',
  'cli/credentials.ts#loadCertificateAndKey': 'reads files; what is in them: `pem-files`, `private-key`',
  'cli/credentials.ts#loadCredentials': 'reads files; what is in them: `pem-files`, `private-key`, `pkcs12`',
  'cli/files.ts#readInput': 'reads a file, up to a bound, and looks at nothing',
  'cli/import/apple-proposals.ts#acceptedProposals': 'the parser is `parseProposals`',
  'cli/import/settings-reader.ts#SettingsReader':
    'a view of what `parsePlist` and `readSswan` have read: `import`',
  'crypto/packet-cipher.ts#loadReferenceBackend': 'loads code of ours',
  'gateway/users-file.ts#readUsersFile': 'reads a file; what is in it: `users-file`',
  'gateway/ticket-keys.ts#loadTicketKeys':
    'reads lines of two words by one pattern; another line counts as none',
  'host/file-backup.ts#restoreFile': 'writes what the journal says: `journal`',
  'host/journal.ts#readJournal': 'reads a file; what is in it: `journal`',
  'host/secrets-input.ts#readSecretFile': 'reads a file, up to a bound; every text is a secret',
  'host/secrets-input.ts#readSecretLine': 'reads up to the end of a line, and up to a bound',
  'ike/tasks/auth-child.ts#readFirstChild': 'reads payloads that were decoded: `session-hostile-peer`',
  'wire/address.ts#addressFromBytes':
    'takes 4 or 16 bytes; whoever calls it has counted: `recvmsg-control`, `ike-payload-cp`',
  'wire/ike-proposals.ts#readProposals': 'the body of a payload: `ike-payload-sa`, `snapshot`',
  'wire/ike-selectors.ts#readTrafficSelectors': 'the body of a payload: `ike-payload-ts`, `snapshot`',
  'wire/ip.ts#read16': 'two bytes that are known to be there',
  'wire/ip.ts#read32': 'four bytes that are known to be there'
}

/** Exported functions and classes of `src/`, as `path#name`. */
function exported(): string[] {
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts')
  )
  return files.flatMap((path) => {
    const text = readFileSync(join(SOURCE, path), 'utf8')
    const found = text.matchAll(/^export (?:async )?(?:abstract )?(?:function|class|const) (\w+)/gm)
    return [...found].map(([, name]) => `${path}#${name}`)
  })
}

const exports = exported()
const covered = new Set(TARGETS.flatMap(({ covers }) => covers))
const decoders = exports.filter((name) => DECODER.test(name.slice(name.indexOf('#') + 1)))

describe('the fuzz targets', () => {
  it('feed every decoder, or it is said why not', () => {
    expect(decoders.length).toBeGreaterThan(80)
    const missing = decoders.filter((name) => !covered.has(name) && EXEMPT[name] === undefined)
    expect(missing, 'add a target in test/fuzz/targets, or a reason in this file').toEqual([])
  })

  it('name what they feed as it is called', () => {
    const known = new Set(exports)
    expect([...covered].filter((name) => !known.has(name))).toEqual([])
  })

  it('leave nothing out for a reason that has gone', () => {
    const stale = Object.keys(EXEMPT).filter((name) => covered.has(name) || !decoders.includes(name))
    expect(stale).toEqual([])
  })
})
