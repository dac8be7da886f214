import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  askOn,
  MAX_SECRET_BYTES,
  obtainSecret,
  parsePresharedKey,
  readSecretFile,
  readSecretLine,
  type SecretTerminal
} from '../../../src/host/secrets-input.ts'
import type { Logger } from '../../../src/log.ts'
import { Secret } from '../../../src/secret.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

async function file(contents: string | Uint8Array, mode = 0o600): Promise<string> {
  const path = join(await scratchDirectory('secret'), 'secret')
  await writeFile(path, contents)
  await chmod(path, mode)
  return path
}

function listening(): { log: Logger; warnings: string[] } {
  const warnings: string[] = []
  const log: Logger = {
    log: (level, message) => void (level === 'warn' && warnings.push(message)),
    child: () => log
  }
  return { log, warnings }
}

describe('a secret file', () => {
  it('loses the line ending at its end and nothing else', async () => {
    expect((await readSecretFile(await file(' pass word \n'))).revealText()).toBe(' pass word ')
    expect((await readSecretFile(await file('two\nlines\r\n'))).revealText()).toBe('two\nlines')
    expect([...(await readSecretFile(await file(Uint8Array.of(0xff, 0, 0x80)))).reveal()]).toEqual([
      0xff, 0, 0x80
    ])
  })

  it('is warned about when others may read it', async () => {
    const { log, warnings } = listening()
    await readSecretFile(await file('x', 0o600), log)
    expect(warnings).toEqual([])
    const open = await file('hush', 0o640)
    await readSecretFile(open, log)
    expect(warnings).toEqual([
      `${open} can be read by other users; make it yours alone with: chmod 600 ${open}`
    ])
  })

  it('is an error when it is missing, a folder, empty, or far too long', async () => {
    await expect(readSecretFile('/nonexistent/secret')).rejects.toMatchObject({ exitCode: 66 })
    await expect(readSecretFile('/')).rejects.toMatchObject({ exitCode: 66 })
    await expect(readSecretFile(await file('\n'))).rejects.toMatchObject({
      code: 'secret-empty',
      exitCode: 65
    })
    await expect(readSecretFile(await file('x'.repeat(MAX_SECRET_BYTES + 1)))).rejects.toMatchObject({
      code: 'secret-too-long'
    })
  })
})

describe('standard input', () => {
  it('gives its first line, however it is cut', async () => {
    expect((await readSecretLine(Readable.from([Buffer.from('pass\nmore')]))).revealText()).toBe('pass')
    const text = 'pässwörd ✓'
    await fc.assert(
      fc.asyncProperty(fc.nat(Buffer.byteLength(text)), async (at) => {
        const bytes = Buffer.from(`${text}\r\nmore`)
        const stream = Readable.from([Buffer.from(bytes.subarray(0, at)), Buffer.from(bytes.subarray(at))])
        expect((await readSecretLine(stream)).revealText()).toBe(text)
      }),
      { seed: 9329 }
    )
  })

  it('is an error when it is empty', async () => {
    await expect(readSecretLine(Readable.from([]))).rejects.toMatchObject({ exitCode: 66 })
    await expect(readSecretLine(Readable.from([Buffer.from('\n')]))).rejects.toMatchObject({ exitCode: 65 })
  })
})

describe('a pre-shared key', () => {
  const parse = (text: string): string =>
    Buffer.from(parsePresharedKey(new Secret(text)).reveal()).toString('hex')

  it('is hexadecimal after 0x, base64 after 0s, else the text itself', () => {
    expect(parse('0x00ffA0')).toBe('00ffa0')
    expect(parse('0sAP+g')).toBe('00ffa0')
    expect(parse('0sAP8=')).toBe('00ff')
    expect(parse('0sAP8')).toBe('00ff')
    expect(parse('s3cret ✓')).toBe(Buffer.from('s3cret ✓').toString('hex'))
  })

  it('is refused, without being shown, when it only looks encoded', () => {
    for (const text of ['0x', '0x0', '0xgg', '0s', '0s!!', '0sA', '0sAAAAA']) {
      expect(() => parsePresharedKey(new Secret(text))).toThrow(/what follows is not/)
    }
    expect(() => parsePresharedKey(new Secret('0xTOPSECRET'))).toThrow(/^(?!.*TOPSECRET)/)
  })
})

describe('asking on a terminal', () => {
  class FakeTerminal implements SecretTerminal {
    readonly events: string[] = []
    #listener: (bytes: Buffer | null) => void = () => undefined
    setEcho(on: boolean): void {
      this.events.push(on ? 'echo' : 'no echo')
    }
    write(text: string): void {
      this.events.push(text)
    }
    onInput(listener: (bytes: Buffer | null) => void): void {
      this.#listener = listener
    }
    close(): void {}
    type(...pieces: (string | null)[]): void {
      for (const piece of pieces) this.#listener(piece === null ? null : Buffer.from(piece))
    }
  }
  async function typed(...pieces: (string | null)[]): Promise<string> {
    const terminal = new FakeTerminal()
    const asked = askOn(terminal, 'Password of alice')
    terminal.type(...pieces)
    try {
      return (await asked).revealText()
    } finally {
      expect(terminal.events).toEqual(['no echo', 'Password of alice: ', 'echo', '\n'])
    }
  }

  it('takes keys up to Enter without echo', async () => {
    expect(await typed('hun', 'ter2\r')).toBe('hunter2')
    expect(await typed('\n')).toBe('')
  })

  it('understands Backspace over a character of several bytes, and Ctrl-U', async () => {
    expect(await typed('ab✓\x7fc\n')).toBe('abc')
    expect(await typed('\x7f\x7fa\n')).toBe('a')
    expect(await typed('wrong\x15right\n')).toBe('right')
  })

  it('gives up on Ctrl-C, on Ctrl-D, and when the terminal goes', async () => {
    await expect(typed('a\x03')).rejects.toMatchObject({ code: 'prompt-cancelled' })
    await expect(typed('\x04')).rejects.toMatchObject({ code: 'prompt-cancelled' })
    await expect(typed(null)).rejects.toMatchObject({ code: 'prompt-cancelled' })
  })
})

it('takes the first source that the request names, and does not ask where asking is not allowed', async () => {
  const request = { what: 'The password', option: '--password-file' }
  const stdin = Readable.from([Buffer.from('from stdin\n')])
  expect(
    (await obtainSecret({ ...request, file: await file('from file'), fromStdin: true })).revealText()
  ).toBe('from file')
  expect((await obtainSecret({ ...request, fromStdin: true }, undefined, stdin)).revealText()).toBe(
    'from stdin'
  )
  await expect(obtainSecret({ ...request, nonInteractive: true })).rejects.toMatchObject({
    code: 'secret-needed',
    hint: 'give it with --password-file'
  })
})
