/**
 * A seeded network in virtual time: delay, loss, duplication and reordering on UDP paths; streams that keep order
 * until they break. Two `End`s live on it.
 * @module
 */
import type { Path } from '../../src/wire/endpoint.ts'
import type { End } from './ike-pair.ts'
import type { SeededRandom } from './seeded-random.ts'

export interface NetworkQuality {
  /** Probabilities on UDP. */
  readonly loss: number
  readonly duplication: number
  readonly minDelayMs: number
  readonly maxDelayMs: number
}

interface InFlight {
  readonly at: number
  readonly order: number
  readonly to: End
  readonly path: Path
  readonly message: Uint8Array
}

interface Link {
  readonly to: End
  readonly path: Path
  isUp: boolean
  /** Streams: nothing arrives before what was sent before. */
  lastArrivalAt: number
}

export class VirtualNetwork {
  now = 0
  quality: NetworkQuality
  readonly #random: SeededRandom
  readonly #links = new Map<number, Link>()
  #inFlight: InFlight[] = []
  #order = 0

  constructor(random: SeededRandom, quality: NetworkQuality) {
    this.#random = random
    this.quality = quality
  }

  /** Joins the two views of one path. */
  join(a: End, pathOfA: Path, b: End, pathOfB: Path): void {
    this.#links.set(pathOfA.id, { to: b, path: pathOfB, isUp: true, lastArrivalAt: 0 })
    this.#links.set(pathOfB.id, { to: a, path: pathOfA, isUp: true, lastArrivalAt: 0 })
  }

  /** Nothing passes any more; what was under way is lost. */
  cut(...paths: readonly Path[]): void {
    const ids = new Set(paths.map(({ id }) => id))
    for (const id of ids) {
      const link = this.#links.get(id)
      if (link !== undefined) link.isUp = false
    }
    this.#inFlight = this.#inFlight.filter(({ path }) => !ids.has(path.id))
  }

  /** Takes everything that an end wants sent. */
  collect(from: End): void {
    for (const { path, message } of from.sent.splice(0)) {
      const link = this.#links.get(path.id)
      if (link?.isUp) this.#launch(link, message)
    }
  }

  /** When the next message arrives. */
  nextArrival(): number | undefined {
    return this.#inFlight[0]?.at
  }

  /** Delivers what arrives at `now`. */
  deliverDue(): void {
    for (const { to, message, path } of this.takeDue()) to.session.receive(this.now, message, path)
  }

  /** What arrives at `now`, one after the other, for whoever delivers it himself. */
  *takeDue(): Generator<{ readonly to: End; readonly path: Path; readonly message: Uint8Array }> {
    while (this.#inFlight[0] !== undefined && this.#inFlight[0].at <= this.now) {
      const arrival = this.#inFlight.shift()
      if (arrival !== undefined) yield arrival
    }
  }

  #launch(link: Link, message: Uint8Array): void {
    if (link.path.reliable) {
      link.lastArrivalAt = Math.max(link.lastArrivalAt, this.now + this.#delay())
      this.#add(link, link.lastArrivalAt, message)
      return
    }
    if (this.#random.fraction() < this.quality.loss) return
    this.#add(link, this.now + this.#delay(), message)
    if (this.#random.fraction() < this.quality.duplication) this.#add(link, this.now + this.#delay(), message)
  }

  #add(link: Link, at: number, message: Uint8Array): void {
    this.#inFlight.push({ at, order: ++this.#order, to: link.to, path: link.path, message })
    this.#inFlight.sort((a, b) => a.at - b.at || a.order - b.order)
  }

  #delay(): number {
    const { minDelayMs, maxDelayMs } = this.quality
    return minDelayMs + this.#random.fraction() * (maxDelayMs - minDelayMs)
  }
}
