/**
 * Tells a service manager how a session or a server goes: when it is up, a line for people, when it ends, and that it is alive as
 * long as it really is. Does nothing where nobody has asked (systemd: `Type=notify`, `WatchdogSec=`).
 *
 * Alive means three things: the main loop turns, the poller answers, and the session's own loop is not stuck.
 * A gateway that cannot be reached is no reason to be started anew.
 * @module
 */
import type { ClientEvent } from '../client/events.ts'
import { ServiceManager } from '../host/service-manager.ts'
import type { Logger } from '../log.ts'
import { pollerRoundTrip } from '../native/poller.ts'
import { TRANSPORT_NAMES } from './progress-report.ts'

/**
 * Whatever a session does about an incident, there is news of it sooner: pauses between attempts are 30 s at most, and an
 * attempt reports each of its steps.
 */
const STUCK_AFTER_MS = 120_000

const RELOAD_POLL_MS = 250

/** What says that somebody's own loop is not stuck. */
export interface Vitality {
  /** How long it has been at the thing that it is doing; 0 while it waits. */
  readonly busyForMs: number
}

export class ServiceReport {
  readonly #manager: ServiceManager | undefined
  readonly #now: () => number
  #lastNewsAt: number
  #vitality: Vitality | undefined
  /** What there is to say while it is up. */
  #up = ''
  #reloading: NodeJS.Timeout | undefined
  #stopping = false
  #heartbeat: NodeJS.Timeout | undefined

  constructor(manager: ServiceManager | undefined, now: () => number = () => performance.now()) {
    this.#manager = manager
    this.#now = now
    this.#lastNewsAt = now()
  }

  static forThisProcess(log: Logger): ServiceReport {
    return new ServiceReport(ServiceManager.fromEnvironment(process.env, log.child('service')))
  }

  /** @param vitality of a session; a server has no loop of its own */
  watch(vitality?: Vitality): void {
    this.#vitality = vitality
    const { watchdogMs } = this.#manager ?? {}
    if (watchdogMs === undefined) return
    // Twice in the time that the manager gives (sd_watchdog_enabled(3)).
    this.#heartbeat = setInterval(() => void this.#beat(), watchdogMs / 2)
    this.#heartbeat.unref()
  }

  ready(status: string): void {
    this.#up = status
    this.#manager?.tell({ ready: true, status })
  }

  /** Somebody asked for another way to the gateway: a reload, which is over when the session is at rest again. */
  reloading(): void {
    if (this.#manager === undefined || this.#stopping || this.#reloading !== undefined) return
    this.#manager.tell({ reloading: true })
    this.#reloading = setInterval(() => {
      if ((this.#vitality?.busyForMs ?? 0) > 0) return
      this.#endReload()
      if (!this.#stopping) this.ready(this.#up)
    }, RELOAD_POLL_MS)
    this.#reloading.unref()
  }

  stopping(): void {
    if (this.#stopping) return
    this.#stopping = true
    this.#manager?.tell({ stopping: true, status: 'Disconnecting' })
  }

  show(event: ClientEvent): void {
    this.#lastNewsAt = this.#now()
    switch (event.event) {
      case 'rung':
        if (event.outcome !== 'trying') return
        this.#say(`Trying ${TRANSPORT_NAMES[event.transport]} to ${event.address}`)
        return
      case 'connected': {
        const { transport, gatewayId, gateway, virtualIps } = event
        const own = virtualIps.length === 0 ? '' : ` as ${virtualIps.join(', ')}`
        this.ready(`Connected over ${TRANSPORT_NAMES[transport]} to ${gatewayId} (${gateway})${own}`)
        return
      }
      case 'path-changed':
        this.#up = `Connected over ${TRANSPORT_NAMES[event.to]} (${event.reason})`
        this.#say(this.#up)
        return
      case 'reconnecting':
        this.#say(`Reconnecting: ${event.reason}`)
        return
      case 'disconnected':
        this.stopping()
        return
      default:
    }
  }

  stop(): void {
    clearInterval(this.#heartbeat)
    this.#endReload()
  }

  #endReload(): void {
    clearInterval(this.#reloading)
    this.#reloading = undefined
  }

  #say(status: string): void {
    if (!this.#stopping) this.#manager?.tell({ status })
  }

  async #beat(): Promise<void> {
    const busyForMs = Math.min(this.#vitality?.busyForMs ?? 0, this.#now() - this.#lastNewsAt)
    if (busyForMs > STUCK_AFTER_MS) return
    await pollerRoundTrip()
    this.#manager?.tell({ watchdog: true })
  }
}
