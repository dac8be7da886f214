/**
 * Addresses that belong to whichever of several machines is at work (a cluster's): taken, announced to the neighbours,
 * and given back.
 *
 * Invariant: the kernel holds them on loan only. They have a lifetime of seconds, which is renewed for as long as this
 * program runs and wants them: of a program that was killed or hangs, the kernel takes them back by itself.
 * @module
 */
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import { addressFamily, addressToBytes } from '../wire/address.ts'
import { announcementFrame } from '../wire/neighbour.ts'
import { sendFrame } from './announce.ts'
import { type CommandRunner, must, mustJson } from './commands.ts'

export interface ServiceAddress {
  readonly address: string
  readonly prefixLength: number
  readonly interface: string
}

/** Lifetime in the kernel, in whole seconds as `ip` has it, and how often it is renewed. */
const LIFETIME_S = 3
const RENEW_MS = 1_000
/**
 * Announcements after the first one: a frame may be lost, and the machine that had the address before may answer for it until
 * its kernel has taken it back.
 */
const REPEAT_AFTER_MS = [100, 500, 1_500, 3_500] as const

export interface ServiceAddressSurroundings {
  readonly runner: CommandRunner
  readonly clock: Clock
  readonly log: Logger
  /** Sends frames; a packet socket by default. */
  readonly send?: typeof sendFrame
}

export class ServiceAddresses {
  readonly #addresses: readonly ServiceAddress[]
  readonly #around: ServiceAddressSurroundings
  #held = false
  #timers: { cancel(): void }[] = []
  /** Hardware addresses by interface; those without one are not announced. */
  #macs = new Map<string, Uint8Array>()

  constructor(addresses: readonly ServiceAddress[], around: ServiceAddressSurroundings) {
    this.#addresses = addresses
    this.#around = around
  }

  /** Looks whether the interfaces are there. @throws SystemError */
  async check(): Promise<void> {
    for (const name of new Set(this.#addresses.map((one) => one.interface))) {
      const mac = await hardwareAddress(this.#around.runner, name)
      if (mac === undefined)
        this.#around.log.log('warn', 'an interface without Ethernet: nobody can be told of addresses there', {
          interface: name
        })
      else this.#macs.set(name, mac)
    }
  }

  /** From now on this machine has them; `announce` tells the neighbours. @throws SystemError */
  async take(): Promise<void> {
    this.#held = true
    await must(this.#around.runner, ['ip', '-batch', '-'], { input: this.#replaceLines() })
    if (this.#held) this.#renewLater()
  }

  /** The neighbours' packets are to come here, and are told so several times. */
  announce(): void {
    this.#announceOnce()
    for (const delayMs of REPEAT_AFTER_MS) this.#later(delayMs, () => this.#announceOnce())
  }

  /** Gives them back. What is gone already counts as given back. */
  async drop(): Promise<void> {
    this.#held = false
    for (const timer of this.#timers.splice(0)) timer.cancel()
    const input = this.#lines((cidr, one) => `addr del ${cidr} dev ${one.interface}`)
    try {
      await this.#around.runner.run(['ip', '-force', '-batch', '-'], { input })
    } catch (error) {
      this.#around.log.log('warn', 'a service address could not be given back', { error: String(error) })
    }
  }

  #announceOnce(): void {
    const { send = sendFrame, log } = this.#around
    for (const one of this.#addresses) {
      const mac = this.#macs.get(one.interface)
      const bytes = addressToBytes(one.address)
      if (mac === undefined || bytes === undefined) continue
      try {
        send(one.interface, announcementFrame(mac, bytes))
      } catch (error) {
        log.log('warn', 'a service address could not be announced', {
          address: one.address,
          error: error instanceof Error ? error.message : String(error)
        })
      }
    }
  }

  #renewLater(): void {
    this.#later(RENEW_MS, () => {
      void this.#renew().finally(() => {
        if (this.#held) this.#renewLater()
      })
    })
  }

  async #renew(): Promise<void> {
    try {
      await must(this.#around.runner, ['ip', '-batch', '-'], { input: this.#replaceLines() })
      // It was given back in the meantime, and must not have come back by this.
      if (!this.#held) await this.drop()
    } catch (error) {
      this.#around.log.log('error', 'a service address could not be renewed', { error: String(error) })
    }
  }

  #replaceLines(): string {
    return this.#lines((cidr, one) => {
      // Never the source of connections that have nothing to do with it; without duplicate detection, which takes a second.
      const isIpv6 = addressFamily(one.address) === 6
      const details = isIpv6 ? 'nodad preferred_lft 0' : `preferred_lft ${LIFETIME_S}`
      return `addr replace ${cidr} dev ${one.interface} valid_lft ${LIFETIME_S} ${details}`
    })
  }

  #lines(line: (cidr: string, one: ServiceAddress) => string): string {
    const lines = this.#addresses.map((one) => line(`${one.address}/${one.prefixLength}`, one))
    return `${lines.join('\n')}\n`
  }

  #later(delayMs: number, callback: () => void): void {
    const timer = this.#around.clock.setTimer(delayMs, () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
      callback()
    })
    this.#timers.push(timer)
  }
}

/** @returns undefined for an interface that has none of six bytes. @throws SystemError when there is no such interface */
async function hardwareAddress(runner: CommandRunner, name: string): Promise<Uint8Array | undefined> {
  const links = await mustJson(runner, ['ip', '-j', 'link', 'show', 'dev', name])
  const link: unknown = Array.isArray(links) ? links[0] : undefined
  const text = typeof link === 'object' && link !== null && 'address' in link ? String(link.address) : ''
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) return undefined
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16))
}
