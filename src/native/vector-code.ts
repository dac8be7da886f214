/**
 * Two small functions as WebAssembly, which has vector instructions where JavaScript has none. Written here instruction by
 * instruction, so that there is neither a binary file nor a compiler to trust:
 *
 * - `sum(at, length)`: the internet checksum's sum (RFC 1071) of bytes in the memory, folded to 16 bits and in network
 *   byte order, not complemented. Words are added as they lie in memory, 16 bytes at a time, since the order of bytes
 *   only has to be put right once at the end (RFC 1071 section 2 B).
 * - `copy(to, from, length)`: `memmove`.
 *
 * @module
 */

/** Numbers of the binary format (WebAssembly core specification 2.0, chapter 5). */
const Type = { I32: 0x7f, I64: 0x7e, V128: 0x7b } as const
const Section = { TYPE: 1, IMPORT: 2, FUNCTION: 3, EXPORT: 7, CODE: 10 } as const
const FUNCTION_TYPE = 0x60
const MEMORY = 0x02
const FUNCTION = 0x00
const NO_RESULT = 0x40

type Code = readonly number[]

// Instructions, by their names in the text format.
const block: Code = [0x02, NO_RESULT]
const loop: Code = [0x03, NO_RESULT]
const ifNotZero: Code = [0x04, NO_RESULT]
const end: Code = [0x0b]
const branch = (depth: number): Code => [0x0c, depth]
const branchIf = (depth: number): Code => [0x0d, depth]
const get = (local: number): Code => [0x20, local]
const set = (local: number): Code => [0x21, local]
const i32 = (value: number): Code => [0x41, ...signed(value)]
const i64 = (value: number): Code => [0x42, ...signed(value)]
const i32Load: Code = [0x28, 0, 0]
const i32Load8: Code = [0x2d, 0, 0]
const i32Load16: Code = [0x2f, 0, 0]
const i32AtLeast: Code = [0x4f]
const i32Add: Code = [0x6a]
const i32And: Code = [0x71]
const i32Or: Code = [0x72]
const i32Left: Code = [0x74]
const i32Right: Code = [0x76]
const i64Add: Code = [0x7c]
const i64And: Code = [0x83]
const i64Right: Code = [0x88]
const i32Wrap: Code = [0xa7]
const i64Extend: Code = [0xad]
const memoryCopy: Code = [0xfc, 10, 0, 0]
const v128Load = (offset: number): Code => [0xfd, 0, 0, offset]
const i32x4Lane = (lane: number): Code => [0xfd, 0x1b, lane]
/** Adds neighbouring 16-bit words to four sums of 32 bits. */
const i32x4PairwiseAdd16: Code = [0xfd, 0x7f]
const i32x4Add: Code = [0xfd, 0xae, 0x01]

/** Bytes of one turn of the vector loop. No sum of 32 bits overflows below 2 MiB. */
const TURN = 64

/** Locals of `sum`; the first two are its parameters. */
const At = 0
const Length = 1
const End = 2
const Total = 3
const Even = 4
const Odd = 5

/** The module: imports a memory as `env.memory`, exports `sum` and `copy`. */
export function vectorModule(): Uint8Array<ArrayBuffer> {
  const types = [
    [FUNCTION_TYPE, ...vector([[Type.I32], [Type.I32]]), ...vector([[Type.I32]])],
    [FUNCTION_TYPE, ...vector([[Type.I32], [Type.I32], [Type.I32]]), ...vector([])]
  ]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(Section.TYPE, vector(types)),
    ...section(Section.IMPORT, vector([[...text('env'), ...text('memory'), MEMORY, 0, 1]])),
    ...section(Section.FUNCTION, vector([[0], [1]])),
    ...section(
      Section.EXPORT,
      vector([
        [...text('sum'), FUNCTION, 0],
        [...text('copy'), FUNCTION, 1]
      ])
    ),
    ...section(Section.CODE, vector([sumFunction(), copyFunction()]))
  ])
}

function sumFunction(): Code {
  const locals = vector([
    [1, Type.I32],
    [1, Type.I64],
    [2, Type.V128]
  ])
  const addVector = (offset: number, sums: number): Code => [
    ...[...get(sums), ...get(At), ...v128Load(offset)],
    ...[...i32x4PairwiseAdd16, ...i32x4Add, ...set(sums)]
  ]
  const lanes = [0, 1, 2, 3].flatMap((lane) => [
    ...[...get(Even), ...i32x4Lane(lane), ...i64Extend],
    ...(lane === 0 ? [] : i64Add)
  ])
  const foldOnce = [
    ...[...get(Total), ...i64(0xffff), ...i64And, ...get(Total), ...i64(16), ...i64Right],
    ...[...i64Add, ...set(Total)]
  ]
  return body([
    ...locals,
    ...whileBefore(TURN, [
      ...[...addVector(0, Even), ...addVector(16, Odd), ...addVector(32, Even), ...addVector(48, Odd)]
    ]),
    ...[...get(Even), ...get(Odd), ...i32x4Add, ...set(Even), ...lanes, ...set(Total)],
    // A word of 32 bits counts as two of 16, since 2^16 is 1 modulo 2^16 - 1.
    ...whileBefore(4, addToTotal(i32Load), TURN - 1),
    ...ifBit(2, [...addToTotal(i32Load16), ...advance(2)]),
    ...ifBit(1, addToTotal(i32Load8)),
    ...[...foldOnce, ...foldOnce, ...foldOnce, ...foldOnce],
    ...[...get(Total), ...i32Wrap, ...set(End)],
    ...[...get(End), ...i32(0xff), ...i32And, ...i32(8), ...i32Left],
    ...[...get(End), ...i32(8), ...i32Right, ...i32Or],
    ...end
  ])
}

function copyFunction(): Code {
  return body([...vector([]), ...get(0), ...get(1), ...get(2), ...memoryCopy, ...end])
}

/** Repeats for as many whole steps as `Length`, or what `mask` leaves of it, has. */
function whileBefore(step: number, code: Code, mask = -1): Code {
  return [
    ...[...get(At), ...get(Length), ...i32(mask & -step), ...i32And, ...i32Add, ...set(End)],
    ...[...block, ...loop, ...get(At), ...get(End), ...i32AtLeast, ...branchIf(1)],
    ...[...code, ...advance(step), ...branch(0), ...end, ...end]
  ]
}

function ifBit(bit: number, code: Code): Code {
  return [...get(Length), ...i32(bit), ...i32And, ...ifNotZero, ...code, ...end]
}

function addToTotal(load: Code): Code {
  return [...get(Total), ...get(At), ...load, ...i64Extend, ...i64Add, ...set(Total)]
}

function advance(step: number): Code {
  return [...get(At), ...i32(step), ...i32Add, ...set(At)]
}

function body(code: Code): Code {
  return [...unsigned(code.length), ...code]
}

function section(id: number, contents: Code): Code {
  return [id, ...unsigned(contents.length), ...contents]
}

function vector(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items.flat()]
}

function text(value: string): Code {
  return vector([...value].map((character) => [character.charCodeAt(0)]))
}

/** LEB128. */
function unsigned(value: number): Code {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]
}

function signed(value: number): Code {
  const low = value & 0x7f
  const rest = value >> 7
  const isLast = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)
  return isLast ? [low] : [low | 0x80, ...signed(rest)]
}
