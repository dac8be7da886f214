/**
 * IKE_SA_INIT from the initiator's side, with its retries (RFC 7296 sections 1.2, 2.6, 2.6.1, 2.7).
 *
 * Nothing in this exchange is authenticated. On UDP an error notify or a nonsensical answer is therefore waited out,
 * in case a genuine answer follows; on a stream it is acted on at once (RFC 9329 section 6.4).
 * @module
 */
import { startKeyExchange } from '../../crypto/key-exchange.ts'
import { proposalGroups, verifyChosen } from '../../crypto/proposal.ts'
import type { KeyExchange } from '../../crypto/types.ts'
import { type IkestreamError, InternalError } from '../../errors.ts'
import {
  ExchangeType,
  FIRST_STATUS_NOTIFY,
  NotifyType,
  nameOf,
  PayloadType
} from '../../wire/ike-constants.ts'
import { findNotifies, findNotify, findPayload, notify, spiToBytes } from '../../wire/ike-helpers.ts'
import type { Payload } from '../../wire/ike-message.ts'
import {
  initRetriesExhausted,
  invalidChoice,
  noProposalChosen,
  protocolViolation,
  puzzleTooHard,
  refused
} from '../failures.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import { concat } from '../keymat.ts'
import { MAX_COOKIE_LENGTH, MAX_INIT_RETRIES, NONCE_LENGTH } from '../options.ts'
import { MAX_PUZZLE_DIFFICULTY, type Puzzle, PuzzleSolver, readPuzzle, SLICE_PAUSE_MS } from '../puzzle.ts'
import { followFirstAnswer, redirectSupport } from '../redirect.ts'
import type { SessionState } from '../session-state.ts'
import {
  acceptableNonce,
  acceptInit,
  deriveInitialSecurity,
  readUint16List,
  secureIkeSa,
  sharedSecretOf,
  supportNotifies
} from './init-common.ts'
import { equalBytes, natDetectionPayloads } from './natd.ts'

export class InitTask implements Task {
  readonly name = 'init'
  readonly #state: SessionState
  readonly #onDone: (sa: IkeSa) => void
  readonly #onDoubt: (error: IkestreamError) => void
  readonly #groups: readonly number[]
  readonly #nonce: Uint8Array
  #exchange: KeyExchange | undefined
  #cookie: Uint8Array | undefined
  #notifies: readonly Payload[] | undefined
  #solution: Uint8Array | undefined
  #solving: { readonly solver: PuzzleSolver; readonly cookie: Uint8Array | undefined } | undefined
  #retries = 0
  /** Answers to repetitions of requests before the last one may still come so often. */
  #strays = 0
  /** The last request as it was sent: AUTH signs it. */
  sentMessage: Uint8Array = new Uint8Array(0)

  /**
   * @param onDone the keys are there
   * @param onDoubt the peer answered with an error, which may be forged
   */
  constructor(state: SessionState, onDone: (sa: IkeSa) => void, onDoubt: (error: IkestreamError) => void) {
    this.#state = state
    this.#onDone = onDone
    this.#onDoubt = onDoubt
    this.#groups = proposalGroups(state.config.ikeProposals)
    this.#nonce = state.environment.random.bytes(NONCE_LENGTH)
    this.#useGroup(this.#groups[0])
  }

  build(sa: IkeSa): Draft | undefined {
    const { path, config } = this.#state
    const exchange = this.#exchange
    if (path === undefined || exchange === undefined) return undefined
    // Apart from cookie and KE a retry repeats the first request (RFC 7296 section 2.6).
    this.#notifies ??= [
      ...natDetectionPayloads(sa.localSpi, 0n, path),
      ...supportNotifies(),
      ...redirectSupport(this.#state)
    ]
    return {
      exchangeType: ExchangeType.IKE_SA_INIT,
      payloads: [
        ...(this.#cookie === undefined ? [] : [notify(NotifyType.COOKIE, this.#cookie)]),
        ...(this.#solution === undefined ? [] : [{ type: PayloadType.PS, data: this.#solution } as const]),
        { type: PayloadType.SA, proposals: config.ikeProposals },
        { type: PayloadType.KE, group: exchange.group, data: exchange.publicValue },
        { type: PayloadType.NONCE, data: this.#nonce },
        ...this.#notifies
      ]
    }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const { payloads } = response
    const cookie = findNotify(payloads, NotifyType.COOKIE)
    const puzzle = this.#puzzleIn(payloads)
    if (cookie !== undefined) return this.#takeCookie(sa, cookie.data, puzzle)
    const redirect = findNotify(payloads, NotifyType.REDIRECT)
    if (redirect !== undefined) return followFirstAnswer(this.#state, redirect.data, this.#nonce)
    const wrongGroup = findNotify(payloads, NotifyType.INVALID_KE_PAYLOAD)
    if (wrongGroup !== undefined) return this.#takeGroup(sa, readUint16List(wrongGroup.data)[0])
    const error = findNotifies(payloads).find(({ notifyType }) => notifyType < FIRST_STATUS_NOTIFY)
    if (error !== undefined) return this.#doubt(this.#errorOf(error.notifyType))
    return this.#finish(sa, response)
  }

  dispose(): void {
    this.#exchange?.dispose()
  }

  /** A slice of work on a puzzle. */
  work(sa: IkeSa): TaskOutcome | undefined {
    const solution = this.#solving?.solver.work()
    this.#state.emit({ type: 'working' })
    if (solution === undefined) {
      this.#state.after('puzzle', sa.number, SLICE_PAUSE_MS)
      return undefined
    }
    const { cookie } = this.#solving ?? {}
    this.#solving = undefined
    if (cookie === undefined) {
      sa.puzzleSolution = solution
      this.#onDone(sa)
      return 'done'
    }
    this.#cookie = cookie
    this.#solution = solution
    return this.#retry(sa, 'the puzzle is solved')
  }

  /** One that we can work on; others are as if they were not there (section 3.10.1). */
  #puzzleIn(payloads: readonly Payload[]): Puzzle | undefined {
    const data = findNotify(payloads, NotifyType.PUZZLE)?.data
    return data === undefined ? undefined : readPuzzle(data, this.#state.config.ikeProposals)
  }

  /** @param cookie to be sent with the solution; undefined: it is for IKE_AUTH */
  #solve(sa: IkeSa, puzzle: Puzzle, subject: Uint8Array, cookie: Uint8Array | undefined): void {
    const { environment } = this.#state
    this.#state.log('info', 'the gateway wants a puzzle solved', { bits: puzzle.difficulty })
    this.#solving = { solver: new PuzzleSolver(puzzle, subject, environment.random), cookie }
    this.#state.after('puzzle', sa.number, SLICE_PAUSE_MS)
  }

  #takeCookie(sa: IkeSa, cookie: Uint8Array, puzzle: Puzzle | undefined): TaskOutcome {
    if (cookie.length === 0 || cookie.length > MAX_COOKIE_LENGTH) {
      return this.#doubt(protocolViolation(`a cookie of ${cookie.length} bytes`))
    }
    // The answer to a retransmission of what was sent before the cookie came.
    if (this.#solving?.cookie !== undefined && equalBytes(cookie, this.#solving.cookie)) return 'ignore'
    const isKnown = this.#cookie !== undefined && equalBytes(cookie, this.#cookie)
    if (isKnown && this.#isStray()) return 'ignore'
    if (puzzle !== undefined) {
      if (puzzle.difficulty > MAX_PUZZLE_DIFFICULTY)
        return this.#doubt(puzzleTooHard(puzzle.difficulty, MAX_PUZZLE_DIFFICULTY))
      this.#solve(sa, puzzle, cookie, cookie)
      return 'ignore'
    }
    this.#cookie = cookie
    this.#solution = undefined
    return this.#retry(sa, 'the gateway wants a cookie')
  }

  #takeGroup(sa: IkeSa, group: number | undefined): TaskOutcome {
    if (group === undefined || !this.#groups.includes(group)) {
      return this.#doubt(
        protocolViolation(`INVALID_KE_PAYLOAD asks for group ${group ?? 'nothing'}, which was not offered`)
      )
    }
    if (group === this.#exchange?.group) {
      return this.#isStray()
        ? 'ignore'
        : this.#doubt(protocolViolation(`INVALID_KE_PAYLOAD asks for the group that was sent (${group})`))
    }
    this.#useGroup(group)
    return this.#retry(sa, `the gateway wants key exchange group ${group}`)
  }

  #retry(sa: IkeSa, why: string): TaskOutcome {
    this.#strays += sa.exchanges.repetitions
    this.#retries++
    if (this.#retries > MAX_INIT_RETRIES) return this.#doubt(initRetriesExhausted())
    this.#state.log('info', `sending IKE_SA_INIT again: ${why}`)
    return 'again'
  }

  #finish(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const { payloads, header } = response
    const [offer, ke, nonce] = [PayloadType.SA, PayloadType.KE, PayloadType.NONCE].map((type) =>
      findPayload(payloads, type)
    )
    if (offer?.type !== PayloadType.SA || ke?.type !== PayloadType.KE || nonce?.type !== PayloadType.NONCE) {
      return this.#doubt(protocolViolation('IKE_SA_INIT was answered without SA, KE or Nonce'))
    }
    const verdict = verifyChosen(offer.proposals, this.#state.config.ikeProposals)
    if (!verdict.ok) return this.#doubt(invalidChoice(verdict.reason))
    const exchange = this.#exchange
    if (exchange === undefined || ke.group !== exchange.group || header.spiR === 0n) {
      return this.#doubt(protocolViolation('IKE_SA_INIT was answered with another group or without an SPI'))
    }
    const chosenGroup = proposalGroups([verdict.proposal])[0]
    if (chosenGroup !== exchange.group || !acceptableNonce(nonce.data)) {
      return this.#doubt(protocolViolation('IKE_SA_INIT was answered with a wrong group or nonce'))
    }
    const sharedSecret = sharedSecretOf(exchange, ke.data)
    if (sharedSecret === undefined) {
      return this.#doubt(protocolViolation('the KE payload holds an impossible public value'))
    }
    const inputs = { nonceI: this.#nonce, nonceR: nonce.data, spiI: sa.localSpi, spiR: header.spiR }
    const security = deriveInitialSecurity({ chosen: verdict.proposal, ...inputs }, sharedSecret)
    if (security === undefined) return this.#doubt(invalidChoice('it makes no suite'))
    acceptInit(this.#state, sa, response, {
      localMessage: this.sentMessage,
      localNonce: this.#nonce,
      remoteNonce: nonce.data
    })
    secureIkeSa(this.#state, sa, security)
    const puzzle = this.#puzzleIn(payloads)
    if (puzzle !== undefined && puzzle.difficulty > 0) {
      // Whoever made it up is found out in IKE_AUTH: nothing else can be done about it here.
      if (puzzle.difficulty > MAX_PUZZLE_DIFFICULTY) {
        this.#state.end('rejected', puzzleTooHard(puzzle.difficulty, MAX_PUZZLE_DIFFICULTY))
        return 'done'
      }
      this.#state.doubt = undefined
      this.#state.timers.clear('init-doubt', 0)
      this.#solve(sa, puzzle, concat(nonce.data, spiToBytes(header.spiR)), undefined)
      return 'waiting'
    }
    this.#onDone(sa)
    return 'done'
  }

  #useGroup(group: number | undefined): void {
    this.#exchange?.dispose()
    this.#exchange = group === undefined ? undefined : startKeyExchange(group, this.#state.environment.random)
    if (this.#exchange === undefined) {
      throw new InternalError(
        'no-key-exchange',
        'the IKE proposals hold no key exchange group that can be used'
      )
    }
  }

  /** Perhaps an answer to what was asked before: always on UDP, on a stream only as often as that was repeated. */
  #isStray(): boolean {
    if (this.#state.path?.reliable !== true) return true
    if (this.#strays === 0) return false
    this.#strays--
    return true
  }

  #doubt(error: IkestreamError): TaskOutcome {
    this.#onDoubt(error)
    return 'ignore'
  }

  #errorOf(notifyType: number): IkestreamError {
    const name = nameOf(NotifyType, notifyType, 'NOTIFY')
    this.#state.log('info', `the gateway answered IKE_SA_INIT with ${name}`)
    return notifyType === NotifyType.NO_PROPOSAL_CHOSEN
      ? noProposalChosen('ike', this.#state.config.ikeProposals)
      : refused('IKE_SA_INIT', notifyType)
  }
}
