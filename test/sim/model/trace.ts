/**
 * What happened in a simulated world: a hash over everything, so that two runs can be compared, and the last events in words.
 * @module
 */
const KEPT = 400

interface Line {
  readonly at: number
  readonly what: string
  readonly detail: string | number
}

export class Trace {
  /** Called with every line; for `--trace`. */
  onLine: ((line: string) => void) | undefined
  readonly #ring: Line[] = []
  #next = 0
  #high = 0x811c9dc5
  #low = 0x9e3779b9
  #count = 0

  add(at: number, what: string, detail: string | number = ''): void {
    this.#count++
    this.#fold(Math.round(at * 1000))
    this.#foldText(what)
    if (typeof detail === 'number') this.#fold(detail)
    else this.#foldText(detail)
    const line = { at, what, detail }
    this.#ring[this.#next] = line
    this.#next = (this.#next + 1) % KEPT
    this.onLine?.(format(line))
  }

  get hash(): string {
    return [this.#high, this.#low, this.#count].map((word) => (word >>> 0).toString(16)).join('-')
  }

  /** The last events, oldest first. */
  last(count: number): string[] {
    const ordered = [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)]
    return ordered.slice(-count).map(format)
  }

  #fold(value: number): void {
    this.#high = Math.imul(this.#high ^ (value | 0), 0x01000193)
    this.#low = Math.imul(this.#low ^ (value / 4096) ^ this.#high, 0x85ebca6b)
    this.#high ^= this.#low >>> 15
  }

  #foldText(text: string): void {
    for (let index = 0; index < text.length; index++) this.#fold(text.charCodeAt(index))
  }
}

function format({ at, what, detail }: Line): string {
  return `${(at / 1000).toFixed(3).padStart(9)} ${what}${detail === '' ? '' : ` ${detail}`}`
}
