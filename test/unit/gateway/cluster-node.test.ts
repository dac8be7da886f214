import { describe, expect, it } from 'vitest'
import { ClusterNode } from '../../../src/gateway/cluster-node.ts'
import { NodePair } from '../../support/node-pair.ts'

/** Left is active, right is a standby that has everything. */
function cluster(...options: ConstructorParameters<typeof NodePair>): NodePair {
  const pair = new NodePair(...options).start().link().run(300)
  pair.say(pair.left, { type: 'begin' })
  pair.say(pair.left, { type: 'complete', serial: 1 })
  return pair.run(300)
}

const roles = ({ left, right }: NodePair) => [left.role, right.role]

describe('two nodes that start', () => {
  it('make the one with the higher priority active, then the one whose name comes later', () => {
    expect(roles(new NodePair().start().link().run(300))).toEqual(['active', 'standby'])
    expect(roles(new NodePair({ priority: 100 }).start().link().run(300))).toEqual(['standby', 'active'])
    expect(roles(new NodePair({ priority: 1 }).start().link().run(300))).toEqual(['standby', 'active'])
  })

  it('tell the standby everything', () => {
    const { left, right } = cluster()
    expect(left.of('copy')).toHaveLength(1)
    expect(right.of('replica').map(({ message }) => message.type)).toEqual(['begin', 'complete'])
    expect(left.of('acknowledged')).toMatchObject([{ serial: 1 }])
    expect([left.node.hasCopy, right.node.hasCopy]).toEqual([false, true])
  })

  it('do not wait for each other for ever, and not at all when the other machine says that nobody is there', () => {
    const patient = new NodePair()
    patient.start(patient.left).run(1_400)
    expect(patient.left.role).toBe('starting')
    expect(patient.run(200).left.role).toBe('active')
    const sure = new NodePair()
    sure.start(sure.left).left.node.peerGone(sure.now)
    expect(sure.left.role).toBe('active')
  })

  it('leave things as they are when the preferred one comes late', () => {
    const pair = new NodePair()
    pair.start(pair.right).right.node.peerGone(pair.now)
    pair.start(pair.left).link().run(300)
    expect(roles(pair)).toEqual(['standby', 'active'])
  })
})

describe('a standby', () => {
  it('becomes active after the dead time, not sooner', () => {
    const pair = cluster()
    const { left, right } = pair
    pair.kill(left).run(380)
    expect(right.role).toBe('standby')
    pair.run(150)
    expect(right.role).toBe('active')
    expect(right.reasons).toEqual(['activate peer-dead'])
    expect(right.node.term).toBe(2)
  })

  it('becomes active when an active node says nothing on a link that stands', () => {
    const pair = cluster()
    pair.left.isAsleep = true
    pair.run(380)
    expect(pair.right.role).toBe('standby')
    pair.run(150)
    expect(pair.right.role).toBe('active')
  })

  it('becomes active at once when the machine of the other one says that its program is gone', () => {
    const pair = cluster()
    pair.kill(pair.left).right.node.peerGone(pair.now)
    expect(pair.right.role).toBe('active')
    pair.run(10)
    expect(pair.right.reasons).toEqual(['activate peer-gone'])
  })

  it('does not, when the link is back in time', () => {
    const pair = cluster().cut().run(300).link().run(1_000)
    expect(roles(pair)).toEqual(['active', 'standby'])
    expect(pair.right.reasons).toEqual([])
    expect(pair.left.of('copy')).toHaveLength(2)
  })

  it('takes over from a node that was started anew so fast that it was not missed', () => {
    const pair = cluster()
    pair.kill(pair.left).run(50).restart(pair.left).link().run(100)
    expect(roles(pair)).toEqual(['standby', 'active'])
    expect(pair.right.reasons).toEqual(['activate peer-restarted'])
    expect(pair.right.of('copy')).toHaveLength(1)
  })

  it('that has slept reads first what was said in the meantime', () => {
    const pair = cluster()
    pair.right.isAsleep = true
    pair.run(450)
    pair.right.isAsleep = false
    // Its timers are due first, then comes what waited.
    pair.run(1_000)
    expect(roles(pair)).toEqual(['active', 'standby'])
    pair.right.isAsleep = true
    pair.run(3_000)
    pair.right.isAsleep = false
    pair.right.node.timeout(pair.now)
    pair.right.node.linkDown(pair.now)
    pair.link().run(1_000)
    expect(roles(pair)).toEqual(['active', 'standby'])
  })
})

describe('the end of an active node', () => {
  it('hands over when a standby has everything: last news first, nothing afterwards', () => {
    const pair = cluster()
    const before = pair.left.outputs.length
    pair.left.node.stop(pair.now)
    pair.run(20)
    const types = pair.left.outputs
      .slice(before)
      .map((one) => (one.type === 'send' ? one.message.type : one.type))
    expect(types).toEqual(['flush', 'deactivate', 'handover', 'stopped'])
    expect(pair.left.of('stopped')).toMatchObject([{ handedOver: true }])
    expect(pair.right.reasons).toEqual(['activate handover'])
  })

  it('is a goodbye when nobody could go on', () => {
    const alone = new NodePair()
    alone.start(alone.left).left.node.peerGone(alone.now)
    alone.left.node.stop(alone.now)
    alone.run(10)
    expect(alone.left.of('stopped')).toMatchObject([{ handedOver: false }])
    const early = new NodePair().start().link().run(300)
    early.left.node.stop(early.now)
    early.run(10)
    expect(early.left.of('stopped')).toMatchObject([{ handedOver: false }])
  })

  it('concerns nobody when it was a standby', () => {
    const pair = cluster()
    pair.right.node.stop(pair.now)
    pair.run(20).kill(pair.right).run(2_000)
    expect(pair.left.role).toBe('active')
    expect(pair.right.of('stopped')).toMatchObject([{ handedOver: false }])
  })
})

describe('two active nodes that find each other', () => {
  it('leave it to the one that took over last', () => {
    const pair = cluster().cut().run(1_000)
    expect(roles(pair)).toEqual(['active', 'active'])
    pair.link().run(300)
    expect(roles(pair)).toEqual(['standby', 'active'])
    expect(pair.left.reasons.at(-1)).toBe('deactivate split-brain')
    expect(pair.right.of('copy')).toHaveLength(1)
  })

  it('leave it to the preferred one when both started alone', () => {
    const pair = new NodePair().start().run(2_000)
    expect(roles(pair)).toEqual(['active', 'active'])
    expect(roles(pair.link().run(300))).toEqual(['active', 'standby'])
  })

  it('are never two after a node woke up to whom everything happened while it slept', () => {
    const pair = cluster()
    pair.left.isAsleep = true
    pair.run(2_000)
    pair.left.isAsleep = false
    pair.link().run(600)
    expect(roles(pair)).toEqual(['standby', 'active'])
  })
})

describe('a preferred node', () => {
  it('that is to preempt takes over again, once it has everything and all is quiet', () => {
    const pair = new NodePair({ preempt: true })
    pair.start(pair.right).right.node.peerGone(pair.now)
    pair.start(pair.left).link().run(300)
    pair.say(pair.right, { type: 'begin' }).say(pair.right, { type: 'complete', serial: 1 }).run(4_900)
    expect(roles(pair)).toEqual(['standby', 'active'])
    pair.run(600)
    expect(roles(pair)).toEqual(['active', 'standby'])
    expect(pair.right.reasons.at(-1)).toBe('deactivate preempted')
    expect(pair.left.reasons).toEqual(['activate handover'])
  })
})

describe('where somebody else assigns the address', () => {
  it('a node is active exactly while it holds it', () => {
    const pair = new NodePair({ takeover: 'external' }, { takeover: 'external' }).start().link().run(5_000)
    expect(roles(pair)).toEqual(['starting', 'starting'])
    for (const [one, isHeld] of [
      [pair.left, true],
      [pair.right, false]
    ] as const)
      one.node.addressHeld(pair.now, isHeld)
    pair.run(300)
    expect(roles(pair)).toEqual(['active', 'standby'])
    expect(pair.left.of('copy').length).toBeGreaterThan(0)
    pair.cut().run(3_000)
    expect(roles(pair)).toEqual(['active', 'standby'])
    pair.left.node.addressHeld(pair.now, false)
    pair.right.node.addressHeld(pair.now, true)
    pair.run(50)
    expect(roles(pair)).toEqual(['standby', 'active'])
    expect(pair.left.reasons).toEqual(['activate address', 'deactivate address'])
  })
})

describe('what is wrong with the other node', () => {
  it('is said: the same name, other settings', () => {
    const pair = new NodePair({}, { name: 'left' })
    pair.right.node = new ClusterNode(pair.right.options, Uint8Array.of(2))
    pair.start().link().run(100)
    const said = pair.left.of('log').map(({ level, message }) => `${level}: ${message}`)
    expect(said).toEqual([
      'error: the other node has the same name: give each its own',
      'warn: the other node has other settings: sessions may not survive a takeover'
    ])
  })
})
