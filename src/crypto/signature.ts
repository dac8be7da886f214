// replaced by its owner
export interface SigningKey {
  readonly kind: 'rsa' | 'ecdsa' | 'ed25519'
}
