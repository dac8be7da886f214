/**
 * Addresses as Node writes them, made comparable.
 * @module
 */

/** Without a zone, and without the mapping that a dual-stack socket adds to IPv4 (`::ffff:192.0.2.1`). */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return (mapped?.[1] ?? address).replace(/%.*$/, '')
}
