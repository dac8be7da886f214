/**
 * A gateway that answers IKE_SA_INIT in memory, for tests of what is asked with it.
 * @module
 */
import type { IkeResponder as Responder } from '../../src/ike/responder.ts'
import { IkeResponder } from '../../src/ike/responder.ts'
import type { ResponderConfig } from '../../src/ike/types.ts'
import type { Endpoint, Path } from '../../src/wire/endpoint.ts'
import { responderConfig } from './ike-pair.ts'
import { SeededRandom } from './seeded-random.ts'

let pathIds = 50_000

export class InitGateway {
  readonly responder: Responder
  readonly #path: Path
  #now = 1_000

  /** @param client where the gateway sees the client */
  constructor(client: Endpoint, own: Endpoint, config: Partial<ResponderConfig> = {}) {
    const environment = { random: new SeededRandom(11), wallClockMs: () => 0 }
    this.responder = new IkeResponder(responderConfig(config), environment)
    this.#path = { id: pathIds++, transport: 'udp', reliable: false, local: own, remote: client }
  }

  /** @returns all that the gateway says to a message */
  answer(message: Uint8Array): Uint8Array[] {
    this.responder.receive(++this.#now, message, this.#path)
    const answers: Uint8Array[] = []
    for (let next = this.responder.poll(); next !== undefined; next = this.responder.poll())
      if (next.output.type === 'send') answers.push(Uint8Array.from(next.output.message))
    return answers
  }
}
