import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { findProgram } from '../../support/require.ts'
import { waitUntil } from '../../support/wait-until.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', '..', 'bin', 'ikestream.js')

it.skipIf(findProgram('script') === null)(
  'asks for a password on the terminal before it goes to the background (needs script of bsdutils)',
  async () => {
    const command = `${process.execPath} ${PROGRAM} connect 203.0.113.1 --user alice --background`
    const terminal = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] })
    let shown = ''
    terminal.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString()
    })
    const ended = new Promise<number | null>((resolve) => terminal.on('exit', resolve))
    try {
      await waitUntil('the prompt', () => shown.includes('The password of alice: '), 20_000)
      // Ctrl-C at a prompt is a key like any other; it gives up.
      terminal.stdin.write('\u0003')
      expect(await ended).toBe(66)
      expect(shown).toContain('was not given')
    } finally {
      terminal.kill()
    }
  }
)
