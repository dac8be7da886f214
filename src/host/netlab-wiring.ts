/**
 * The parts of a lab network: a router, a host on a cable to it, and the wall that refused packets run into.
 * @module
 */
import { type LinkOptions, openLink } from './link/lab-link.ts'
import type { LabLink } from './link/types.ts'
import type { LabNamespace, NetLab } from './netlab.ts'

/** A host's end of its cable to the router. */
export interface LabHost {
  readonly namespace: LabNamespace
  readonly device: string
  readonly address: string
  /** Null when the kernel has no IPv6. */
  readonly address6: string | null
  /** Its default gateway: the router's end of the cable. */
  readonly router: string
  readonly router6: string | null
  readonly routerDevice: string
  /** Where the cable is an emulated link. */
  readonly link: LabLink | null
}

export async function makeRouter(lab: NetLab, ipv6: boolean): Promise<LabNamespace> {
  const middle = await lab.addNamespace('middle')
  const forwarding = ['net.ipv4.ip_forward', ...(ipv6 ? ['net.ipv6.conf.all.forwarding'] : [])]
  await middle.sysctl(forwarding, 1)
  await quickAnswers(middle, ipv6)
  return middle
}

/** Rate limits on ICMP would make a second refusal look like a loss; reverse path filters would eat the wall's answers. */
async function quickAnswers(namespace: LabNamespace, ipv6: boolean): Promise<void> {
  const names = ['icmp_ratelimit', 'conf.all.rp_filter', 'conf.default.rp_filter'].map(
    (name) => `net.ipv4.${name}`
  )
  await namespace.sysctl(ipv6 ? [...names, 'net.ipv6.icmp.ratelimit'] : names, 0)
}

/** A namespace to which every address in the world is local, reached through table 100 of the router. */
export async function makeWall(lab: NetLab, middle: LabNamespace, ipv6: boolean): Promise<LabNamespace> {
  const wall = await lab.addNamespace('wall')
  await quickAnswers(wall, ipv6)
  const [, device] = await lab.connect(wall, middle, { a: 'wall', b: 'wall' })
  await addAddresses(wall, 'wall', '169.254.255.2/30', ipv6 ? 'fd00:aa::2/64' : null)
  await addAddresses(middle, device, '169.254.255.1/30', ipv6 ? 'fd00:aa::1/64' : null)
  const families = ipv6
    ? [
        ['-4', '169.254.255.1', '169.254.255.2', '0.0.0.0/0'],
        ['-6', 'fd00:aa::1', 'fd00:aa::2', '::/0']
      ]
    : [['-4', '169.254.255.1', '169.254.255.2', '0.0.0.0/0']]
  for (const [family = '', router = '', own = '', all = ''] of families) {
    const input = [
      // What the wall itself sends is looked up before "everything is local", or it would answer itself.
      'rule add pref 1 iif lo lookup main',
      'rule add pref 2 lookup local',
      'rule del pref 0',
      `route add default via ${router} dev wall`,
      `route add local ${all} dev lo table local`
    ]
    await wall.run(['ip', family, '-batch', '-'], { input: `${input.join('\n')}\n` })
    await middle.run(['ip', family, 'route', 'add', 'default', 'via', own, 'dev', device, 'table', '100'])
  }
  return wall
}

export async function attach(
  lab: NetLab,
  middle: LabNamespace,
  namespace: LabNamespace,
  side: 'inside' | 'outside',
  index: number,
  ipv6: boolean,
  link?: LinkOptions
): Promise<LabHost> {
  const routerDevice = `${side === 'inside' ? 'in' : 'out'}${index}`
  const device = await freeDevice(namespace)
  const net = side === 'inside' ? `10.66.${index}` : `198.18.${index}`
  const net6 = `2001:db8:${side === 'inside' ? '66' : '18'}:${index}::`
  const [address, router] = side === 'inside' ? [`${net}.2`, `${net}.1`] : [`${net}.1`, `${net}.254`]
  const [address6, router6] = side === 'inside' ? [`${net6}2`, `${net6}1`] : [`${net6}1`, `${net6}fe`]
  const v6 = (text: string): string | null => (ipv6 ? `${text}/64` : null)
  let emulated: LabLink | null = null
  if (link === undefined) {
    await lab.connect(namespace, middle, { a: device, b: routerDevice })
    await addAddresses(namespace, device, `${address}/24`, v6(address6))
    await addAddresses(middle, routerDevice, `${router}/24`, v6(router6))
  } else {
    const end = (v4: string, other: string | null): string[] => [
      `${v4}/24`,
      ...(other === null ? [] : [other])
    ]
    emulated = await openLink(
      lab,
      { namespace, device, addresses: end(address, v6(address6)) },
      { namespace: middle, device: routerDevice, addresses: end(router, v6(router6)) },
      link
    )
  }
  const metric = ['metric', String(100 + index)]
  await namespace.run(['ip', 'route', 'add', 'default', 'via', router, 'dev', device, ...metric])
  if (ipv6)
    await namespace.run(['ip', '-6', 'route', 'add', 'default', 'via', router6, 'dev', device, ...metric])
  return {
    namespace,
    device,
    address,
    address6: ipv6 ? address6 : null,
    router,
    router6: ipv6 ? router6 : null,
    routerDevice,
    link: emulated
  }
}

async function freeDevice(namespace: LabNamespace): Promise<string> {
  const { stdout } = await namespace.run(['ip', '-o', 'link', 'show'])
  let number = 0
  while (stdout.includes(` wan${number}@`) || stdout.includes(` wan${number}:`)) number++
  return `wan${number}`
}

async function addAddresses(
  namespace: LabNamespace,
  device: string,
  v4: string,
  v6: string | null
): Promise<void> {
  await namespace.run(['ip', 'addr', 'add', v4, 'dev', device])
  if (v6 !== null) await namespace.run(['ip', '-6', 'addr', 'add', v6, 'dev', device, 'nodad'])
}

export async function changeRouteMtu(middle: LabNamespace, host: LabHost, mtu: number | null): Promise<void> {
  const metrics = mtu === null ? [] : ['mtu', String(mtu)]
  const net = `${host.address.slice(0, host.address.lastIndexOf('.'))}.0/24`
  const source = ['proto', 'kernel', 'scope', 'link', 'src', host.router]
  await middle.run(['ip', 'route', 'replace', net, 'dev', host.routerDevice, ...source, ...metrics])
  if (host.address6 === null) return
  const net6 = `${host.address6.slice(0, host.address6.lastIndexOf(':'))}:/64`
  await middle.run([
    'ip',
    '-6',
    'route',
    'replace',
    net6,
    'dev',
    host.routerDevice,
    'proto',
    'kernel',
    'metric',
    '256',
    ...metrics
  ])
}
