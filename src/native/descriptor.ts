/**
 * The file descriptor behind one of Node's streams.
 * @module
 */

/** Node keeps the descriptor in an undocumented place; undefined where it is not there. */
export function descriptorOf(stream: object): number | undefined {
  const handle: unknown = '_handle' in stream ? stream._handle : undefined
  if (typeof handle !== 'object' || handle === null || !('fd' in handle)) return undefined
  return typeof handle.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined
}
