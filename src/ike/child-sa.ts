/**
 * One Child SA as the IKE engine sees it: SPIs, selectors, state, and what a rekeying has to know
 * (RFC 7296 section 2.8). Its keys belong to the data plane.
 * @module
 */
import type { Proposal, TrafficSelector } from '../wire/ike-message.ts'
import type { IkeSa } from './ike-sa.ts'
import { type ChildSaInput, type ChildSaState, nextChildSaState } from './lifecycle.ts'

export interface ChildSaFields {
  /** Local number; subject of this SA's timers. */
  readonly number: number
  /** Stays the same over rekeyings. */
  readonly childId: number
  readonly spiIn: number
  readonly spiOut: number
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
  readonly chosen: Proposal
  readonly installedAt: number
  /** We sent the request of the exchange that made it. */
  readonly isInitiator: boolean
}

export class ChildSa implements ChildSaFields {
  readonly number: number
  readonly childId: number
  readonly spiIn: number
  readonly spiOut: number
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
  readonly chosen: Proposal
  readonly installedAt: number
  readonly isInitiator: boolean
  /** The IKE SA that controls it; changes when that is rekeyed. */
  owner: IkeSa
  state: ChildSaState = 'INSTALLED'
  /** The Child SA that this one replaces, until that is gone. */
  replaces: ChildSa | undefined

  constructor(owner: IkeSa, fields: ChildSaFields) {
    this.owner = owner
    this.number = fields.number
    this.childId = fields.childId
    this.spiIn = fields.spiIn
    this.spiOut = fields.spiOut
    this.localTs = fields.localTs
    this.remoteTs = fields.remoteTs
    this.chosen = fields.chosen
    this.installedAt = fields.installedAt
    this.isInitiator = fields.isInitiator
  }

  /** Carries traffic, or is the one that will. */
  get isLive(): boolean {
    return this.state === 'INSTALLED' || this.state === 'REKEYING'
  }

  /** Known to the peer: not deleted by either side. */
  get isKnown(): boolean {
    return this.state !== 'DELETED' && this.state !== 'DESTROYED'
  }

  /** @returns false when the state does not allow this input; nothing has changed then */
  advance(input: ChildSaInput): boolean {
    const next = nextChildSaState(this.state, input)
    if (next === undefined) return false
    this.state = next
    return true
  }
}
