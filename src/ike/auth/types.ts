/**
 * Credentials as the IKE engine takes them (RFC 7296 sections 2.15, 2.16).
 * Secrets are `Secret`s: they print as `[hidden]` wherever they end up.
 * @module
 */

import type { TrustStore } from '../../crypto/certificate.ts'
import type { SigningKey } from '../../crypto/signature.ts'
import type { Secret } from '../../secret.ts'

/** How this end proves who it is. */
export type LocalAuth =
  | { readonly method: 'psk'; readonly secret: Secret }
  | {
      readonly method: 'certificate'
      /** DER, leaf first, then intermediates. */
      readonly chain: readonly Uint8Array[]
      readonly key: SigningKey
    }
  /** Initiator only; which EAP method runs is the gateway's choice among those with credentials here. */
  | { readonly method: 'eap'; readonly credentials: EapCredentials }

export interface EapCredentials {
  /** EAP-Identity; usually the user name. */
  readonly user: string
  readonly password?: Secret | undefined
  /** For EAP-TLS. */
  readonly tls?: EapTlsCredentials | undefined
}
export interface EapTlsCredentials {
  /** PEM. */
  readonly certificateChain: string
  /** PEM (PKCS#8); */
  readonly privateKey: Secret
  /** PEM trust anchors for the EAP server's (or, on the server, the client's) certificate. */
  readonly trustAnchors: readonly string[]
  /** The name that the EAP server's certificate must carry; undefined: any that chains to the anchors. */
  readonly serverName?: string | undefined
  /** Highest version to offer; some RADIUS servers break with TLS 1.3. Default: 1.3. */
  readonly maxTlsVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined
}

/** What this end demands of the other. */
export type RemoteAuth =
  | { readonly method: 'psk'; readonly secret: Secret }
  | { readonly method: 'certificate'; readonly trust: TrustStore }
  /** Responder only. */
  | { readonly method: 'eap'; readonly server: EapServerConfig }

export interface EapServerConfig {
  /** Methods in order of preference, as EAP type numbers. */
  readonly methods: readonly number[]
  passwordOf(user: string): Secret | undefined
  readonly tls?: EapTlsCredentials | undefined
}
