/**
 * A terminal that a test types into and reads: tmux with a server of its own, in a namespace of the test.
 * @module
 */
import { join } from 'node:path'
import { type LabNamespace, type RunningProgram, startProgram } from './namespaces.ts'
import { waitUntil } from './wait-until.ts'

/** Wide enough for our longest lines, as people have it. */
const COLUMNS = 100
const LINES = 60
const PROMPT = '$ '

export class Terminal {
  readonly #namespace: LabNamespace
  readonly #socket: string
  readonly #server: RunningProgram
  /** All screens that were looked at. */
  readonly #seen = new Set<string>()

  private constructor(namespace: LabNamespace, socket: string, server: RunningProgram) {
    this.#namespace = namespace
    this.#socket = socket
    this.#server = server
  }

  /** Opens it with a shell that waits for a command. */
  static async open(
    namespace: LabNamespace,
    directory: string,
    env: Readonly<Record<string, string>>
  ): Promise<Terminal> {
    const socket = join(directory, 'tmux')
    // In the foreground (-D), so that the server ends with the test.
    const server = startProgram(namespace, ['tmux', '-D', '-S', socket, '-f', '/dev/null'], {
      env: { LC_ALL: 'C.UTF-8', TERM: 'xterm-256color', SHELL: '/bin/sh', ...env },
      cwd: directory
    })
    const terminal = new Terminal(namespace, socket, server)
    await waitUntil('tmux', async () => (await terminal.#tmux('show', '-g', 'status')).ok)
    // tmux hands on the environment of whoever asks for a session.
    const settings = Object.entries({ ...env, PS1: PROMPT }).map(([name, value]) => `${name}=${value}`)
    const shell = ['env', ...settings, 'bash', '--norc', '--noprofile', '-i']
    const size = ['-x', String(COLUMNS), '-y', String(LINES)]
    await terminal.#tmux('new-session', '-d', '-s', 'main', ...size, '-c', directory, ...shell)
    await terminal.shows(/^\$$/m)
    return terminal
  }

  async type(text: string): Promise<void> {
    await this.#tmux('send-keys', '-t', 'main', '-l', text)
  }

  /** A key by its name, such as `Enter` or `C-c`. */
  async press(key: string): Promise<void> {
    await this.#tmux('send-keys', '-t', 'main', key)
  }

  /** Resolves with the screen, without empty lines at its end, once it matches. */
  async shows(pattern: RegExp): Promise<string> {
    let screen = ''
    const matches = async (): Promise<boolean> => {
      // -J: lines that were too long for the terminal are one again, wherever it broke them.
      const { text } = await this.#tmux('capture-pane', '-p', '-J', '-t', 'main')
      screen = text.replaceAll(/ +$/gm, '').trimEnd()
      this.#seen.add(screen)
      return pattern.test(screen)
    }
    try {
      await waitUntil(`a screen like ${pattern}`, matches)
    } catch (cause) {
      throw new Error(`the screen is:\n${screen}`, { cause })
    }
    return screen
  }

  /** Whether any screen that was looked at matches. */
  hasShown(pattern: RegExp): boolean {
    return [...this.#seen].some((screen) => pattern.test(screen))
  }

  async close(): Promise<void> {
    await this.#tmux('kill-server')
    await this.#server.stop()
  }

  async #tmux(...args: readonly string[]): Promise<{ readonly ok: boolean; readonly text: string }> {
    const { exitCode, stdout } = await this.#namespace.runner.run(['tmux', '-S', this.#socket, ...args], {
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' }
    })
    return { ok: exitCode === 0, text: stdout }
  }
}
