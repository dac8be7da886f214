import type { ChildProcess } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  classifyLine,
  type NetworkChange,
  type NetworkWatch,
  watchNetwork
} from '../../../src/host/network-watch.ts'

const LINES = {
  address:
    '[ADDR]3: wan    inet 10.5.5.5/32 scope global wan\\       valid_lft forever preferred_lft forever',
  deletedAddress:
    '[ADDR]Deleted 3: wan    inet6 2001:db8:66::2/64 scope global nodad \\       valid_lft forever',
  link: '[LINK]3: wan@p: <BROADCAST,MULTICAST> mtu 1500 qdisc noqueue state DOWN group default \\    link/ether ba:28:6a',
  route: '[ROUTE]default via 10.66.0.1 dev wan proto dhcp metric 100 ',
  deletedRoute: '[ROUTE]Deleted default via 2001:db8:66::1 dev wan metric 1024 pref medium',
  local: '[ROUTE]local 10.5.5.5 dev wan table local proto kernel scope host src 10.5.5.5 ',
  linkLocal: '[ROUTE]Deleted fe80::/64 dev wan proto kernel metric 256 pref medium',
  ownRoute: '[ROUTE]0.0.0.0/1 dev ike0 proto static scope link ',
  ownLink: '[LINK]7: ike0: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1400 qdisc fq_codel state UNKNOWN'
}

it('tells routes, addresses and links from noise and from the tunnel’s own', () => {
  const kinds = Object.entries(LINES).map(([name, line]) => [name, classifyLine(line, ['ike0'])])
  expect(Object.fromEntries(kinds)).toEqual({
    address: 'addresses',
    deletedAddress: 'addresses',
    link: 'links',
    route: 'routes',
    deletedRoute: 'routes',
    local: null,
    linkLocal: null,
    ownRoute: null,
    ownLink: null
  })
  expect(classifyLine('nonsense', [])).toBeNull()
})

class FakeMonitor extends EventEmitter {
  readonly stdout = new EventEmitter()
  killed = false
  kill(): boolean {
    this.killed = true
    return true
  }
  unref(): void {}
  say(text: string): void {
    this.stdout.emit('data', Buffer.from(text))
  }
}

describe('watching', () => {
  const monitors: FakeMonitor[] = []
  const heard: NetworkChange[] = []
  let watch: NetworkWatch
  beforeEach(() => {
    vi.useFakeTimers()
    monitors.length = 0
    heard.length = 0
    watch = watchNetwork((change) => heard.push(change), {
      ignoredDevices: ['ike0'],
      quietMs: 400,
      startMonitor: () => {
        const monitor = new FakeMonitor()
        monitors.push(monitor)
        // The fake has what the watch uses of a child process.
        return monitor as unknown as ChildProcess
      }
    })
  })
  afterEach(() => {
    watch.close()
    vi.useRealTimers()
  })

  it('tells the beginning of a burst nearly at once, and the rest together, also when lines come in pieces', () => {
    monitors[0]?.say(`${LINES.link}\n${LINES.address}\n${LINES.route.slice(0, 20)}`)
    vi.advanceTimersByTime(50)
    expect(heard.splice(0)).toEqual([{ routes: false, addresses: true, links: true }])
    monitors[0]?.say(`${LINES.route.slice(20)}\n${LINES.ownRoute}\n`)
    vi.advanceTimersByTime(300)
    monitors[0]?.say(`${LINES.address}\n`)
    vi.advanceTimersByTime(399)
    expect(heard).toEqual([])
    vi.advanceTimersByTime(1)
    expect(heard.splice(0)).toEqual([{ routes: true, addresses: true, links: false }])
    vi.advanceTimersByTime(10_000)
    expect(heard).toEqual([])
  })

  it('says nothing more when the beginning was all', () => {
    monitors[0]?.say(`${LINES.link}\n`)
    vi.advanceTimersByTime(10_000)
    expect(heard).toEqual([{ routes: false, addresses: false, links: true }])
  })

  it('does not wait for ever for quiet', () => {
    for (let i = 0; i < 20; i++) {
      monitors[0]?.say(`${LINES.address}\n`)
      vi.advanceTimersByTime(300)
    }
    expect(heard.length).toBe(2)
  })

  it('starts a monitor that died again, takes the gap for a change, and gives up in the end', () => {
    for (let i = 0; i < 10; i++) {
      monitors.at(-1)?.emit('exit', 1, null)
      vi.advanceTimersByTime(5_000)
    }
    expect(monitors).toHaveLength(6)
    expect(heard).toHaveLength(5)
  })

  it('has another monitor after a change of itself, and takes the gap for a change', () => {
    let killedBefore = false
    watch.restart(() => {
      killedBefore = monitors[0]?.killed === true && monitors.length === 1
    })
    expect(killedBefore).toBe(true)
    monitors[0]?.emit('exit', null, 'SIGTERM')
    vi.advanceTimersByTime(10_000)
    expect(monitors).toHaveLength(2)
    expect(heard).toEqual([{ routes: true, addresses: false, links: false }])
  })

  it('is silent after it was closed', () => {
    monitors[0]?.say(`${LINES.route}\n`)
    watch.close()
    vi.advanceTimersByTime(10_000)
    expect(heard).toEqual([])
    expect(monitors[0]?.killed).toBe(true)
    monitors[0]?.emit('exit', 0, null)
    vi.advanceTimersByTime(10_000)
    expect(monitors).toHaveLength(1)
  })
})
