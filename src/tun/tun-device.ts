/**
 * A TUN device of the kernel (Documentation/networking/tuntap.rst): whole IP packets, with the offloads that the
 * kernel has. Addresses, routes and bringing it up are not its business.
 *
 * Invariants: the device owns its descriptors, and ends with them. Reads and writes never block.
 * @module
 */
import { AuthenticationError, SystemError, UsageError } from '../errors.ts'
import { libc, NativeUnavailableError } from '../native/libc.ts'
import { AddressFamily, Errno, errnoName, OpenFlag, SocketType } from '../native/libc-constants.ts'
import { AddressCache, addressOf } from '../native/memory.ts'
import { packetBuffer } from '../native/packet-memory.ts'
import { type Watch, watch } from '../native/poller.ts'
import { IN_USE, notInUse, switchedOff } from '../native/speedups.ts'
import { inNetworkNamespace } from './network-namespace.ts'
import { InterfaceRequest, isInterfaceName, TUNSETOFFLOAD, TunFlag, TunOffload } from './tun-ioctl.ts'
import type { Tun, TunHandlers, TunOffloads } from './types.ts'
import { clearVnetHeader, VNET_HEADER_LENGTH } from './vnet-header.ts'

const TUN_PATH = '/dev/net/tun'
const DEFAULT_NAME = 'ike%d'
/** A super-packet with its link header is at most this long unless an administrator raised gso_max_size. */
const READ_BUFFER_LENGTH = 131_072
/** Errno of a read from a device that was deleted under us (EBADFD), which has no other name here. */
const EBADFD = 77

const TSO = TunOffload.CSUM | TunOffload.TSO4 | TunOffload.TSO6
const USO = TunOffload.USO4 | TunOffload.USO6
/** Sets of offloads, the best first; each kernel takes the first one that it knows in whole (USO: Linux 6.2). */
const OFFLOADS: readonly number[] = [TSO | TunOffload.TSO_ECN | USO, TSO | TunOffload.TSO_ECN, TSO]

export interface TunOptions {
  /** A name, or a pattern with `%d` for the first free number; `ike%d` by default. */
  readonly name?: string | undefined
  /** Path of the network namespace that the device is made in; this one by default. */
  readonly netnsPath?: string | undefined
  /** Bytes; the kernel's default (1500) when absent. */
  readonly mtu?: number | undefined
  /** False: neither super-packets nor unfinished checksums, whatever the kernel can do. */
  readonly offload?: boolean | undefined
}

/** A device that has been made, wherever that was. */
export interface TunDescriptors {
  readonly fd: number
  readonly controlFd: number
  readonly name: string
  readonly bare: boolean
  readonly offloads: TunOffloads
}

const noHandlers: TunHandlers = { onReadable() {}, onGone() {} }

export class TunDevice implements Tun {
  readonly name: string
  readonly offloads: TunOffloads
  readonly readBuffer = packetBuffer(READ_BUFFER_LENGTH)
  readonly #libc = libc()
  readonly #fd: number
  /** A socket in the device's own namespace, for questions about it. */
  readonly #controlFd: number
  /** Without virtio-net header the kernel reads and writes bare packets, which stand behind an empty header here. */
  readonly #bare: boolean
  readonly #readAddress = addressOf(this.readBuffer)
  readonly #writeAddresses = new AddressCache()
  #watch: Watch | undefined
  #handlers: TunHandlers = noHandlers
  #released = false

  /** Takes ownership of the descriptors. Use `openTun` to make a device. */
  constructor({ fd, controlFd, name, bare, offloads }: TunDescriptors) {
    this.#fd = fd
    this.#controlFd = controlFd
    this.name = name
    this.#bare = bare
    this.offloads = offloads
  }

  /** What another process needs to go on with this device; the descriptors stay this one's, too. */
  get descriptors(): TunDescriptors {
    const { name, offloads } = this
    return { fd: this.#fd, controlFd: this.#controlFd, name, bare: this.#bare, offloads }
  }

  setHandlers(handlers: TunHandlers): void {
    this.#handlers = handlers
  }

  setReading(on: boolean): void {
    if (this.#released) return
    if (this.#watch === undefined) {
      if (on) this.#watch = watch(this.#fd, { readable: true }, () => this.#handlers.onReadable())
    } else this.#watch.modify({ readable: on })
  }

  read(): number {
    if (this.#released) return 0
    const skip = this.#bare ? VNET_HEADER_LENGTH : 0
    const count = this.#libc.read(this.#fd, this.#readAddress + skip, READ_BUFFER_LENGTH - skip)
    if (count > 0) {
      if (this.#bare) clearVnetHeader(this.readBuffer, 0)
      return count + skip
    }
    if (count < 0 && this.#libc.errno() === EBADFD) this.#gone()
    return 0
  }

  write(buffer: Uint8Array, offset: number, length: number): boolean {
    if (this.#released) return false
    const skip = this.#bare ? VNET_HEADER_LENGTH : 0
    return this.#libc.write(this.#fd, this.#writeAddresses.of(buffer) + offset + skip, length - skip) >= 0
  }

  /** -1 when the device is gone. */
  get mtu(): number {
    return this.#released ? -1 : new InterfaceRequest(this.name).getMtu(this.#controlFd)
  }

  /** @throws SystemError, AuthenticationError */
  setMtu(mtu: number): void {
    if (this.#released) return
    if (new InterfaceRequest(this.name).setMtu(this.#controlFd, mtu) < 0)
      throw mtuError(this.#libc.errno(), `The MTU of ${this.name} cannot be set to ${mtu}`)
  }

  get isUp(): boolean {
    return !this.#released && new InterfaceRequest(this.name).isUp(this.#controlFd)
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#watch?.close()
    this.#libc.close(this.#fd)
    this.#libc.close(this.#controlFd)
    this.#writeAddresses.clear()
  }

  #gone(): void {
    this.release()
    this.#handlers.onGone(`The network device ${this.name} was deleted`)
  }
}

/**
 * Makes a TUN device.
 *
 * @throws UsageError for a name that Linux does not take; SystemError (`tun-missing`, `tun-busy`, `tun-failed`, `native-unavailable`, `netns-...`);
 * AuthenticationError (`tun-permission`) when a privilege is missing
 */
export function openTun(options: TunOptions = {}): TunDevice {
  const name = options.name ?? DEFAULT_NAME
  if (!isInterfaceName(name))
    throw new UsageError('interface-name', `"${name}" cannot be the name of a network device`, {
      hint: 'Use up to 15 letters, digits and dashes, or a pattern such as ike%d'
    })
  try {
    const device = inNetworkNamespace(options.netnsPath, () => openHere(name, options.offload !== false))
    if (options.mtu !== undefined) setMtuOrRelease(device, options.mtu)
    return device
  } catch (error) {
    if (!(error instanceof NativeUnavailableError)) throw error
    throw new SystemError('native-unavailable', `A TUN device cannot be used: ${error.message}`, {
      hint: error.hint,
      cause: error
    })
  }
}

function setMtuOrRelease(device: TunDevice, mtu: number): void {
  try {
    device.setMtu(mtu)
  } catch (error) {
    device.release()
    throw error
  }
}

function openHere(name: string, wantOffload: boolean): TunDevice {
  const c = libc()
  const fd = c.open(TUN_PATH, OpenFlag.RDWR | OpenFlag.NONBLOCK | OpenFlag.CLOEXEC)
  if (fd < 0) throw openError(c.errno())
  const request = new InterfaceRequest(name)
  let bare = false
  let result = request.attachTun(fd, TunFlag.TUN | TunFlag.NO_PI | TunFlag.VNET_HDR)
  if (result < 0 && c.errno() === Errno.EINVAL) {
    bare = true
    result = request.attachTun(fd, TunFlag.TUN | TunFlag.NO_PI)
  }
  const errno = result < 0 ? c.errno() : 0
  const controlFd = result < 0 ? -1 : openControlSocket()
  if (result < 0 || controlFd < 0) {
    c.close(fd)
    throw deviceError(errno, name, `The TUN device ${name} cannot be made`)
  }
  const offloads = wantOffload ? enableOffloads(fd, bare) : allOff('not wanted')
  return new TunDevice({ fd, controlFd, name: request.name, bare, offloads })
}

function enableOffloads(fd: number, bare: boolean): TunOffloads {
  if (bare) return allOff('the kernel knows no virtio-net headers')
  const off = switchedOff('tun-offload')
  if (off !== undefined) return allOff(off)
  const usoOff = switchedOff('uso')
  const sets = usoOff === undefined ? OFFLOADS : OFFLOADS.slice(1)
  const taken = sets.find((set) => libc().ioctl(fd, TUNSETOFFLOAD, set) >= 0)
  if (taken === undefined) return allOff('the kernel refuses TUNSETOFFLOAD')
  const udp =
    (taken & USO) !== 0 ? IN_USE : notInUse(usoOff ?? 'the kernel has none for TUN devices (Linux 6.2 does)')
  return { checksum: IN_USE, tcp: IN_USE, udp }
}

function allOff(why: string): TunOffloads {
  const off = notInUse(why)
  return { checksum: off, tcp: off, udp: off }
}

/** Any socket will do; a machine may lack one of the families. */
function openControlSocket(): number {
  const c = libc()
  const type = SocketType.DGRAM | SocketType.CLOEXEC
  const fd = c.socket(AddressFamily.INET, type, 0)
  return fd >= 0 ? fd : c.socket(AddressFamily.INET6, type, 0)
}

const PRIVILEGE_HINT = 'Run as root (sudo), or give node CAP_NET_ADMIN'

function openError(errno: number): SystemError | AuthenticationError {
  if (errno === Errno.EACCES || errno === Errno.EPERM)
    return new AuthenticationError('tun-permission', `${TUN_PATH} may not be opened`, {
      hint: PRIVILEGE_HINT
    })
  if (errno === Errno.ENOENT || errno === Errno.ENODEV || errno === Errno.ENXIO)
    return new SystemError('tun-missing', `This machine has no ${TUN_PATH}`, {
      hint: 'Load the driver (modprobe tun), or start the container with --device /dev/net/tun'
    })
  return new SystemError('tun-failed', `${TUN_PATH} cannot be opened: ${errnoName(errno)}`)
}

function deviceError(errno: number, name: string, problem: string): SystemError | AuthenticationError {
  if (isRefused(errno)) return refused(problem)
  // EINVAL: the device exists and is of another kind (the flags themselves were taken before, or are all that there is).
  if (errno === Errno.EBUSY || errno === Errno.EINVAL)
    return new SystemError('tun-busy', `${problem}: the name is in use`, {
      hint: `Choose another --interface, or end the program that has ${name}`
    })
  return failed(errno, problem)
}

function mtuError(errno: number, problem: string): SystemError | AuthenticationError {
  return isRefused(errno) ? refused(problem) : failed(errno, problem)
}

function isRefused(errno: number): boolean {
  return errno === Errno.EPERM || errno === Errno.EACCES
}

function refused(problem: string): AuthenticationError {
  return new AuthenticationError('tun-permission', `${problem}: a privilege is missing`, {
    hint: PRIVILEGE_HINT
  })
}

function failed(errno: number, problem: string): SystemError {
  return new SystemError('tun-failed', errno === 0 ? problem : `${problem}: ${errnoName(errno)}`)
}
