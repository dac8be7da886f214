import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { createCertificateAuthority, issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { openTls } from '../../src/transport/tls.ts'
import { espPacket } from '../support/relay-fixture.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'
import { Recorder } from '../unit/transport/memory-stream.ts'

const HOUR_MS = 3600_000
const validity = { notBeforeMs: Date.now() - HOUR_MS, notAfterMs: Date.now() + 24 * HOUR_MS }
const SUITES = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']

/** OpenSSL's own server: prints what it is sent, sends what it is told. */
class OpensslServer {
  readonly port: Promise<number>
  readonly #directory = mkdtempSync(join(tmpdir(), 'ikestream-openssl-'))
  readonly #process: ChildProcessWithoutNullStreams
  readonly #ended: Promise<unknown>
  #output: Buffer = Buffer.alloc(0)

  constructor(suite: string) {
    const authority = createCertificateAuthority('Test CA', validity)
    const { certificatePem, privateKeyPem } = issueServerCertificate(authority, ['127.0.0.1'], validity)
    const file = join(this.#directory, 'server.pem')
    writeFileSync(file, `${certificatePem}${privateKeyPem.revealText()}`)
    const options = ['-cert', file, '-key', file, '-tls1_3', '-ciphersuites', suite]
    this.#process = spawn('openssl', ['s_server', '-accept', '127.0.0.1:0', ...options])
    this.#ended = new Promise((resolve) => this.#process.once('close', resolve))
    this.#process.stdout.on('data', (chunk: Buffer) => {
      this.#output = Buffer.concat([this.#output, chunk])
    })
    this.port = waitUntil(
      'a port',
      () => /ACCEPT 127\.0\.0\.1:(\d+)/.exec(this.#output.toString('latin1'))?.[1]
    ).then(Number)
  }

  has(bytes: Buffer): boolean {
    return this.#output.includes(bytes)
  }

  /** A line by itself is a command if it is one of its letters. */
  say(line: string): void {
    this.#process.stdin.write(`${line}\n`)
  }

  async stop(): Promise<void> {
    this.#process.kill()
    await this.#ended
    rmSync(this.#directory, { recursive: true })
  }
}

const closing: (() => Promise<unknown>)[] = []
afterEach(() => Promise.all(closing.splice(0).map((close) => close())))

describeWith('openssl')('TLS that is read and written directly, against OpenSSL', () => {
  test.each(SUITES)('%s: goes on after a change of keys, with ours when that is asked for', async (suite) => {
    const server = new OpensslServer(suite)
    closing.push(() => server.stop())
    const transport = await openTls({ host: '127.0.0.1', port: await server.port })
    closing.unshift(() => transport.close(0))
    const recorder = new Recorder()
    transport.setHandlers(recorder)
    expect([transport.tlsInfo.cipher, transport.facts.directStream]).toEqual([
      suite,
      { inUse: true, why: null }
    ])
    let sequence = 0
    /** A packet there, whose tail is text, and one back: a line of so many "!" is a frame of the length that "!!" says. */
    const exchange = async () => {
      const packet = espPacket(200, ++sequence)
      packet.write(`packet ${sequence} of ${suite}`, 100)
      const at = transport.esp.reserve(packet.length)
      transport.esp.buffer.set(packet, at)
      transport.esp.commit(packet.length)
      transport.esp.flush()
      await waitUntil('the packet', () => server.has(packet.subarray(100, 130)))
      server.say('!'.repeat(0x2121 - 1))
      await waitUntil('the answer', () => recorder.esp.length === sequence)
    }
    await exchange()
    for (const command of ['k', 'K', 'K', 'k']) {
      server.say(command)
      await exchange()
    }
    expect(recorder.esp.map(({ length }) => length)).toEqual(Array(5).fill(0x2121 - 2))
    server.say('Q')
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.closed?.code).toBe('closed-by-peer')
  })
})
