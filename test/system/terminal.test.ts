/**
 * A session as somebody sees it in a terminal: typed into tmux, and compared with what the README shows.
 *
 * `IKESTREAM_WRITE_README=1` writes the screen into the README instead, times and sizes as they were.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { IKESTREAM } from '../support/ikestream-process.ts'
import { IkestreamSite, PASSWORD, USER, validity } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'
import { Terminal } from '../support/terminal.ts'

const NAME = 'vpn.example.com'
const README = join(import.meta.dirname, '..', '..', 'README.md')
const BEGIN = '<!-- session: written by test/system/terminal.test.ts -->\n\n```text\n'
const END = '\n```\n'

describeWith(
  'namespaces',
  'tun',
  'tmux',
  'bash'
)('a session in a terminal', () => {
  let site: IkestreamSite
  let terminal: Terminal

  beforeAll(async () => {
    site = await IkestreamSite.open({ hosts: `127.0.0.1 localhost\n198.18.0.1 ${NAME}\n` })
    expect(site.gatewayAddress).toBe('198.18.0.1')
    const issued = issueServerCertificate(site.authority, [NAME], validity())
    await site.startGateway([
      ...['--identity', NAME],
      ...['--certificate', await site.file('vpn.pem', issued.certificatePem)],
      ...['--sslkey', await site.file('vpn.key', issued.privateKeyPem.revealText())],
      ...['--users-file', await site.file('vpn.users', `${USER}:${PASSWORD}\n`)]
    ])
    await site.hotel.setFaults([{ protocol: 'udp', action: 'drop' }])
    await site.file('corp-ca.pem', site.authority.certificatePem)
    await site.file('ikestream', `#!/bin/sh\nexec ${process.execPath} ${IKESTREAM} "$@"\n`)
    await site.client.run(['chmod', '700', join(site.directory, 'ikestream')])
    terminal = await Terminal.open(site.client, site.directory, {
      PATH: `${site.directory}:/usr/sbin:/usr/bin:/sbin:/bin`,
      HOME: site.directory,
      IKESTREAM_STATE_DIR: join(site.directory, 'state')
    })
  })
  afterAll(async () => {
    await terminal?.close()
    await site?.close()
  })

  async function command(line: string): Promise<void> {
    await terminal.type(line)
    await terminal.press('Enter')
  }

  it('looks as the README shows it', async () => {
    await command(`ikestream connect ${NAME} --user alice --cafile corp-ca.pem --background`)
    await terminal.shows(/password of alice/)
    await terminal.type(PASSWORD)
    await terminal.press('Enter')
    await terminal.shows(/in the background as process \d+\n\$$/)
    expect(terminal.hasShown(/[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] Trying UDP to 198\.18\.0\.1/)).toBe(true)
    expect(terminal.hasShown(new RegExp(PASSWORD))).toBe(false)
    await command('ikestream status')
    await terminal.shows(/\$ ikestream status\n[\s\S]*\n\$$/)
    await command('ikestream disconnect')
    const screen = await terminal.shows(/\$ ikestream disconnect\n[\s\S]*disconnected\n\$$/)
    const shown = screen.replace(/\n\$$/, '')
    const readme = await readFile(README, 'utf8')
    const start = readme.indexOf(BEGIN) + BEGIN.length
    const end = readme.indexOf(END, start)
    expect(start).toBeGreaterThan(BEGIN.length)
    if (process.env['IKESTREAM_WRITE_README'] === '1')
      await writeFile(README, `${readme.slice(0, start)}${shown}${readme.slice(end)}`)
    else expect(withoutFigures(shown)).toBe(withoutFigures(readme.slice(start, end)))
  })
})

/** Times, sizes, SPIs and process ids are different each time, and so is what the kernel can; words, marks and their order are not. */
function withoutFigures(text: string): string {
  return text
    .replaceAll(/[0-9a-f]{8,16}(?=_)/g, 'SPI')
    .replaceAll(/heard (just now|\d+ \S+ ago)/g, 'heard')
    .replaceAll(/^( +data path).*$/gm, '$1')
    .replaceAll(/\d+(\.\d+)?( (ms|s|min|h|B|KiB|MiB)\b)?( \d+ (s|min)\b)?/g, 'N')
    .replaceAll(/ {2,}/g, '  ')
}
