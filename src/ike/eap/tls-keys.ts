/**
 * Keys and the success indication of EAP-TLS (RFC 5216 section 2.3, RFC 9190 sections 2.3, 2.5).
 * @module
 */
import type { TlsEngine } from '../../crypto/tls-engine.ts'
import { EapType } from '../../wire/ike-constants.ts'

/** MSK and EMSK. TLS 1.3 must be asked for all of it, even if only the MSK is used. */
const KEY_MATERIAL_LENGTH = 128
const MSK_LENGTH = 64

/** What a TLS 1.3 server sends as application data once it is content. */
export const PROTECTED_SUCCESS = 0x00

export function speaksTls13(engine: TlsEngine): boolean {
  return engine.protocol === 'TLSv1.3'
}

/** The MSK of an established session: 64 bytes. */
export function tlsMsk(engine: TlsEngine): Uint8Array {
  const material = speaksTls13(engine)
    ? engine.exportKeyingMaterial(
        KEY_MATERIAL_LENGTH,
        'EXPORTER_EAP_TLS_Key_Material',
        Uint8Array.of(EapType.TLS)
      )
    : engine.exportKeyingMaterial(KEY_MATERIAL_LENGTH, 'client EAP encryption')
  // Not slice(): of a Buffer that would be a view, and be wiped with the rest.
  const msk = Uint8Array.from(material.subarray(0, MSK_LENGTH))
  material.fill(0)
  return msk
}
