/**
 * MD4 (RFC 1320), which MS-CHAPv2 hashes passwords with (RFC 2759 section 8.3). Broken as a hash; used for nothing else.
 * @module
 */

const ROUND_SHIFTS = [
  [3, 7, 11, 19],
  [3, 5, 9, 13],
  [3, 9, 11, 15]
] as const

/** Which word of the block each step takes, a row for each round (RFC 1320 section 3.4). */
const ROUND_WORDS = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
  [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15]
] as const

const ROUND_CONSTANTS = [0, 0x5a827999, 0x6ed9eba1] as const
const BLOCK_LENGTH = 64

/** @returns 16 bytes */
export function md4(message: Uint8Array): Uint8Array {
  const padded = pad(message)
  const view = new DataView(padded.buffer)
  const state = new Uint32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476])
  const words = new Uint32Array(16)
  for (let offset = 0; offset < padded.length; offset += BLOCK_LENGTH) {
    for (let word = 0; word < 16; word++) words[word] = view.getUint32(offset + word * 4, true)
    compress(state, words)
  }
  padded.fill(0)
  words.fill(0)
  const output = new Uint8Array(16)
  const outputView = new DataView(output.buffer)
  state.forEach((value, index) => {
    outputView.setUint32(index * 4, value, true)
  })
  return output
}

function pad(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const paddedLength = Math.ceil((message.length + 9) / BLOCK_LENGTH) * BLOCK_LENGTH
  const padded = new Uint8Array(paddedLength)
  padded.set(message)
  padded[message.length] = 0x80
  new DataView(padded.buffer).setBigUint64(paddedLength - 8, BigInt(message.length) * 8n, true)
  return padded
}

function compress(state: Uint32Array, words: Uint32Array): void {
  // Typed arrays of four: every index below is in range.
  let [a, b, c, d] = state as unknown as [number, number, number, number]
  for (const round of [0, 1, 2] as const) {
    const shifts = ROUND_SHIFTS[round]
    ROUND_WORDS[round].forEach((word, step) => {
      const sum = (a + mix(round, b, c, d) + (words[word] ?? 0) + ROUND_CONSTANTS[round]) >>> 0
      const rotated = rotateLeft(sum, shifts[(step % 4) as 0 | 1 | 2 | 3])
      a = d
      d = c
      c = b
      b = rotated
    })
  }
  state[0] = (state[0] ?? 0) + a
  state[1] = (state[1] ?? 0) + b
  state[2] = (state[2] ?? 0) + c
  state[3] = (state[3] ?? 0) + d
}

/** F, G and H of RFC 1320 section 3.4. */
function mix(round: 0 | 1 | 2, x: number, y: number, z: number): number {
  if (round === 0) return (x & y) | (~x & z)
  if (round === 1) return (x & y) | (x & z) | (y & z)
  return x ^ y ^ z
}

function rotateLeft(value: number, bits: number): number {
  return ((value << bits) | (value >>> (32 - bits))) >>> 0
}
