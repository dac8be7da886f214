/**
 * Runs one program to its end and gives back what it printed. Nothing goes through a shell.
 * @module
 */
import { spawn } from 'node:child_process'

export interface CommandResult {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  readonly input?: string | Uint8Array
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** Ends the program (SIGKILL) when it fires. */
  readonly signal?: AbortSignal
}

/** Runs `argv` and resolves with its result, whatever the exit code (128+n after signal n). */
export function tryCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program, ...args] = argv
  if (program === undefined) throw new Error('no program given')
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      signal: options.signal,
      killSignal: 'SIGKILL',
      stdio: ['pipe', 'pipe', 'pipe']
    })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      resolve({
        exitCode: code ?? (signal === 'SIGTERM' ? 143 : 137),
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString()
      })
    })
    child.stdin.on('error', () => {}) // a program that ends without reading its input
    child.stdin.end(options.input)
  })
}

/** As `tryCommand`, but an exit code other than 0 is an error that quotes what the program said. */
export async function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await tryCommand(argv, options)
  if (result.exitCode !== 0)
    throw new Error(`${argv.join(' ')}: exit code ${result.exitCode}\n${result.stderr || result.stdout}`)
  return result.stdout
}
