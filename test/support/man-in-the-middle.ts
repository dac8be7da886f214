/**
 * Somebody between the two ends of a {@link Pair}: sees every message, and lets through what they want instead.
 * @module
 */
import { decodeMessage, encodeMessage } from '../../src/wire/ike-codec.ts'
import { ExchangeType } from '../../src/wire/ike-constants.ts'
import type { IkeMessage, Payload } from '../../src/wire/ike-message.ts'
import type { Pair } from './ike-pair.ts'

export type Direction = 'up' | 'down'
/** @returns what goes on instead; nothing for what is kept back */
export type Meddle = (message: Uint8Array, direction: Direction) => readonly Uint8Array[]

const MOST_MESSAGES = 200

/** Delivers everything that the two have to say through somebody's hands, until there is nothing more. @returns all that passed */
export function settleThrough(pair: Pair, meddle: Meddle): { direction: Direction; message: Uint8Array }[] {
  const passed: { direction: Direction; message: Uint8Array }[] = []
  pair.drain()
  for (let count = 0; count < MOST_MESSAGES; count++) {
    const from = pair.client.sent.length > 0 ? pair.client : pair.gateway
    const output = from.sent.shift()
    if (output === undefined) return passed
    const direction = from === pair.client ? 'up' : 'down'
    for (const message of meddle(Uint8Array.from(output.message), direction)) {
      passed.push({ direction, message })
      pair.deliver(from, { ...output, message })
    }
  }
  throw new Error('the two ends do not come to rest')
}

/** A message as it can be read by anybody. */
export function readMessage(bytes: Uint8Array): IkeMessage {
  const decoded = decodeMessage(bytes)
  if (!decoded.ok) throw decoded.error
  return decoded.message
}

/** Alters IKE_SA_INIT in one direction and lets everything else through. */
export function alterInit(
  direction: Direction,
  alter: (payloads: readonly Payload[]) => readonly Payload[]
): Meddle {
  return (bytes, way) => {
    const message = readMessage(bytes)
    if (way !== direction || message.header.exchangeType !== ExchangeType.IKE_SA_INIT) return [bytes]
    return [encodeMessage({ ...message, payloads: alter(message.payloads) })]
  }
}
