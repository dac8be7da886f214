/**
 * The ioctl requests of network devices and of the TUN driver (linux/if_tun.h, linux/sockios.h), and their structure.
 * @module
 */
import { type Libc, libc } from '../native/libc.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'

export const TUNSETIFF = 0x400454ca
export const TUNSETOFFLOAD = 0x400454d0

export const TunFlag = { TUN: 0x1, NO_PI: 0x1000, VNET_HDR: 0x4000 } as const
/** What the kernel may leave to us, and we to it. */
export const TunOffload = { CSUM: 0x1, TSO4: 0x2, TSO6: 0x4, TSO_ECN: 0x8, USO4: 0x20, USO6: 0x40 } as const

const SIOCGIFFLAGS = 0x8913
const SIOCGIFMTU = 0x8921
const SIOCSIFMTU = 0x8922
const IFF_UP = 0x1

/** Bytes of an interface name, with the zero at its end. */
const IFNAMSIZ = 16
const IFREQ_LENGTH = 40

/** `struct ifreq`: a name, then a union of which flags and numbers are used here. */
export class InterfaceRequest {
  readonly #buffer = nativeBuffer(IFREQ_LENGTH)
  readonly #address = addressOf(this.#buffer)
  readonly #libc: Libc = libc()

  constructor(name: string) {
    this.#buffer.write(name, 0, IFNAMSIZ - 1, 'latin1')
  }

  /** As the kernel completed it. */
  get name(): string {
    const end = this.#buffer.indexOf(0)
    return this.#buffer.toString('latin1', 0, Math.min(end, IFNAMSIZ))
  }

  /** @returns as `ioctl` */
  attachTun(tunFd: number, flags: number): number {
    this.#buffer.fill(0, IFNAMSIZ)
    this.#buffer.writeUInt16LE(flags, IFNAMSIZ)
    return this.#libc.ioctl(tunFd, TUNSETIFF, this.#address)
  }

  /** @returns the MTU, or -1 */
  getMtu(socketFd: number): number {
    const result = this.#libc.ioctl(socketFd, SIOCGIFMTU, this.#address)
    return result < 0 ? -1 : this.#buffer.readInt32LE(IFNAMSIZ)
  }

  setMtu(socketFd: number, mtu: number): number {
    this.#buffer.fill(0, IFNAMSIZ)
    this.#buffer.writeInt32LE(mtu, IFNAMSIZ)
    return this.#libc.ioctl(socketFd, SIOCSIFMTU, this.#address)
  }

  isUp(socketFd: number): boolean {
    const result = this.#libc.ioctl(socketFd, SIOCGIFFLAGS, this.#address)
    return result >= 0 && (this.#buffer.readUInt16LE(IFNAMSIZ) & IFF_UP) !== 0
  }
}

/** True for what Linux takes as the name of a network device; `%d` stands for the first free number. */
export function isInterfaceName(name: string): boolean {
  return (
    name.length > 0 &&
    name.length < IFNAMSIZ &&
    name !== '.' &&
    name !== '..' &&
    /^[!-~]+$/.test(name) &&
    !/[/:]/.test(name) &&
    /^[^%]*(%d[^%]*)?$/.test(name)
  )
}
