import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { emptyLab, type LabNamespace, type NetLab, startProgram } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'

const PROGRAM = fileURLToPath(new URL('../support/udp-path-mtu.mjs', import.meta.url))
const OPEN = `
  const { openUdp } = await import(process.argv[1])
  const result = await openUdp({ remoteAddress: process.argv[2] }).then(() => 'opened', (error) => error.code)
  console.log('result', result)
  process.exit()
`

describeWith('namespaces')('UDP in a network of its own', () => {
  let lab: NetLab
  let namespace: LabNamespace
  beforeAll(async () => {
    lab = await emptyLab()
    namespace = await lab.addNamespace('mtu')
  })
  afterAll(() => lab?.close())

  test.each([
    ['IPv4', '127.0.0.1', 28],
    ['IPv6', '::1', 48]
  ])('%s: ESP above the path MTU is dropped and told, IKE is fragmented', async (_, address, overhead) => {
    await namespace.run(['ip', 'link', 'set', 'dev', 'lo', 'up', 'mtu', '1400'])
    const program = startProgram(namespace, [process.execPath, PROGRAM, address])
    const result: unknown = JSON.parse(await program.printed(/\n/))
    const [large, small] = [1400 - overhead, 1280 - overhead]
    expect(result).toEqual({
      before: large,
      fits: { received: [large, large, 100], dropped: 0 },
      tooLong: { received: [100], dropped: 2 },
      after: small,
      fitsNow: { received: [small, small, 100], dropped: 0 },
      ike: 5004,
      stillStrict: { received: [], dropped: 1 },
      told: [small]
    })
    expect(await program.exit).toBe(0)
  })

  test.each([
    ['198.51.100.1', [], 'network-unreachable'],
    ['198.51.100.1', ['unreachable', '198.51.100.0/24'], 'network-unreachable'],
    ['198.51.100.1', ['prohibit', '198.51.100.0/24'], 'permission-denied']
  ])('no way to %s with the route %j is %s', async (address, route, code) => {
    if (route.length > 0) await namespace.run(['ip', 'route', 'replace', ...route])
    const udp = fileURLToPath(new URL('../../dist/transport/udp.js', import.meta.url))
    const argv = [process.execPath, '--input-type=module', '-e', OPEN, udp, address]
    const program = startProgram(namespace, argv)
    expect(await program.printed(/result \S+\n/)).toContain(`result ${code}\n`)
    await program.exit
  })
})
