/**
 * What must hold between two ends when nothing is under way any more.
 * @module
 */
import { arePaired, type End } from './ike-pair.ts'

/** @returns undefined when they agree, else in what they do not */
export function disagreementAtRest(client: End, gateway: End): string | undefined {
  if (client.children.size !== gateway.children.size) {
    return `${client.children.size} Child SAs at the client, ${gateway.children.size} at the gateway`
  }
  for (const child of client.children.values()) {
    const other = gateway.children.get(child.outbound.spi)
    if (other === undefined || !arePaired(child, other)) return 'a Child SA of the client has no other half'
  }
  for (const end of [client, gateway]) {
    const problem = unrestOf(end)
    if (problem !== undefined) return problem
  }
  const [a, b] = [client.session.info(), gateway.session.info()]
  if (a.initiatorSpi !== b.initiatorSpi || a.responderSpi !== b.responderSpi) return 'different IKE SAs'
  if (a.nextRequestId !== b.expectedRequestId || b.nextRequestId !== a.expectedRequestId) {
    return 'the Message IDs differ'
  }
  return undefined
}

/** Liveness checks and rekeyings go on for ever: is this a moment between them? */
export function areAtRest(...ends: readonly End[]): boolean {
  return ends.every((end) => {
    const { tasksActive, tasksQueued, predecessors, childSas } = end.session.info()
    const isQuiet = tasksActive.length + tasksQueued.length + predecessors.length === 0
    return isQuiet && childSas.every(({ state }) => state === 'INSTALLED')
  })
}

function unrestOf(end: End): string | undefined {
  const info = end.session.info()
  if (info.predecessors.length > 0) return 'a replaced IKE SA was left behind'
  if (info.state !== 'ESTABLISHED') return `the IKE SA is ${info.state}`
  if (info.tasksActive.length + info.tasksQueued.length > 0) return `tasks are left: ${info.tasksActive}`
  for (const child of info.childSas) if (child.state !== 'INSTALLED') return `a Child SA is ${child.state}`
  for (const spi of end.sendingOn.values()) if (!end.children.has(spi)) return 'sending on a dead Child SA'
  const alive = new Set([...end.children.values()].map(({ childId }) => childId))
  if (end.sendingOn.size !== alive.size) return 'a Child SA is never sent on'
  return undefined
}
