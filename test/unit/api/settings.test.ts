import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as api from '../../../src/api/index.ts'
import { understand } from '../../../src/api/settings.ts'
import { profileKeys } from '../../../src/cli/option-specs.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

async function profile(text: string): Promise<string> {
  const path = join(await scratchDirectory('profile'), 'work.toml')
  await writeFile(path, text)
  return path
}

describe('the settings of a program', () => {
  it('are the options of the command line in camel case', () => {
    const { server, values, profileName } = understand(
      {
        server: 'gw',
        remoteTs: '10.0.0.0/8',
        natTPort: 4501,
        tlsVerify: true,
        systemTrust: false,
        proxy: false
      },
      []
    )
    expect(server).toBe('gw')
    expect(profileName).toBeUndefined()
    expect(values.list('remote-ts')).toEqual(['10.0.0.0/8'])
    expect(values.number('nat-t-port')).toBe(4501)
    expect(values.flag('tls-verify')).toBe(true)
    expect(values.enabled('system-trust')).toBe(false)
    expect(values.enabled('proxy')).toBe(false)
    expect(values.text('proxy')).toBeUndefined()
    expect(values.enabled('dns')).toBe(true)
    expect([values.source('remote-ts'), values.source('mtu')]).toEqual(['option', 'default'])
  })

  it('win over those of a profile', async () => {
    const path = await profile('server = "gw"\n[tunnel]\nmtu = 1300\nremote-ts = ["10.0.0.0/8"]\n')
    const { server, values, profileName } = understand({ profile: path, remoteTs: ['10.1.0.0/16'] }, [])
    expect([server, profileName]).toEqual(['gw', 'work'])
    expect(values.number('mtu')).toBe(1300)
    expect(values.list('remote-ts')).toEqual(['10.1.0.0/16'])
    expect([values.source('mtu'), values.source('remote-ts')]).toEqual(['profile', 'option'])
  })

  it('hold secrets that do not show', () => {
    const { secrets } = understand({ server: 'gw', password: 'open sesame', psk: 'key' }, [])
    expect(secrets.password?.revealText()).toBe('open sesame')
    expect(JSON.stringify(secrets)).toBe('{"password":"[hidden]","psk":"[hidden]"}')
  })

  it('log to a function, with the subsystem in front', () => {
    const lines: unknown[] = []
    const { log } = understand({ server: 'gw', log: (...line) => lines.push(line) }, [])
    log.log('info', 'plain')
    log.child('ike').log('debug', 'inside', { spi: 1 })
    expect(lines).toEqual([
      ['info', 'plain', undefined],
      ['debug', 'ike: inside', { spi: 1 }]
    ])
  })

  it.each([
    [{ server: 'gw', remoteTS: '10.0.0.0/8' }, /remoteTS is not a known setting/, 'Did you mean remoteTs?'],
    [
      { server: 'gw', 'remote-ts': '10.0.0.0/8' },
      /remote-ts is not a known setting/,
      'Did you mean remoteTs?'
    ],
    [{ server: 'gw', mtu: 100 }, /mtu must be a whole number from 576/, undefined],
    [{ server: 'gw', tlsVerify: 'yes' }, /tlsVerify must be true or false/, undefined],
    [{ server: 'gw', transport: 'sctp' }, /transport must be auto or udp or tcp or tls/, undefined],
    [{ server: 'gw', cafile: [1] }, /cafile must be text/, undefined],
    [{}, /Neither a server nor a profile/, undefined],
    [{ profile: 'there-is-no-such-profile' }, /no profile there-is-no-such-profile/, undefined]
  ])('are refused when they mean nothing: %j', (settings, message, hint) => {
    const refused = (): unknown => understand(settings as api.GatewaySettings, [])
    expect(refused).toThrow(message)
    expect(refused).toThrow(expect.objectContaining({ exitCode: 64, hint }))
  })

  it('are all that a profile may hold, and their types name each', () => {
    const types = ['settings', 'connect'].map((name) =>
      readFileSync(new URL(`../../../src/api/${name}.ts`, import.meta.url), 'utf8')
    )
    for (const key of Object.values(profileKeys()).flat()) {
      const name = key.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
      expect(types.join('\n'), key).toContain(`  readonly ${name}?: `)
    }
  })
})

describe('what a program can import', () => {
  it('is what is documented', () => {
    const text = readFileSync(new URL('../../../docs/API.md', import.meta.url), 'utf8')
    for (const name of Object.keys(api).filter((one) => one !== 'ExitCode')) expect(text).toContain(name)
  })

  it('rejects what was aborted before it began', async () => {
    const signal = AbortSignal.abort(new Error('changed my mind'))
    await expect(api.connect({ server: 'gw', signal })).rejects.toThrow('changed my mind')
    await expect(api.check({ server: 'gw', signal })).rejects.toThrow('changed my mind')
  })

  it('says what is missing as an error with a code', async () => {
    await expect(api.connect({ server: '203.0.113.1' })).rejects.toMatchObject({ code: 'no-credentials' })
    await expect(api.connect({ server: '203.0.113.1', user: 'alice' })).rejects.toMatchObject({
      code: 'secret-needed'
    })
  })
})
