/**
 * Where secrets come from: a file, standard input, or the terminal; never an argument or the environment of a child.
 * @module
 */
import { openSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { ReadStream } from 'node:tty'
import { DataError, InputError, UsageError } from '../errors.ts'
import { type Logger, silentLogger } from '../log.ts'
import { Secret } from '../secret.ts'

/** A password or key is short; anything longer is the wrong file. */
export const MAX_SECRET_BYTES = 64 * 1024

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d

/**
 * Reads a secret from a file; a line ending at its end is not part of it. Warns if others may read the file.
 * @throws InputError if it cannot be read, DataError if it is empty or too long
 */
export async function readSecretFile(path: string, log: Logger = silentLogger): Promise<Secret> {
  const bytes = await readPrivateFile(path, log)
  try {
    return secretOf(bytes, path)
  } finally {
    bytes.fill(0)
  }
}

/** Reads one line; what follows is left unread. @throws InputError if there is none, DataError if it is empty or too long */
export async function readSecretLine(stream: Readable): Promise<Secret> {
  const chunks: Buffer[] = []
  let lengthBytes = 0
  for await (const piece of stream) {
    const chunk = Buffer.isBuffer(piece) ? piece : Buffer.from(String(piece))
    const end = chunk.indexOf(NEWLINE)
    chunks.push(end < 0 ? chunk : chunk.subarray(0, end))
    lengthBytes += chunk.length
    if (end >= 0 || lengthBytes > MAX_SECRET_BYTES) break
  }
  if (chunks.length === 0) throw new InputError('no-secret', 'standard input ended before a secret came')
  const line = Buffer.concat(chunks)
  for (const chunk of chunks) chunk.fill(0)
  try {
    return secretOf(line, 'standard input')
  } finally {
    line.fill(0)
  }
}

/**
 * A pre-shared key as strongSwan writes it: `0x` and hexadecimal digits, `0s` and base64, or the text itself.
 * @throws DataError for a `0x` or `0s` that is neither
 */
export function parsePresharedKey(text: Secret): Secret {
  const value = text.revealText()
  if (/^0x/i.test(value)) {
    const digits = value.slice(2)
    if (!/^[0-9a-f]+$/i.test(digits) || digits.length % 2 !== 0)
      throw badKey('0x', 'pairs of hexadecimal digits')
    return fromBuffer(Buffer.from(digits, 'hex'))
  }
  if (/^0s/i.test(value)) {
    const digits = value.slice(2)
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(digits) || digits.replace(/=+$/, '').length % 4 === 1)
      throw badKey('0s', 'base64')
    return fromBuffer(Buffer.from(digits, 'base64'))
  }
  return text
}

export interface SecretRequest {
  /** What is asked for, as it stands in a prompt: `Password of alice`. */
  readonly what: string
  readonly file?: string | undefined
  readonly fromStdin?: boolean
  /** Never ask; a secret that is nowhere is then an error. */
  readonly nonInteractive?: boolean
  /** The option that names a file, for the hint. */
  readonly option: string
}

/** Gets a secret from the place that the request names, else from the terminal. */
export async function obtainSecret(
  request: SecretRequest,
  log: Logger = silentLogger,
  stdin: Readable = process.stdin
): Promise<Secret> {
  if (request.file !== undefined) return readSecretFile(request.file, log)
  if (request.fromStdin === true) return readSecretLine(stdin)
  if (request.nonInteractive === true) {
    throw new UsageError('secret-needed', `${request.what} is needed, and asking is not allowed`, {
      hint: `give it with ${request.option}`
    })
  }
  return promptSecret(request.what, request.option)
}

/** Asks on the controlling terminal, without echo. @throws InputError when there is no terminal, or the user gives up */
export async function promptSecret(what: string, option: string): Promise<Secret> {
  const terminal = openTerminal(what, option)
  try {
    return await askOn(terminal, what)
  } finally {
    terminal.close()
  }
}

/** The part of a terminal that a prompt needs. */
export interface SecretTerminal {
  setEcho(on: boolean): void
  write(text: string): void
  /** Key presses as they come; null when the terminal went away. */
  onInput(listener: (bytes: Buffer | null) => void): void
  close(): void
}

/** Reads keys up to Enter: Backspace and Ctrl-U work; Ctrl-C and Ctrl-D give up. */
export function askOn(terminal: SecretTerminal, what: string): Promise<Secret> {
  return new Promise((resolve, reject) => {
    const line = new SecretLine()
    const finish = (outcome: () => void): void => {
      terminal.onInput(() => undefined)
      terminal.setEcho(true)
      terminal.write('\n')
      outcome()
      line.dispose()
    }
    const giveUp = (): void =>
      finish(() => reject(new InputError('prompt-cancelled', `${what} was not given`)))
    terminal.onInput((bytes) => {
      if (bytes === null) return giveUp()
      for (const byte of bytes) {
        const key = line.press(byte)
        if (key === 'enter') return finish(() => resolve(line.toSecret()))
        if (key === 'cancel') return giveUp()
      }
    })
    terminal.setEcho(false)
    terminal.write(`${what}: `)
  })
}

/** What has been typed so far; its bytes are overwritten at the end. */
class SecretLine {
  readonly #bytes = Buffer.alloc(4096)
  #length = 0

  press(byte: number): 'enter' | 'cancel' | 'more' {
    if (byte === NEWLINE || byte === CARRIAGE_RETURN) return 'enter'
    if (byte === 0x03 || (byte === 0x04 && this.#length === 0)) return 'cancel'
    if (byte === 0x7f || byte === 0x08) this.#erase()
    else if (byte === 0x15) this.#length = 0
    else if (byte >= 0x20 && this.#length < this.#bytes.length) this.#bytes[this.#length++] = byte
    return 'more'
  }

  toSecret(): Secret {
    return new Secret(this.#bytes.subarray(0, this.#length))
  }

  dispose(): void {
    this.#bytes.fill(0)
  }

  /** One character, which in UTF-8 may be several bytes. */
  #erase(): void {
    while (this.#length > 0 && ((this.#bytes[--this.#length] ?? 0) & 0xc0) === 0x80);
  }
}

function openTerminal(what: string, option: string): SecretTerminal {
  let fd: number
  try {
    fd = openSync('/dev/tty', 'r+')
  } catch (cause) {
    throw new InputError('no-terminal', `${what} is needed, and there is no terminal to ask on`, {
      hint: `give it with ${option}`,
      cause
    })
  }
  const input = new ReadStream(fd)
  return {
    setEcho: (on) => void input.setRawMode(!on),
    write: (text) => void writeSync(fd, text),
    onInput: (listener) => {
      input.removeAllListeners()
      input.on('data', (bytes: Buffer) => listener(bytes))
      input.once('error', () => listener(null))
      input.once('end', () => listener(null))
    },
    close: () => {
      input.removeAllListeners()
      input.on('error', () => undefined)
      // Closes the descriptor too.
      input.destroy()
    }
  }
}

async function readPrivateFile(path: string, log: Logger): Promise<Buffer> {
  try {
    const file = await open(path, 'r')
    try {
      const found = await file.stat()
      if (found.isDirectory()) throw new Error('it is a directory')
      if (found.isFile() && (found.mode & 0o077) !== 0) {
        log.log('warn', `${path} can be read by other users; make it yours alone with: chmod 600 ${path}`)
      }
      const bytes = Buffer.alloc(MAX_SECRET_BYTES + 1)
      let lengthBytes = 0
      while (lengthBytes < bytes.length) {
        const { bytesRead } = await file.read(bytes, lengthBytes, bytes.length - lengthBytes)
        if (bytesRead === 0) break
        lengthBytes += bytesRead
      }
      return bytes.subarray(0, lengthBytes)
    } finally {
      await file.close()
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new InputError('secret-file', `the file ${path} cannot be read: ${why}`, { cause })
  }
}

function secretOf(bytes: Buffer, source: string): Secret {
  let end = bytes.length
  if (end > 0 && bytes[end - 1] === NEWLINE) end--
  if (end > 0 && bytes[end - 1] === CARRIAGE_RETURN) end--
  if (end === 0) throw new DataError('secret-empty', `the secret from ${source} is empty`)
  if (end > MAX_SECRET_BYTES) throw new DataError('secret-too-long', `the secret from ${source} is too long`)
  return new Secret(bytes.subarray(0, end))
}

function badKey(prefix: string, expected: string): DataError {
  return new DataError(
    'psk-format',
    `the pre-shared key begins with ${prefix}, but what follows is not ${expected}`,
    {
      hint: 'a key that is meant as text must not begin with 0x or 0s: write it as 0x and its bytes'
    }
  )
}

function fromBuffer(bytes: Buffer): Secret {
  const secret = new Secret(bytes)
  bytes.fill(0)
  return secret
}
