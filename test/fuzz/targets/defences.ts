/**
 * Targets of what a gateway gives out and takes back, and of what it asks for under attack: tickets, puzzles, cookies.
 * @module
 */
import { prfById } from '../../../src/crypto/prf.ts'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import { openBox, sealBox } from '../../../src/crypto/sealed-box.ts'
import { isPuzzleSolution, PuzzleSolver, puzzleNotify, readPuzzle } from '../../../src/ike/puzzle.ts'
import { TICKET_KEY_ID_LENGTH, TicketVault } from '../../../src/ike/ticket-vault.ts'
import { PrfId } from '../../../src/wire/ike-constants.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { bounded, type FuzzTarget, holds, same, utf8 } from '../target.ts'

const KEY = { id: new Uint8Array(TICKET_KEY_ID_LENGTH).fill(7), key: new Uint8Array(32).fill(9) }
const IKE = parseProposals(['aes128-sha256-x25519'], 'ike')

function vault(): TicketVault {
  return new TicketVault([KEY], new SeededRandom(3))
}

/** The tickets that there are: the same in every run. */
function tickets(): Uint8Array[] {
  const random = new SeededRandom(4)
  const [chosen] = IKE
  if (chosen === undefined) throw new Error('no proposal')
  return ['psk', 'eap'].map((method) =>
    vault().seal({
      serial: random.bytes(16),
      expiresAtMs: 10_000,
      authenticatedUntilMs: 0,
      method: method === 'psk' ? 'psk' : 'eap',
      initiator: { idType: 3, data: utf8('alice@example.org') },
      responder: { idType: 2, data: utf8('gw.example.org') },
      peerName: 'alice',
      chosen,
      skD: random.bytes(32),
      spiR: 0x1122334455667788n
    })
  )
}

const ticket: FuzzTarget = {
  name: 'ticket',
  covers: ['ike/ticket-vault.ts#TicketVault', 'crypto/sealed-box.ts#openBox'],
  weight: 2,
  corpus: tickets,
  open: () => {
    const opener = vault()
    const genuine = new Set(tickets().map((one) => Buffer.from(one).toString('latin1')))
    return (input) => {
      const isGenuine = genuine.has(Buffer.from(input).toString('latin1'))
      holds((opener.open(input, 0) !== undefined) === isGenuine, 'a ticket is one of those that were given')
      holds(opener.open(input, 10_000) === undefined, 'a ticket expires')
      openBox(KEY.key, new Uint8Array(0), input)
      // With contents that were never ours, under the key that is.
      const head = Uint8Array.of(1, ...KEY.id)
      const forged = Uint8Array.of(...head, ...sealBox(KEY.key, head, input, new SeededRandom(5)))
      const contents = opener.open(forged, 0)
      if (contents !== undefined) bounded(contents, input)
    }
  }
}

const puzzle: FuzzTarget = {
  name: 'puzzle',
  covers: ['ike/puzzle.ts#readPuzzle', 'ike/puzzle.ts#isPuzzleSolution', 'ike/puzzle.ts#PuzzleSolver'],
  weight: 2,
  maxLength: 300,
  corpus: () => {
    const prf = prfById(PrfId.HMAC_SHA2_256)
    if (prf === undefined) throw new Error('no PRF')
    const asked = { prf, difficulty: 4 }
    const solution = new PuzzleSolver(asked, utf8('cookie'), new SeededRandom(6)).work(10_000)
    return [
      Uint8Array.from(puzzleNotify(asked).data),
      solution ?? new Uint8Array(16),
      Uint8Array.of(0, 5, 255)
    ]
  },
  open: () => (input) => {
    const asked = readPuzzle(input, IKE)
    holds(asked === undefined || input.length === 3, 'a puzzle has three bytes')
    if (asked !== undefined) {
      holds(
        same(readPuzzle(puzzleNotify(asked).data, IKE)?.difficulty, asked.difficulty),
        'a puzzle survives writing'
      )
      // A slice of work is one, whatever is asked.
      new PuzzleSolver(asked, input, new SeededRandom(1)).work(10)
    }
    const prf = prfById(PrfId.HMAC_SHA2_256)
    if (prf === undefined) return
    const isGood = isPuzzleSolution({ prf, difficulty: 20 }, utf8('cookie'), input)
    holds(!isGood, 'nobody finds four keys of twenty bits by chance')
  }
}

export const DEFENCE_TARGETS: readonly FuzzTarget[] = [ticket, puzzle]
