/**
 * Byte strings, texts and lists behind their lengths, for formats of our own. Reading checks bounds; what is read is copied, so
 * that the message that it came in can be overwritten.
 * @module
 */
import type { Reader } from './reader.ts'
import type { Writer } from './writer.ts'

/** Up to 4 GiB. */
export function writeBlob(w: Writer, bytes: Uint8Array): void {
  w.u32(bytes.length)
  w.bytes(bytes)
}

export function readBlob(r: Reader, field: string): Uint8Array {
  return Uint8Array.from(r.take(r.u32(field), field))
}

export function writeText(w: Writer, text: string): void {
  writeBlob(w, new TextEncoder().encode(text))
}

export function readText(r: Reader, field: string): string {
  return new TextDecoder().decode(r.take(r.u32(field), field))
}

export function writeList<T>(w: Writer, items: readonly T[], write: (item: T) => void): void {
  w.u32(items.length)
  for (const item of items) write(item)
}

/** Every item takes at least one byte, so that a length cannot be invented. */
export function readList<T>(r: Reader, field: string, read: (index: number) => T): T[] {
  const count = r.u32(field)
  if (count > r.remaining) throw r.syntaxError(`${count} items in ${r.remaining} bytes`, field)
  return Array.from({ length: count }, (_, index) => read(index))
}

export function writeOptional<T>(w: Writer, value: T | undefined, write: (value: T) => void): void {
  w.u8(value === undefined ? 0 : 1)
  if (value !== undefined) write(value)
}

export function readOptional<T>(r: Reader, field: string, read: () => T): T | undefined {
  return readFlag(r, field) ? read() : undefined
}

export function writeFlag(w: Writer, flag: boolean): void {
  w.u8(flag ? 1 : 0)
}

export function readFlag(r: Reader, field: string): boolean {
  const value = r.u8(field)
  if (value > 1) throw r.syntaxError(`is ${value}, neither 0 nor 1`, field)
  return value === 1
}
