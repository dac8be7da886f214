/** The network lab itself: that each fault looks to a client as its table says. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type HotelNetwork, hotelNetwork, type RunningProgram, startProgram } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'

/** Echoes UDP and TCP on port 4500 of every address. */
const SERVER = `
import dgram from 'node:dgram'; import net from 'node:net'
let ready = 0
const up = () => { if (++ready === 4) console.log('ready') }
for (const type of ['udp4', 'udp6']) {
  const socket = dgram.createSocket({ type, ipv6Only: type === 'udp6' })
  socket.on('message', (bytes, from) => socket.send(bytes, from.port, from.address))
  socket.bind(4500, up)
}
for (const host of ['0.0.0.0', '::'])
  net.createServer((s) => { s.on('error', () => {}); s.pipe(s) }).listen({ port: 4500, host, ipv6Only: host === '::' }, up)
`
/** Asks port 4500 of an address over UDP or TCP, and prints what came of it within a while. */
const CLIENT = `
import dgram from 'node:dgram'; import net from 'node:net'
const [protocol, address, size] = process.argv.slice(1)
const end = (word) => { console.log(word); process.exit(0) }
setTimeout(() => end('silence'), 1500)
if (protocol === 'tcp') {
  const socket = net.connect(4500, address, () => end('answer'))
  socket.on('error', (error) => end(error.code))
} else {
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4')
  const send = () => socket.send(Buffer.alloc(Number(size ?? 1)), (error) => error && end(error.code))
  socket.on('message', () => end('answer'))
  socket.on('error', (error) => end(error.code))
  socket.connect(4500, address, () => { send(); setTimeout(send, 200) })
}
`
/** Keeps a connection busy until it fails, and prints how. */
const TALKER = `
import net from 'node:net'
const socket = net.connect(4500, process.argv[1], () => console.log('connected'))
socket.on('error', (error) => { console.log(error.code); process.exit(0) })
setInterval(() => socket.write('x'), 20)
`
const node = (program: string, ...args: string[]): string[] => [
  process.execPath,
  '--input-type=module',
  '-e',
  program,
  '--',
  ...args
]

describeWith('namespaces')('a hotel network', () => {
  let network: HotelNetwork
  let server: RunningProgram

  beforeAll(async () => {
    network = await hotelNetwork()
    server = startProgram(network.gateway.namespace, node(SERVER))
    await server.printed(/ready/)
  })
  afterAll(() => network?.close())

  async function ask(protocol: 'udp' | 'tcp', family: 4 | 6 = 4, size = 1): Promise<string> {
    const address = family === 4 ? network.gateway.address : network.gateway.address6
    if (address === null) throw new Error('no IPv6')
    const { stdout } = await network.client.namespace.run(node(CLIENT, protocol, address, String(size)))
    return stdout.trim()
  }

  it('lets UDP and TCP through, IPv4 and IPv6, before any fault and after restore()', async () => {
    for (const family of [4, 6] as const) {
      expect([family, await ask('udp', family), await ask('tcp', family)]).toEqual([
        family,
        'answer',
        'answer'
      ])
    }
    await network.cut()
    expect(await Promise.all([ask('udp'), ask('tcp'), ask('udp', 6), ask('tcp', 6)])).toEqual(
      Array(4).fill('silence')
    )
    await network.restore()
    expect(await Promise.all([ask('udp'), ask('tcp'), ask('udp', 6), ask('tcp', 6)])).toEqual(
      Array(4).fill('answer')
    )
  })

  it('swallows UDP while TCP passes', async () => {
    await network.setFaults([{ protocol: 'udp', action: 'drop' }])
    expect(await Promise.all([ask('udp'), ask('tcp'), ask('udp', 6), ask('tcp', 6)])).toEqual([
      'silence',
      'answer',
      'silence',
      'answer'
    ])
  })

  it('refuses: port unreachable for UDP, RST for TCP, in both families', async () => {
    await network.setFaults([
      { protocol: 'udp', action: 'refuse' },
      { protocol: 'tcp', ports: [4500], action: 'refuse' }
    ])
    expect(await Promise.all([ask('udp'), ask('tcp'), ask('udp', 6), ask('tcp', 6)])).toEqual(
      Array(4).fill('ECONNREFUSED')
    )
  })

  it('limits a fault to its ports', async () => {
    await network.setFaults([{ protocol: 'udp', ports: [500], action: 'drop' }])
    expect(await ask('udp')).toBe('answer')
    await network.setFaults([{ protocol: 'udp', ports: [500, 4500], action: 'drop' }])
    expect(await ask('udp')).toBe('silence')
  })

  it('prohibits, and reports the network as unreachable', async () => {
    await network.setFaults([{ protocol: 'all', action: 'prohibit' }])
    expect(await Promise.all([ask('udp'), ask('tcp')])).toEqual(['EHOSTUNREACH', 'EHOSTUNREACH'])
    await network.setFaults([{ protocol: 'all', action: 'unreachable' }])
    expect(await ask('tcp')).toBe('ENETUNREACH')
  })

  it('answers TCP in the name of any address when something listens in the wall', async () => {
    const portal = startProgram(network.wall, node(SERVER))
    await portal.printed(/ready/)
    await server.stop()
    await network.setFaults([{ protocol: 'all', action: 'refuse' }])
    expect(await Promise.all([ask('tcp'), ask('tcp', 6)])).toEqual(['answer', 'answer'])
    await portal.stop()
    server = startProgram(network.gateway.namespace, node(SERVER))
    await server.printed(/ready/)
    await network.restore()
  })

  it('forwards only packets up to the MTU, and can be silent about it', async () => {
    await network.setMtu(1200, { silent: true })
    expect(await ask('udp', 4, 1100)).toBe('answer')
    expect(await ask('udp', 4, 1300)).toBe('silence')
    expect(await ask('udp', 6, 1300)).toBe('silence')
    await network.setMtu(1200)
    expect(await ask('udp', 4, 1300)).toBe('EMSGSIZE')
    await network.restore()
    expect(await ask('udp', 4, 1300)).toBe('answer')
  })

  it('resets a connection that was open when the fault came', async () => {
    const talker = startProgram(network.client.namespace, node(TALKER, network.gateway.address))
    await talker.printed(/connected/)
    await network.setFaults([{ protocol: 'tcp', ports: [4500], action: 'refuse' }])
    expect(await talker.printed(/^ECONN.*$/m)).toContain('ECONNRESET')
    await network.restore()
  })

  it('unplugs and plugs a cable', async () => {
    await network.setLink(network.gateway, false)
    expect(await ask('udp')).not.toBe('answer')
    await network.setLink(network.gateway, true)
    expect(await ask('udp')).toBe('answer')
    expect(await ask('udp', 6)).toBe('answer')
  })

  it('keeps its faults for a host that comes later', async () => {
    await network.setFaults([{ protocol: 'udp', action: 'drop' }])
    const other = await network.addHost('inside', 'guest')
    const { stdout } = await other.namespace.run(node(CLIENT, 'udp', network.gateway.address))
    expect(stdout.trim()).toBe('silence')
    await network.restore()
  })
})
