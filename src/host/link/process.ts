/**
 * The process that carries the packets of one emulated link: a program of its own, so that its timing does not depend on what else
 * its owner does. Its one argument is a {@link LinkProcessPlan} as JSON; orders come as JSON lines on standard input, each answered
 * by one line on standard output. It ends when its standard input does.
 * @module
 */
import { createInterface } from 'node:readline'
import { FineTimer } from '../../native/fine-timer.ts'
import { openTun, type TunDevice } from '../../tun/tun-device.ts'
import { VNET_HEADER_LENGTH } from '../../tun/vnet-header.ts'
import { parseConditions } from './conditions.ts'
import { LinkDirection } from './link-direction.ts'
import { LinkRouter } from './link-router.ts'
import { LinkNat } from './nat.ts'
import type { LinkOrder, LinkProcessPlan } from './types.ts'

/** More than the MTU for what the kernel may add to it. */
const MTU_HEADROOM_BYTES = 64

const plan = JSON.parse(process.argv[2] ?? '') as LinkProcessPlan
const [a, b] = [open(plan.a), open(plan.b)]
const slotBytes = VNET_HEADER_LENGTH + plan.mtu + MTU_HEADROOM_BYTES
const direction = (conditions: unknown, seed: number): LinkDirection =>
  new LinkDirection({
    conditions: parseConditions(conditions),
    seed,
    slotBytes,
    headerBytes: VNET_HEADER_LENGTH
  })
const forward = direction(plan.forward, plan.seed)
const backward = direction(plan.backward, plan.seed + 1)
const nat = plan.nat === undefined ? undefined : new LinkNat(plan.nat)
const router = new LinkRouter({
  a,
  b,
  forward,
  backward,
  nat,
  now: () => performance.now(),
  makeTimer: (callback) => new FineTimer(callback),
  onGone: (reason) => {
    process.stderr.write(`${reason}\n`)
    process.exitCode = 1
  }
})
say({ id: 0, result: { ready: true } })

const input = createInterface({ input: process.stdin })
input.on('line', (line) => void obey(JSON.parse(line) as LinkOrder & { id: number }))
input.on('close', () => {
  router.close()
  a.release()
  b.release()
})

function open(end: LinkProcessPlan['a']): TunDevice {
  return openTun({ name: end.device, netnsPath: end.netnsPath, mtu: plan.mtu, offload: false })
}

async function obey(order: LinkOrder & { id: number }): Promise<void> {
  try {
    say({ id: order.id, result: await carryOut(order) })
  } catch (error) {
    say({ id: order.id, error: error instanceof Error ? error.message : String(error) })
  }
}

async function carryOut(order: LinkOrder): Promise<unknown> {
  switch (order.order) {
    case 'conditions':
      if (order.forward !== undefined) forward.setConditions(parseConditions(order.forward))
      if (order.backward !== undefined) backward.setConditions(parseConditions(order.backward))
      return {}
    case 'down':
      forward.setDown(order.down)
      backward.setDown(order.down)
      return {}
    case 'outage':
      return outage(order.forMs)
    case 'report': {
      const { user, system } = process.cpuUsage()
      const cpuMs = (user + system) / 1000
      const { refused } = router
      const translated = nat === undefined ? {} : { nat: { bindings: nat.bindings, dropped: nat.dropped } }
      return { forward: forward.counters, backward: backward.counters, refused, cpuMs, ...translated }
    }
  }
}

/** @returns when it began and ended, by the clock that all processes of the machine share (CLOCK_MONOTONIC) */
function outage(forMs: number): Promise<{ fromMs: number; toMs: number }> {
  return new Promise((resolve) => {
    const fromMs = sharedClockMs()
    const timer = new FineTimer(() => {
      timer.close()
      for (const way of [forward, backward]) way.setDown(false)
      resolve({ fromMs, toMs: sharedClockMs() })
    })
    for (const way of [forward, backward]) way.setDown(true)
    timer.arm(forMs)
  })
}

function sharedClockMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
