/**
 * Carries packets between two TUN devices, each direction through its {@link LinkDirection}. Nothing but pushing: reads what the
 * devices have, asks the engines what is due, and arms one timer.
 * @module
 */
import type { Tun } from '../../tun/types.ts'
import { clearVnetHeader, VNET_HEADER_LENGTH } from '../../tun/vnet-header.ts'
import type { LinkDirection } from './link-direction.ts'
import type { LinkNat } from './nat.ts'

/** So that both directions and the timer get their turn. */
const FRAMES_PER_TURN = 64
/**
 * The timer is set this much later than the first packet is due, so that those right behind it leave with it: at 50 Mbit/s there is one
 * every 0.24 ms, and each firing costs more than carrying a packet. Measured at 50 Mbit/s: 0.25 of a core with 0.1 ms, 0.16 with this.
 */
const RELEASE_SLACK_MS = 0.25

export interface ReleaseTimer {
  /** Fires once after this long; what was armed before is forgotten. */
  arm(delayMs: number): void
  close(): void
}

export interface LinkRouterOptions {
  readonly a: Tun
  readonly b: Tun
  /** From `a` to `b`. Both directions carry virtio-net headers, empty ones: the devices have no offloads. */
  readonly forward: LinkDirection
  readonly backward: LinkDirection
  /** Stands at the end of `a`: what `a` sends leaves through it. */
  readonly nat?: LinkNat | undefined
  /** A monotonic clock, milliseconds with fractions. */
  readonly now: () => number
  readonly makeTimer: (callback: () => void) => ReleaseTimer
  /** A device is gone; the router has stopped. */
  readonly onGone?: ((reason: string) => void) | undefined
}

export class LinkRouter {
  /** Packets that were due but that the kernel did not take. */
  refused = 0
  readonly #ways: readonly Way[]
  readonly #now: () => number
  readonly #timer: ReleaseTimer
  #armedForMs = Number.POSITIVE_INFINITY
  #closed = false

  constructor({ a, b, forward, backward, nat, now, makeTimer, onGone }: LinkRouterOptions) {
    this.#now = now
    this.#ways = [
      { from: a, to: b, direction: forward, translate: nat?.outward.bind(nat) },
      { from: b, to: a, direction: backward, translate: nat?.inward.bind(nat) }
    ]
    this.#timer = makeTimer(() => {
      this.#armedForMs = Number.POSITIVE_INFINITY
      this.#release()
    })
    for (const way of this.#ways) {
      way.from.setHandlers({
        onReadable: () => this.#read(way),
        onGone: (reason) => {
          this.close()
          onGone?.(reason)
        }
      })
      way.from.setReading(true)
    }
  }

  /** The devices are their owner's to release. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const { from } of this.#ways) from.setReading(false)
    this.#timer.close()
  }

  #read({ from, direction, translate }: Way): void {
    if (this.#closed) return
    for (let frames = 0; frames < FRAMES_PER_TURN; frames++) {
      const length = from.read()
      if (length <= 0) break
      // What the kernel says about the packet is about its own device; it comes out complete on the other.
      clearVnetHeader(from.readBuffer, 0)
      const nowMs = this.#now()
      const packet = length - VNET_HEADER_LENGTH
      if (translate?.(nowMs, from.readBuffer, VNET_HEADER_LENGTH, packet) === false) continue
      direction.offer(nowMs, from.readBuffer, 0, length)
    }
    this.#release()
  }

  #release(): void {
    if (this.#closed) return
    const nowMs = this.#now()
    let nextMs = Number.POSITIVE_INFINITY
    for (const { to, direction } of this.#ways) {
      for (let length = direction.take(nowMs); length > 0; length = direction.take(nowMs))
        if (!to.write(direction.buffer, direction.offset, length)) this.refused++
      nextMs = Math.min(nextMs, direction.nextDueMs)
    }
    if (nextMs >= this.#armedForMs) return
    this.#armedForMs = nextMs
    this.#timer.arm(Math.max(0, nextMs - nowMs) + RELEASE_SLACK_MS)
  }
}

interface Way {
  readonly from: Tun
  readonly to: Tun
  readonly direction: LinkDirection
  readonly translate: LinkNat['outward'] | undefined
}
