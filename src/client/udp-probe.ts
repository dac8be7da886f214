/**
 * Does UDP to the NAT traversal port pass? Asked with a whole IKE_SA_INIT that is never continued, so that the session
 * itself is not disturbed (RFC 7296 section 2.23 allows it on port 4500).
 * @module
 */
import type { IkeSession } from '../ike/session.ts'
import type { Logger } from '../log.ts'
import type { Transport } from '../transport/types.ts'
import { type Clock, IkeDriver } from './ike-driver.ts'
import { ikeOnlyHandlers, sessionPath } from './link.ts'

/** @returns true once anything authentic enough to be an IKE answer came back; the transport stays open either way */
export function probeUdp(
  transport: Transport,
  session: IkeSession,
  clock: Clock,
  log: Logger,
  timeoutMs: number
): Promise<boolean> {
  return new Promise((resolve) => {
    const path = sessionPath(transport)
    const finish = (answered: boolean): void => {
      timer.cancel()
      driver.dispose()
      resolve(answered)
    }
    const driver = new IkeDriver(session, clock, log, (event) => {
      if (event.type === 'init-answered') finish(true)
      else if (event.type === 'closed') finish(false)
    })
    const timer = clock.setTimer(timeoutMs, () => finish(false))
    driver.attach(transport)
    transport.setHandlers(
      ikeOnlyHandlers(
        (message, from) => driver.receive(message, from),
        () => finish(false)
      )
    )
    driver.input((probe, now) => probe.connect(now, path))
  })
}
