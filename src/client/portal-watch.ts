/**
 * Says that a captive portal is in the way while a session keeps trying to come up: with `--persist` no error ever would. Asked after
 * each climb of the ladder that led nowhere, beside the next one, and told once for each address.
 *
 * Only before the tunnel is there: afterwards the web probe would go into the tunnel that carries nothing.
 * @module
 */
import type { PortalEvidence } from '../diagnosis/evidence.ts'
import type { PortalEvent } from './events.ts'
import { type LadderEvidence, portalVerdict, wantsExplanation } from './failure-diagnosis.ts'
import type { TransportOptions } from './options.ts'

export class PortalWatch {
  readonly #options: TransportOptions
  readonly #ladder: LadderEvidence
  readonly #checkPortal: () => Promise<PortalEvidence | null>
  readonly #onEvent: (event: PortalEvent) => void
  #asking = false
  /** What was told last, while it is still true. */
  #told: string | undefined

  /** @param checkPortal never rejects */
  constructor(
    options: TransportOptions,
    ladder: LadderEvidence,
    checkPortal: () => Promise<PortalEvidence | null>,
    onEvent: (event: PortalEvent) => void
  ) {
    this.#options = options
    this.#ladder = ladder
    this.#checkPortal = checkPortal
    this.#onEvent = onEvent
  }

  /** @param stillWanted asked again when the answer is there */
  async look(error: unknown, stillWanted: () => boolean): Promise<void> {
    if (this.#asking || !stillWanted() || !wantsExplanation(error, this.#ladder)) return
    this.#asking = true
    const verdict = portalVerdict(this.#ladder, this.#options, error, await this.#checkPortal())
    this.#asking = false
    const name = verdict === undefined ? undefined : (verdict.portal.url ?? '')
    if (verdict !== undefined && name !== this.#told && stillWanted())
      this.#onEvent({
        event: 'portal',
        url: verdict.portal.url,
        message: `${verdict.sentence}.`,
        hint: verdict.hint
      })
    this.#told = name
  }
}
