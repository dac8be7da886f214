/**
 * Does something inside another network namespace. System calls made through koffi run on the main thread, so that
 * moving this thread there and back covers exactly the synchronous calls in between.
 * @module
 */
import { AuthenticationError, InternalError, SystemError } from '../errors.ts'
import { libc } from '../native/libc.ts'
import { CloneFlag, Errno, errnoName, OpenFlag } from '../native/libc-constants.ts'

/** The thread's own, not that of the process: libuv's other threads never move. */
const OWN_NAMESPACE = '/proc/thread-self/ns/net'

/**
 * @param path of the namespace, such as `/run/netns/blue` or `/proc/123/ns/net`; undefined: here
 * @param action synchronous; sockets and devices that it makes belong to that namespace for good
 * @throws SystemError (`netns-missing`, `netns-failed`), AuthenticationError (`netns-permission`), and what `action` throws
 */
export function inNetworkNamespace<T>(path: string | undefined, action: () => T): T {
  if (path === undefined) return action()
  const c = libc()
  const own = c.open(OWN_NAMESPACE, OpenFlag.RDONLY | OpenFlag.CLOEXEC)
  if (own < 0)
    throw new SystemError('netns-failed', `${OWN_NAMESPACE} cannot be opened: ${errnoName(c.errno())}`)
  try {
    enter(path)
    try {
      return action()
    } finally {
      comeBack(own, path)
    }
  } finally {
    c.close(own)
  }
}

function enter(path: string): void {
  const c = libc()
  const target = c.open(path, OpenFlag.RDONLY | OpenFlag.CLOEXEC)
  if (target < 0) throw namespaceError(path, c.errno())
  const result = c.setns(target, CloneFlag.NEWNET)
  const errno = result < 0 ? c.errno() : 0
  c.close(target)
  if (result < 0) throw namespaceError(path, errno)
}

/** Staying in the wrong namespace would send everything that follows into the wrong network. */
function comeBack(own: number, path: string): void {
  const c = libc()
  if (c.setns(own, CloneFlag.NEWNET) < 0)
    throw new InternalError('netns-lost', `The way back from ${path} is closed: ${errnoName(c.errno())}`)
}

function namespaceError(path: string, errno: number): SystemError | AuthenticationError {
  if (errno === Errno.EPERM || errno === Errno.EACCES)
    return new AuthenticationError('netns-permission', `The network namespace ${path} may not be entered`, {
      hint: 'Run as root, or as the owner of the user namespace that the network namespace belongs to'
    })
  const missing = errno === Errno.ENOENT || errno === Errno.EINVAL
  return new SystemError(
    missing ? 'netns-missing' : 'netns-failed',
    missing ? `There is no network namespace ${path}` : `${path} cannot be entered: ${errnoName(errno)}`,
    { hint: 'Make one with: ip netns add <name>' }
  )
}
