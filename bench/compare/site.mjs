/**
 * Where programs are compared: a client's and a gateway's namespace, a veth pair between them, credentials that everybody
 * uses, and a temporary folder. All of it ends with the site, and with the process that made it.
 * @module
 */
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { NetLab, terminate } from '../../dist/host/netlab.js'
import { CLIENT_NAME, makeCredentials } from '../lib/site.mjs'

export const GATEWAY_ADDRESS = '198.18.0.1'
const CLIENT_ADDRESS = '198.18.0.2'

const ECHO_TOOL = fileURLToPath(new URL('./echo-tool.mjs', import.meta.url))
export const ECHO_PORT = 7007
/** Only ends what hangs. */
const START_TIMEOUT_MS = 20_000
/** How often something outside of this process is looked at again. */
const LOOK_EVERY_MS = 2

/** A program that was started in a namespace. */
export class Program {
  #site
  #name
  #logFile

  constructor(site, name, child, logFile) {
    this.#site = site
    this.#name = name
    this.#logFile = logFile
    this.child = child
  }

  get pid() {
    return this.child.pid
  }

  get ended() {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** Everything that it has printed. */
  output() {
    return readFileSync(this.#logFile, 'utf8')
  }

  /** Resolves once its output matches. */
  printed(pattern) {
    return this.until(`print ${pattern}`, () => pattern.test(this.output()))
  }

  /** Resolves once the condition holds; rejects when the program ends before that, or takes too long. */
  async until(what, condition) {
    const deadline = performance.now() + START_TIMEOUT_MS
    while (!(await condition())) {
      this.#site.signal.throwIfAborted()
      if (this.ended) throw this.failure(`ended and did not ${what}`)
      if (performance.now() > deadline)
        throw this.failure(`did not ${what} within ${START_TIMEOUT_MS / 1000} s`)
      await delay(LOOK_EVERY_MS)
    }
  }

  failure(what) {
    const tail = this.output().trim().split('\n').slice(-12).join('\n')
    return new Error(`${this.#name} ${what}${tail === '' ? '' : `; it said:\n${tail}`}`)
  }

  async stop() {
    await terminate(this.child)
  }
}

export class Site {
  /** @param {AbortSignal} signal ends whatever waits */
  static async open(signal) {
    const directory = mkdtempSync(join(tmpdir(), 'ikestream-bench-'))
    let lab
    try {
      lab = await NetLab.open()
      const site = new Site(signal, directory, lab)
      await site.#build()
      return site
    } catch (error) {
      await lab?.close()
      rmSync(directory, { recursive: true, force: true })
      throw error
    }
  }

  #lab
  #programs = 0

  constructor(signal, directory, lab) {
    this.signal = signal
    this.directory = directory
    this.#lab = lab
  }

  /** Writes a file into the site's folder, for its owner only. */
  file(name, contents, mode = 0o600) {
    const path = this.path(name)
    writeFileSync(path, contents, { mode })
    return path
  }

  path(name) {
    return join(this.directory, name)
  }

  /**
   * Starts a program in the namespace `client` or `gateway`.
   * @param {Record<string, string>} env in addition
   */
  start(where, argv, env = {}) {
    this.signal.throwIfAborted()
    const logFile = this.path(`${++this.#programs}-${argv[0].split('/').at(-1)}.log`)
    const log = openSync(logFile, 'a', 0o600)
    const child = this[where].spawn(argv, {
      stdio: ['ignore', log, log],
      // An interrupt at the terminal is for this process, which then ends the others in order.
      detached: true,
      env: { ...process.env, ...env }
    })
    return new Program(this, argv[0].split('/').at(-1), child, logFile)
  }

  /** Runs a command in a namespace to its end. @returns {Promise<string>} standard output */
  async run(where, argv, options) {
    this.signal.throwIfAborted()
    return (await this[where].run(argv, options)).stdout
  }

  /** A path as programs inside a namespace see it, whose mounts are their own. */
  seenFrom(where, path) {
    return `/proc/${this[where].pid}/root${path}`
  }

  async close() {
    try {
      await this.#lab.close()
    } finally {
      rmSync(this.directory, { recursive: true, force: true })
    }
  }

  /** The work's result, unless the run is interrupted: then nobody waits for it any longer. */
  async unlessInterrupted(work) {
    const { signal } = this
    signal.throwIfAborted()
    let stop
    const interrupted = new Promise((_, reject) => {
      stop = () => reject(signal.reason)
      signal.addEventListener('abort', stop, { once: true })
    })
    // What is abandoned fails as its programs are ended.
    work.catch(() => undefined)
    return Promise.race([work, interrupted]).finally(() => signal.removeEventListener('abort', stop))
  }

  async #build() {
    this.client = await this.#lab.addNamespace('client')
    this.gateway = await this.#lab.addNamespace('gateway')
    await this.#lab.connect(this.client, this.gateway, { a: 'outer0', b: 'outer0' })
    await this.client.run(['ip', 'addr', 'add', `${CLIENT_ADDRESS}/24`, 'dev', 'outer0'])
    await this.gateway.run(['ip', 'addr', 'add', `${GATEWAY_ADDRESS}/24`, 'dev', 'outer0'])
    for (const namespace of [this.client, this.gateway]) {
      // Sockets and process ids of daemons: each namespace has its own.
      await namespace.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run'])
      await namespace.run(['mkdir', '-p', '/run/wireguard', '/run/lock'])
    }
    this.credentials = separateCredentials(this)
    await this.start('gateway', [process.execPath, ECHO_TOOL, String(ECHO_PORT)]).printed(/listening/)
  }
}

/** Certificate and key apart, as most programs want them. */
function separateCredentials(site) {
  const { ca, gateway, client, clientRsa } = makeCredentials(site.directory, { rsa: true })
  const part = (file, name) => {
    const pattern = new RegExp(`-----BEGIN ${name}-----[^]*?-----END ${name}-----\\n`)
    const [text] = pattern.exec(readFileSync(file, 'utf8')) ?? []
    if (text === undefined) throw new Error(`${file} holds no ${name}`)
    return text
  }
  return {
    ca,
    server: site.file('server.pem', part(gateway, 'CERTIFICATE')),
    serverKey: site.file('server.key', part(gateway, 'PRIVATE KEY')),
    client: site.file('client.crt', part(client, 'CERTIFICATE')),
    clientKey: site.file('client.key', part(client, 'PRIVATE KEY')),
    clientRsa: site.file('client-rsa.crt', part(clientRsa, 'CERTIFICATE')),
    clientRsaKey: site.file('client-rsa.key', part(clientRsa, 'PRIVATE KEY')),
    clientName: CLIENT_NAME
  }
}
