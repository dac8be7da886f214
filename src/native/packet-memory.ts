/**
 * Memory for packets that are worked on byte by byte: C functions, JavaScript and the vector code of `vector-code.ts` can
 * all reach it, so that sums and copies cost a quarter of what they cost in other memory.
 *
 * Invariants: what a buffer of any other memory gets is the same result, slower; bounds are checked here, since neither
 * vector code nor `memcpy` knows where a buffer ends. Packet memory is never given back: it is for buffers that live as
 * long as the process, or that all transports share.
 * @module
 */
import { libc } from './libc.ts'
import { AddressCache } from './memory.ts'
import { vectorModule } from './vector-code.ts'

interface VectorCode {
  sum(at: number, length: number): number
  copy(to: number, from: number, length: number): void
}

/** Enough for one TUN device with its super-packets, and the receive buffers; only what is touched is really taken. */
const MEMORY_BYTES = 4 * 1024 * 1024
const PAGE_BYTES = 65_536
const ALIGNMENT = 64

/** What is used of WebAssembly's interface to JavaScript, for which there are no types here. */
interface WebAssemblyApi {
  readonly Memory: new (limits: { initial: number; maximum: number }) => WebAssemblyMemory
  readonly Module: new (binary: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: object }
}
interface WebAssemblyMemory {
  readonly buffer: ArrayBuffer
}

interface PacketMemory {
  readonly memory: WebAssemblyMemory
  readonly code: VectorCode
  used: number
}

/** Null: there is none on this machine (no WebAssembly, or no address space for it). */
let packetMemory: PacketMemory | null | undefined

function open(): PacketMemory | null {
  try {
    const { Memory, Module, Instance } = Reflect.get(globalThis, 'WebAssembly') as WebAssemblyApi
    const pages = MEMORY_BYTES / PAGE_BYTES
    const memory = new Memory({ initial: pages, maximum: pages })
    const instance = new Instance(new Module(vectorModule()), { env: { memory } })
    return { memory, code: instance.exports as unknown as VectorCode, used: 0 }
  } catch {
    return null
  }
}

/** A zeroed buffer that vector code can reach; where there is none, or no room left, one of other memory. */
export function packetBuffer(length: number): Uint8Array<ArrayBuffer> {
  packetMemory ??= open()
  if (packetMemory === null || packetMemory.used + length > MEMORY_BYTES)
    return new Uint8Array(new ArrayBuffer(length))
  const at = packetMemory.used
  packetMemory.used = Math.ceil((at + length) / ALIGNMENT) * ALIGNMENT
  return new Uint8Array(packetMemory.memory.buffer, at, length)
}

/** Where the buffers used last lie in packet memory, -1: elsewhere. Asking each time would cost more than the work itself. */
let firstBuffer: Uint8Array | undefined
let firstPlace = -1
let secondBuffer: Uint8Array | undefined
let secondPlace = -1

function placeOf(buffer: Uint8Array): number {
  if (buffer === firstBuffer) return firstPlace
  const buffered = firstBuffer
  const place = firstPlace
  firstBuffer = buffer
  firstPlace =
    buffer === secondBuffer
      ? secondPlace
      : packetMemory != null && buffer.buffer === packetMemory.memory.buffer
        ? buffer.byteOffset
        : -1
  secondBuffer = buffered
  secondPlace = place
  return firstPlace
}

/**
 * The sum of 16-bit big-endian words, folded to 16 bits (RFC 1071), an odd last byte being the high half of a word.
 * @returns -1: not in packet memory, ask somebody else
 * @throws RangeError when the bytes are not all inside the buffer
 */
export function vectorSum(buffer: Uint8Array, offset: number, length: number): number {
  const place = placeOf(buffer)
  if (place < 0 || packetMemory == null) return -1
  if (offset < 0 || length < 0 || offset + length > buffer.length)
    throw new RangeError('A sum beyond the end of a buffer')
  return packetMemory.code.sum(place + offset, length)
}

const copySources = new AddressCache()
const copyTargets = new AddressCache()

/** `memmove` between buffers: unlike `set` it needs no view, so that nothing is allocated. @throws RangeError */
export function copyBytes(
  from: Uint8Array,
  fromOffset: number,
  to: Uint8Array,
  toOffset: number,
  length: number
): void {
  if (fromOffset < 0 || toOffset < 0 || length < 0) throw new RangeError('Negative offset or length')
  if (fromOffset + length > from.length || toOffset + length > to.length)
    throw new RangeError('Copy beyond the end of a buffer')
  const source = placeOf(from)
  const target = placeOf(to)
  if (source >= 0 && target >= 0 && packetMemory != null)
    packetMemory.code.copy(target + toOffset, source + fromOffset, length)
  else libc().memmove(copyTargets.of(to) + toOffset, copySources.of(from) + fromOffset, length)
}
