/**
 * Which payload is allowed where, and how often: RFC 7296 appendix C as data.
 *
 * Known payloads in a place that has no rule for them are ignored; too many or too few of one that has make the
 * message malformed. A response that carries an error notify may lack everything else.
 * @module
 */
import { ExchangeType, FIRST_STATUS_NOTIFY, NotifyType, nameOf, PayloadType } from '../wire/ike-constants.ts'
import type { Payload } from '../wire/ike-message.ts'

/** Least and most occurrences. */
type Rule = readonly [min: number, max: number]
type Rules = Readonly<Record<number, Rule>>

const ONE: Rule = [1, 1]
const OPTIONAL: Rule = [0, 1]
const MANY: Rule = [0, 64]
const NOTIFIES: Rule = [0, 128]

const INIT: Rules = {
  [PayloadType.SA]: ONE,
  [PayloadType.KE]: ONE,
  [PayloadType.NONCE]: ONE,
  [PayloadType.PS]: OPTIONAL,
  [PayloadType.CERTREQ]: MANY,
  [PayloadType.NOTIFY]: NOTIFIES,
  [PayloadType.VENDOR_ID]: MANY
}

/** RFC 5723 section 4.3.2. */
const RESUME: Rules = {
  [PayloadType.NONCE]: ONE,
  [PayloadType.PS]: OPTIONAL,
  [PayloadType.NOTIFY]: NOTIFIES,
  [PayloadType.VENDOR_ID]: MANY
}

const AUTH: Rules = {
  [PayloadType.IDi]: OPTIONAL,
  [PayloadType.IDr]: OPTIONAL,
  [PayloadType.CERT]: MANY,
  [PayloadType.CERTREQ]: MANY,
  [PayloadType.AUTH]: OPTIONAL,
  [PayloadType.EAP]: OPTIONAL,
  [PayloadType.CP]: OPTIONAL,
  [PayloadType.SA]: OPTIONAL,
  [PayloadType.TSi]: OPTIONAL,
  [PayloadType.TSr]: OPTIONAL,
  [PayloadType.NOTIFY]: NOTIFIES,
  [PayloadType.VENDOR_ID]: MANY
}

const CREATE_CHILD: Rules = {
  [PayloadType.SA]: ONE,
  [PayloadType.NONCE]: ONE,
  [PayloadType.KE]: OPTIONAL,
  [PayloadType.TSi]: OPTIONAL,
  [PayloadType.TSr]: OPTIONAL,
  [PayloadType.NOTIFY]: NOTIFIES,
  [PayloadType.VENDOR_ID]: MANY
}

const INFORMATIONAL: Rules = {
  [PayloadType.NOTIFY]: NOTIFIES,
  [PayloadType.DELETE]: MANY,
  [PayloadType.CP]: OPTIONAL,
  [PayloadType.VENDOR_ID]: MANY
}

export const PAYLOAD_RULES: Readonly<Record<number, Rules>> = {
  [ExchangeType.IKE_SA_INIT]: INIT,
  [ExchangeType.IKE_SESSION_RESUME]: RESUME,
  [ExchangeType.IKE_AUTH]: AUTH,
  [ExchangeType.CREATE_CHILD_SA]: CREATE_CHILD,
  [ExchangeType.INFORMATIONAL]: INFORMATIONAL
}

/** Status notifies that stand in place of everything else in a response to IKE_SA_INIT, or to what stands for it. */
const SUBSTITUTES: readonly number[] = [NotifyType.COOKIE, NotifyType.REDIRECT, NotifyType.TICKET_NACK]

/** @returns what is wrong with the set of payloads, or undefined */
export function checkPayloads(
  exchangeType: number,
  isResponse: boolean,
  payloads: readonly Payload[]
): string | undefined {
  const rules = PAYLOAD_RULES[exchangeType]
  if (rules === undefined) return `exchange type ${exchangeType} is not known`
  const mayLack = isResponse && payloads.some(excusesMissing)
  for (const [key, [min, max]] of Object.entries(rules)) {
    const type = Number(key)
    const count = payloads.reduce((sum, payload) => sum + (payload.type === type ? 1 : 0), 0)
    if (count > max) return `${count} ${nameOf(PayloadType, type)} payloads`
    if (count < min && !mayLack) return `no ${nameOf(PayloadType, type)} payload`
  }
  return undefined
}

function excusesMissing(payload: Payload): boolean {
  if (payload.type !== PayloadType.NOTIFY) return false
  return payload.notifyType < FIRST_STATUS_NOTIFY || SUBSTITUTES.includes(payload.notifyType)
}
