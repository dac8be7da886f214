/**
 * Text that came from the other side and is shown to people: bounded, on one line, without control characters.
 * @module
 */

const MAX_SHOWN_CHARACTERS = 120

/** Text of a peer, safe to put into a message or a log. */
export function showPeerText(value: Uint8Array | string): string {
  const text = typeof value === 'string' ? value : new TextDecoder().decode(value)
  const clean = text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu, ' ').trim()
  return clean.length > MAX_SHOWN_CHARACTERS ? `${clean.slice(0, MAX_SHOWN_CHARACTERS)}...` : clean
}
