/**
 * CLOCK_BOOTTIME: unlike the monotonic clock it goes on while the machine sleeps.
 * @module
 */
import { libc, NativeUnavailableError } from './libc.ts'
import { addressOf, nativeBuffer } from './memory.ts'

const CLOCK_BOOTTIME = 7
/** `struct timespec` with 64-bit fields. */
const TIMESPEC_LENGTH = 16

const timespec = nativeBuffer(TIMESPEC_LENGTH)

/** Milliseconds since the machine started; undefined where the C library cannot be called. */
export function bootTimeMs(): number | undefined {
  try {
    if (libc().clockGettime(CLOCK_BOOTTIME, addressOf(timespec)) !== 0) return undefined
  } catch (error) {
    if (error instanceof NativeUnavailableError) return undefined
    throw error
  }
  return Number(timespec.readBigInt64LE(0)) * 1000 + Number(timespec.readBigInt64LE(8)) / 1e6
}
