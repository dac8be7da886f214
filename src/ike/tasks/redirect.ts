/**
 * Tells a client in the middle of its session to go to another gateway (RFC 5685 section 5). What it does about it is its
 * business: it deletes the IKE SA once it has another.
 * @module
 */
import { ExchangeType } from '../../wire/ike-constants.ts'
import type { Draft, Task, TaskOutcome } from '../ike-sa.ts'
import { redirectNotify } from '../redirect.ts'

export class RedirectTask implements Task {
  readonly name = 'redirect'
  readonly #to: string

  constructor(to: string) {
    this.#to = to
  }

  build(): Draft {
    return { exchangeType: ExchangeType.INFORMATIONAL, payloads: [redirectNotify(this.#to)] }
  }

  process(): TaskOutcome {
    return 'done'
  }

  interrupted(): boolean {
    return true
  }
}
