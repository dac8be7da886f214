/**
 * Gateways that answer with nothing, with rubbish, or only so far: one sentence, the right exit code, and a host that looks as
 * before. All of them wait, so they do it side by side.
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { expectOneError } from '../support/expect-error.ts'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, GATEWAY_NAME, IkestreamSite } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'

/** Message IDs of an EAP-MSCHAPv2 session (RFC 7296 section 2.16): IKE_SA_INIT, then five times IKE_AUTH. */
const LAST_ANSWERS = [0, 1, 2, 3, 4]
const TRANSPORTS = ['udp', 'tcp', 'tls'] as const
const PATIENCE = ['--timeout', '6']

/** As everybody else writes it (RFC 5952). */
const canonical = (address: string): string =>
  address.includes(':') ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address

describeWith('namespaces', 'tun')('a gateway that does not answer as it should', () => {
  let site: IkestreamSite
  let before: string
  const clients = new Map<string, IkestreamProcess>()

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startGateway()
    // What goes to the gateway itself is lost; middleboxes on the router lead to it.
    await site.hotel.cut()
    before = await site.clientState()
    const asUser = await site.asUser()
    /** One begins after the other: all at once would take the processor from every other test. */
    const start = async (name: string, server: string, args: readonly string[]): Promise<void> => {
      const names = ['--interface', `ike${clients.size}`]
      const state = `state-${clients.size}`
      const started = site.connect(server, [...BRISK, ...names, ...asUser, ...args], { state })
      clients.set(name, started)
      await started.event('rung')
    }
    await start('lost', GATEWAY_NAME, [])
    await start('rubbish', (await site.startMiddlebox({ noise: 'plain' })).address, [])
    const inside = await site.startMiddlebox({ noise: 'inside' })
    await start('rubbish in TLS', inside.address, ['--transport', 'tls'])
    await start('silent', (await site.startMiddlebox({ lastAnswer: -1 })).address, [])
    for (const lastAnswer of LAST_ANSWERS) {
      const box = await site.startMiddlebox({ lastAnswer })
      for (const transport of TRANSPORTS)
        await start(`${transport} ${lastAnswer}`, box.address, ['--transport', transport, ...PATIENCE])
    }
    const half = await site.startMiddlebox({ lastAnswer: 0 })
    await start('half', half.address, PATIENCE)
  })
  afterAll(() => site?.close())

  function client(name: string): IkestreamProcess {
    const found = clients.get(name)
    if (found === undefined) throw new Error(`no client ${name}`)
    return found
  }

  it('is given up where every packet is lost, with each address and transport named', async () => {
    const lost = client('lost')
    const error = await expectOneError(lost, 69, 'gateway-unreachable', /UDP to .*TCP to .*TLS to /)
    const { address, address6 } = site.hotel.gateway
    for (const tried of [address, canonical(address6 ?? address)])
      for (const name of ['UDP', 'TCP', 'TLS']) expect(error['message']).toContain(`${name} to ${tried}`)
    const failed = lost.all('rung').filter(({ outcome }) => outcome === 'failed')
    expect(new Set(failed.map(({ reason }) => reason))).toEqual(new Set(['timeout']))
  })

  it('is given up where only rubbish comes back', async () => {
    const rubbish = client('rubbish')
    await expectOneError(rubbish, 69, 'gateway-unreachable', /UDP: .*TCP: |TCP: .*UDP: /)
    expect(rubbish.rungs).toEqual(
      expect.arrayContaining(['udp failed timeout', 'tcp failed closed-by-peer', 'tls failed tls-error'])
    )
  })

  it('is given up where only rubbish comes back inside TLS', async () => {
    const rubbish = client('rubbish in TLS')
    await expectOneError(rubbish, 69, 'gateway-unreachable', /TLS: /)
    expect(rubbish.rungs).toEqual(['tls trying', 'tls failed closed-by-peer'])
  })

  it('is given up where connections open and nobody speaks IKE', async () => {
    const silent = client('silent')
    await expectOneError(silent, 69, 'gateway-unreachable', /UDP: .*TCP: .*TLS: /)
    expect(silent.rungs).toEqual(
      expect.arrayContaining(['udp failed timeout', 'tcp failed ike-silent', 'tls failed ike-silent'])
    )
  })

  it('loses its turn where it falls silent behind IKE_SA_INIT', async () => {
    const half = client('half')
    await expectOneError(half, 75, 'timeout', /did not come up within 6 s/)
    expect(half.rungs).toEqual(
      expect.arrayContaining(['udp answered', 'udp failed ike-auth-silent', 'tcp answered'])
    )
  })

  const steps = TRANSPORTS.flatMap((transport) => LAST_ANSWERS.map((answer) => [transport, answer] as const))
  it.each(steps)('times out over %s where it falls silent behind answer %i', async (transport, answer) => {
    const silent = client(`${transport} ${answer}`)
    await expectOneError(silent, 75, 'timeout', /did not come up within 6 s/)
    expect(silent.rungs).toEqual([`${transport} trying`, `${transport} answered`])
  })

  it('leaves no trace of any of them', async () => {
    expect(await site.clientState()).toBe(before)
  })

  it.each(['udp', 'tls'])(
    'is missed over %s where it falls silent when everything is up',
    async (transport) => {
      const box = await site.startMiddlebox({})
      const only = ['--transport', transport, '--timeout', '3']
      const gone = site.connect(box.address, [...BRISK, ...(await site.asUser()), ...only], {
        state: transport
      })
      await gone.event('connected')
      box.command('settings {"lastAnswer":-1}')
      // Somebody has to miss it: without traffic a gateway may be silent (RFC 7296 section 2.4).
      const download = site.download(1)
      await expectOneError(gone, 75, 'timeout', /did not come up within 3 s/)
      expect(gone.all('reconnecting')).toMatchObject([{ reason: 'peer-silent' }])
      await download.stop()
      expect(await site.clientState()).toBe(before)
    }
  )
})
