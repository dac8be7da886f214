import { describe, expect, it } from 'vitest'
import {
  CHILD_SA_TRANSITIONS,
  IKE_SA_TRANSITIONS,
  nextChildSaState,
  nextIkeSaState
} from '../../../src/ike/lifecycle.ts'

/** What RFC 7296 asks of the tables, said once more in another way: by what each input may follow. */
const IKE_EXPECTED: Readonly<Record<string, readonly (readonly [from: string, to: string])[]>> = {
  init: [['CREATED', 'CONNECTING']],
  authenticated: [
    ['CREATED', 'ESTABLISHED'],
    ['CONNECTING', 'ESTABLISHED']
  ],
  'rekey-started': [['ESTABLISHED', 'REKEYING']],
  'rekey-refused': [['REKEYING', 'ESTABLISHED']],
  replaced: [
    ['ESTABLISHED', 'REKEYED'],
    ['REKEYING', 'REKEYED']
  ],
  revived: [['REKEYED', 'ESTABLISHED']],
  'delete-sent': ['CONNECTING', 'ESTABLISHED', 'REKEYING', 'REKEYED'].map(
    (from) => [from, 'DELETING'] as const
  ),
  end: ['CREATED', 'CONNECTING', 'ESTABLISHED', 'REKEYING', 'REKEYED', 'DELETING'].map(
    (from) => [from, 'DESTROYED'] as const
  )
}

const CHILD_EXPECTED: typeof IKE_EXPECTED = {
  'rekey-started': [['INSTALLED', 'REKEYING']],
  'rekey-refused': [['REKEYING', 'INSTALLED']],
  replaced: [
    ['INSTALLED', 'REKEYED'],
    ['REKEYING', 'REKEYED']
  ],
  revived: [['REKEYED', 'INSTALLED']],
  'delete-sent': ['INSTALLED', 'REKEYING', 'REKEYED'].map((from) => [from, 'DELETING'] as const),
  deleted: ['INSTALLED', 'REKEYING', 'REKEYED', 'DELETING'].map((from) => [from, 'DELETED'] as const),
  end: ['INSTALLED', 'REKEYING', 'REKEYED', 'DELETING', 'DELETED'].map((from) => [from, 'DESTROYED'] as const)
}

const TABLES = [
  {
    what: 'an IKE SA',
    states: Object.keys(IKE_SA_TRANSITIONS),
    expected: IKE_EXPECTED,
    next: nextIkeSaState as (state: string, input: string) => string | undefined
  },
  {
    what: 'a Child SA',
    states: Object.keys(CHILD_SA_TRANSITIONS),
    expected: CHILD_EXPECTED,
    next: nextChildSaState as (state: string, input: string) => string | undefined
  }
]

for (const { what, states, expected, next } of TABLES) {
  describe(`the life of ${what}`, () => {
    for (const state of states) {
      for (const [input, allowed] of Object.entries(expected)) {
        const to = allowed.find(([from]) => from === state)?.[1]
        it(`${state} + ${input} = ${to ?? 'impossible'}`, () => {
          expect(next(state, input)).toBe(to)
        })
      }
    }

    it('ends in DESTROYED from everywhere, and nothing follows', () => {
      for (const state of states) {
        const inputs = Object.keys(expected).filter((input) => next(state, input) !== undefined)
        if (state === 'DESTROYED') expect(inputs).toEqual([])
        else expect(inputs).toContain('end')
      }
    })
  })
}
