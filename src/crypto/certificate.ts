// replaced by its owner
export interface TrustStore {
  readonly anchors: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
}
