/**
 * Names of the algorithms of a chosen proposal as strongSwan's `list-sas` shows them, for status and for monitors.
 * @module
 */
import {
  EncryptionId,
  EsnId,
  IntegrityId,
  KeyExchangeId,
  nameOf,
  PrfId,
  TransformType
} from '../wire/ike-constants.ts'
import type { Proposal } from '../wire/ike-message.ts'
import { transformOf } from './proposal-choice.ts'

export interface AlgorithmNames {
  readonly encrAlg: string | undefined
  /** Bits; undefined where the cipher has only one length. */
  readonly encrKeysize: number | undefined
  /** Undefined with AEADs. */
  readonly integAlg: string | undefined
  readonly prfAlg: string | undefined
  readonly dhGroup: string | undefined
  readonly esn: boolean
}

export function algorithmNames(chosen: Proposal): AlgorithmNames {
  const encryption = transformOf(chosen, TransformType.ENCR)
  const integrity = transformOf(chosen, TransformType.INTEG)?.id ?? IntegrityId.NONE
  const prf = transformOf(chosen, TransformType.PRF)?.id
  const group = transformOf(chosen, TransformType.KE)?.id ?? KeyExchangeId.NONE
  return {
    encrAlg: encryption && nameOf(EncryptionId, encryption.id, 'ENCR'),
    encrKeysize: encryption?.keyLengthBits,
    integAlg: integrity === IntegrityId.NONE ? undefined : nameOf(IntegrityId, integrity, 'INTEG'),
    prfAlg: prf === undefined ? undefined : `PRF_${nameOf(PrfId, prf)}`,
    dhGroup: group === KeyExchangeId.NONE ? undefined : groupName(group),
    esn: transformOf(chosen, TransformType.ESN)?.id === EsnId.ESN
  }
}

function groupName(id: number): string {
  return nameOf(KeyExchangeId, id, 'KE').replace(/^CURVE(?=\d)/, 'CURVE_')
}
