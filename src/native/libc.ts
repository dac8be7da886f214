/**
 * The C library, called through koffi: system calls that Node has no words for. Bindings only, no policy.
 *
 * Nothing is loaded when this module is imported; the first call of `libc()` loads koffi and the library, and throws
 * `NativeUnavailableError` where that is not possible. Memory is passed as plain numbers (see `addressOf`): such a
 * call allocates nothing. The caller keeps the memory alive for as long as the kernel may use it.
 * @module
 */
import { createRequire } from 'node:module'
import { errnoName } from './libc-constants.ts'

/** koffi or a library that it should load is not to be had on this machine. */
export class NativeUnavailableError extends Error {
  readonly code = 'native-unavailable'
  readonly hint =
    'Use Node 20 or newer on Linux (x64 or arm64), and install with optional dependencies (koffi has a prebuilt library)'

  constructor(what: string, cause: unknown) {
    super(`${what} cannot be loaded`, { cause })
    this.name = 'NativeUnavailableError'
  }
}

/** A system call failed where the caller chose an exception. */
export class SystemCallError extends Error {
  readonly syscall: string
  readonly errno: number
  /** The errno's name, such as `EPERM`. */
  readonly code: string

  constructor(syscall: string, errno: number) {
    super(`${syscall}: ${errnoName(errno)}`)
    this.name = 'SystemCallError'
    this.syscall = syscall
    this.errno = errno
    this.code = errnoName(errno)
  }
}

// What ikestream uses of koffi, whose own types speak of `any`.
// biome-ignore lint/suspicious/noExplicitAny: a C function has whatever signature its declaration says
export type NativeFunction = (...values: any[]) => any
interface NativeLibrary {
  func(declaration: string): NativeFunction
}
/** A descriptor that libuv waits for in the main loop. */
export interface PollHandle {
  start(events: { readonly readable: boolean }, callback: () => void): void
  stop(): void
}
interface Koffi {
  load(path: string | null): NativeLibrary
  address(value: Uint8Array): bigint
  errno(): number
  readonly node: {
    poll(fd: number, events: { readonly readable: boolean }, callback: () => void): PollHandle
  }
}

let koffiModule: Koffi | undefined

/** @throws NativeUnavailableError */
export function koffi(): Koffi {
  if (koffiModule === undefined) {
    try {
      koffiModule = createRequire(import.meta.url)('koffi') as Koffi
    } catch (cause) {
      throw new NativeUnavailableError('The koffi module', cause)
    }
  }
  return koffiModule
}

/**
 * Every function returns what the C function returns; -1 means that `errno()` says why, and must be asked at once.
 * Parameters named `...Address` are addresses of memory, 0 for NULL; lengths are bytes.
 */
export interface Libc {
  /** errno of the call before. */
  errno(): number
  open(path: string, flags: number): number
  close(fd: number): number
  read(fd: number, address: number, length: number): number
  write(fd: number, address: number, length: number): number
  /** `ioctl` with a pointer or a plain number as its argument. */
  ioctl(fd: number, request: number, argument: number): number
  fcntl(fd: number, command: number, argument: number): number
  socket(family: number, type: number, protocol: number): number
  /** Writes two 32-bit descriptors. */
  socketpair(family: number, type: number, protocol: number, pairAddress: number): number
  bind(fd: number, sockaddrAddress: number, length: number): number
  connect(fd: number, sockaddrAddress: number, length: number): number
  getsockname(fd: number, sockaddrAddress: number, lengthAddress: number): number
  setsockopt(fd: number, level: number, option: number, valueAddress: number, length: number): number
  getsockopt(fd: number, level: number, option: number, valueAddress: number, lengthAddress: number): number
  /** `how` is one of `Shutdown`. */
  shutdown(fd: number, how: number): number
  send(fd: number, address: number, length: number, flags: number): number
  recv(fd: number, address: number, length: number, flags: number): number
  /** See `MessageHeader` for the structure. */
  sendmsg(fd: number, headerAddress: number, flags: number): number
  recvmsg(fd: number, headerAddress: number, flags: number): number
  /** `count` structures mmsghdr: a msghdr, then a 32-bit length, padded to 64 bytes. */
  sendmmsg(fd: number, headersAddress: number, count: number, flags: number): number
  epollCreate1(flags: number): number
  epollCtl(epollFd: number, operation: number, fd: number, eventAddress: number): number
  epollWait(epollFd: number, eventsAddress: number, maxEvents: number, timeoutMs: number): number
  eventfd(initial: number, flags: number): number
  timerfdCreate(clock: number, flags: number): number
  /** `struct itimerspec`: two times of 64-bit seconds and nanoseconds, interval and first expiry; 0 stops the timer. */
  timerfdSettime(fd: number, flags: number, newAddress: number, oldAddress: number): number
  /** Moves the calling thread, that is the main thread, into a namespace. */
  setns(fd: number, kind: number): number
  unshare(flags: number): number
  /** The process leaves its terminal; fails for the leader of a process group. */
  setsid(): number
  memmove(toAddress: number, fromAddress: number, length: number): void
  /** Writes a `struct timespec`. */
  clockGettime(clock: number, timespecAddress: number): number
  /** 0: no such interface. */
  ifNameToIndex(name: string): number
  /** Ends the process at once, without waiting for any of its threads. */
  exitNow(status: number): void
}

let loaded: Libc | undefined

/** The C library of this process. @throws NativeUnavailableError */
export function libc(): Libc {
  loaded ??= bind(loadLibrary())
  return loaded
}

function loadLibrary(): NativeLibrary {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64'))
    throw new NativeUnavailableError(`The C library of ${process.platform} on ${process.arch}`, undefined)
  const loader = koffi()
  try {
    return loader.load('libc.so.6')
  } catch {
    // Not glibc: the symbols of the process itself include those of the C library that it was linked with.
    try {
      return loader.load(null)
    } catch (cause) {
      throw new NativeUnavailableError('The C library', cause)
    }
  }
}

function bind(library: NativeLibrary): Libc {
  const declare = (declaration: string): NativeFunction => {
    try {
      return library.func(declaration)
    } catch (cause) {
      throw new NativeUnavailableError(`The C function "${declaration}"`, cause)
    }
  }
  return {
    errno: koffi().errno,
    open: declare('int open(const char *, int)'),
    close: declare('int close(int)'),
    read: declare('int64_t read(int, size_t, size_t)'),
    write: declare('int64_t write(int, size_t, size_t)'),
    // Variadic in C; on both architectures of Linux a third integer argument is passed the same way.
    ioctl: declare('int ioctl(int, unsigned long, size_t)'),
    fcntl: declare('int fcntl(int, int, size_t)'),
    socket: declare('int socket(int, int, int)'),
    socketpair: declare('int socketpair(int, int, int, size_t)'),
    bind: declare('int bind(int, size_t, uint32_t)'),
    connect: declare('int connect(int, size_t, uint32_t)'),
    getsockname: declare('int getsockname(int, size_t, size_t)'),
    setsockopt: declare('int setsockopt(int, int, int, size_t, uint32_t)'),
    getsockopt: declare('int getsockopt(int, int, int, size_t, size_t)'),
    shutdown: declare('int shutdown(int, int)'),
    send: declare('int64_t send(int, size_t, size_t, int)'),
    recv: declare('int64_t recv(int, size_t, size_t, int)'),
    sendmsg: declare('int64_t sendmsg(int, size_t, int)'),
    recvmsg: declare('int64_t recvmsg(int, size_t, int)'),
    sendmmsg: declare('int sendmmsg(int, size_t, unsigned int, int)'),
    epollCreate1: declare('int epoll_create1(int)'),
    epollCtl: declare('int epoll_ctl(int, int, int, size_t)'),
    epollWait: declare('int epoll_wait(int, size_t, int, int)'),
    eventfd: declare('int eventfd(unsigned int, int)'),
    timerfdCreate: declare('int timerfd_create(int, int)'),
    timerfdSettime: declare('int timerfd_settime(int, int, size_t, size_t)'),
    setns: declare('int setns(int, int)'),
    unshare: declare('int unshare(int)'),
    setsid: declare('int setsid(void)'),
    memmove: declare('void memmove(size_t, size_t, size_t)'),
    clockGettime: declare('int clock_gettime(int, size_t)'),
    ifNameToIndex: declare('unsigned int if_nametoindex(const char *)'),
    exitNow: declare('void _exit(int)')
  }
}

/** @returns `result`, unless it is negative. @throws SystemCallError */
export function checked(syscall: string, result: number): number {
  if (result < 0) throw new SystemCallError(syscall, libc().errno())
  return result
}
