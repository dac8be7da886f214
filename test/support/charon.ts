/**
 * One strongSwan daemon (charon) in a network namespace, with user-space ESP (kernel-libipsec), its own /run and its own
 * resolv.conf: several run side by side, and none touches the machine's files.
 * @module
 */
import { access, appendFile, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BackgroundProcess } from './background.ts'
import type { Pki } from './pki.ts'
import { runCommand } from './run-command.ts'
import {
  type CharonFiles,
  charonFiles,
  formatSettings,
  type Settings,
  strongswanConf
} from './strongswan-settings.ts'
import { ViciConnection, type ViciSection } from './vici.ts'
import { waitUntil } from './wait-until.ts'

const CHARON = '/usr/lib/ipsec/charon'

/** Turns a command line into one that runs inside a namespace. */
export type Enter = (argv: readonly string[]) => string[]

export interface CharonOptions {
  readonly enter: Enter
  /** An existing directory of its own. */
  readonly directory: string
  readonly pki: Pki
  readonly swanctl: Settings
  /** Files of `pki` by folder of the swanctl directory. */
  readonly credentials: Readonly<Record<string, readonly string[]>>
  /** Further settings of strongswan.conf's `charon` section, such as `fragment_size`. */
  readonly charon?: Settings
  readonly tls?: Settings
}

/** An SA as `list-sas` describes it: strongSwan's own keys. */
export interface IkeSaInfo {
  readonly connection: string
  readonly uniqueId: string
  readonly state: string
  readonly initiatorSpi: string
  readonly responderSpi: string
  readonly remoteId: string
  readonly remoteEapId: string | undefined
  readonly remoteHost: string
  readonly remotePort: number
  readonly virtualIps: readonly string[]
  /** Such as `AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384`. */
  readonly suite: string
  readonly children: readonly ChildSaInfo[]
}

export interface ChildSaInfo {
  readonly uniqueId: string
  readonly state: string
  readonly spiIn: string
  readonly spiOut: string
  readonly bytesIn: number
  readonly bytesOut: number
  readonly suite: string
  readonly localTs: readonly string[]
  readonly remoteTs: readonly string[]
}

export interface CharonEvent {
  readonly name: string
  readonly section: ViciSection
}

const EVENTS = ['ike-updown', 'ike-rekey', 'child-updown', 'child-rekey']

export class Charon {
  readonly files: CharonFiles
  readonly events: CharonEvent[] = []
  readonly #options: CharonOptions
  #process: BackgroundProcess | undefined
  #vici: ViciConnection | undefined
  #eventSource: ViciConnection | undefined

  private constructor(options: CharonOptions) {
    this.#options = options
    this.files = charonFiles(options.directory)
  }

  /** Writes the configuration, starts charon, and resolves once it answers and has loaded everything. */
  static async start(options: CharonOptions): Promise<Charon> {
    const charon = new Charon(options)
    await charon.#writeConfiguration()
    await charon.#launch()
    return charon
  }

  /** Log of all runs so far. */
  log(): Promise<string> {
    return readFile(this.files.log, 'utf8').catch(() => '')
  }

  /** Ends it; SAs are deleted with their peers. */
  async stop(): Promise<void> {
    this.#disconnectVici()
    await this.#process?.stop()
    this.#process = undefined
  }

  /** Starts again. @param silently no peer hears that its SAs are gone */
  async restart({ silently = false }: { readonly silently?: boolean } = {}): Promise<void> {
    this.#disconnectVici()
    await this.#process?.stop(silently ? 'SIGKILL' : 'SIGTERM')
    await rm(this.files.vici, { force: true })
    await this.#launch()
  }

  /** Stops answering, as a crashed machine does, until `thaw`. */
  freeze(): void {
    this.#process?.kill('SIGSTOP')
  }
  thaw(): void {
    this.#process?.kill('SIGCONT')
  }

  async listSas(connection?: string): Promise<IkeSaInfo[]> {
    const request: ViciSection = connection === undefined ? {} : { ike: connection }
    const sections = await this.vici.stream('list-sas', 'list-sa', request)
    return sections.flatMap((section) =>
      Object.entries(section).map(([name, value]) => ikeSaInfo(name, value as ViciSection))
    )
  }

  /** Brings a connection's Child SA up from this side. */
  async initiate(connection: string, child = 'net'): Promise<void> {
    await this.vici.command('initiate', { ike: connection, child, timeout: '15000', loglevel: '-1' })
  }

  /** Starts a rekey (of the IKE SA, or of its Child SA) from this side; resolves once it has begun. */
  async rekey(what: 'ike' | 'child', connection: string, child = 'net'): Promise<void> {
    await this.vici.command('rekey', what === 'ike' ? { ike: connection } : { ike: connection, child })
  }

  /** Asks the peers of a connection to go to another gateway (RFC 5685). */
  async redirect(connection: string, gateway: string): Promise<void> {
    await this.vici.command('redirect', { ike: connection, gateway })
  }

  /** Deletes the IKE SAs of a connection, or a Child SA only. */
  async terminate(connection: string, child?: string): Promise<void> {
    const target: ViciSection = child === undefined ? { ike: connection } : { ike: connection, child }
    await this.vici.command('terminate', { ...target, timeout: '10000', loglevel: '-1' })
  }

  stats(): Promise<ViciSection> {
    return this.vici.command('stats')
  }

  /** How often an event of this name has come, for one connection if given. */
  countEvents(name: string, connection?: string): number {
    return this.events.filter(
      (event) => event.name === name && (connection === undefined || connection in event.section)
    ).length
  }

  get vici(): ViciConnection {
    if (this.#vici === undefined) throw new Error('charon is not running')
    return this.#vici
  }

  async #writeConfiguration(): Promise<void> {
    const { files } = this
    const { pki, credentials, swanctl, charon = {}, tls = {} } = this.#options
    await mkdir(files.run, { recursive: true })
    for (const [folder, names] of Object.entries(credentials)) {
      const directory = join(files.swanctl, folder)
      await mkdir(directory, { recursive: true })
      for (const name of names) await copyFile(pki.path(name), join(directory, name))
    }
    await mkdir(files.swanctl, { recursive: true })
    await writeFile(join(files.swanctl, 'swanctl.conf'), formatSettings(swanctl), { mode: 0o600 })
    await writeFile(files.strongswanConf, strongswanConf(files, charon, tls))
    await writeFile(files.resolvConf, '')
    await appendFile(files.log, '')
  }

  async #launch(): Promise<void> {
    const { files } = this
    const output = join(files.directory, 'charon.out')
    await rm(join(files.run, 'charon.pid'), { force: true })
    const isolate = 'mount --bind "$1" /run && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
    const argv = ['unshare', '--mount', 'sh', '-c', isolate, 'sh', files.run, files.resolvConf, CHARON]
    const daemon = new BackgroundProcess(this.#options.enter(argv), {
      log: output,
      env: { ...process.env, STRONGSWAN_CONF: files.strongswanConf }
    })
    this.#process = daemon
    this.#vici = await waitUntil('charon to answer', async () => {
      if (!daemon.running) throw new Error(`charon ended:\n${await daemon.output()}\n${await this.log()}`)
      return access(files.vici)
        .then(() => ViciConnection.open(files.vici))
        .catch(() => undefined)
    })
    await runCommand(['swanctl', '--load-all', '--noprompt', '--uri', `unix://${files.vici}`], {
      env: { ...process.env, STRONGSWAN_CONF: files.strongswanConf, SWANCTL_DIR: files.swanctl }
    })
    this.#eventSource = await ViciConnection.open(files.vici)
    this.#eventSource.onEvent((name, section) => this.events.push({ name, section }))
    for (const event of EVENTS) await this.#eventSource.register(event)
  }

  #disconnectVici(): void {
    this.#vici?.close()
    this.#eventSource?.close()
    this.#vici = undefined
    this.#eventSource = undefined
  }
}

const text = (section: ViciSection, key: string): string => {
  const value = section[key]
  return typeof value === 'string' ? value : ''
}

const list = (section: ViciSection, key: string): readonly string[] => {
  const value = section[key]
  return Array.isArray(value) ? (value as readonly string[]) : []
}

function ikeSaInfo(connection: string, section: ViciSection): IkeSaInfo {
  const children = (section['child-sas'] ?? {}) as ViciSection
  return {
    connection,
    uniqueId: text(section, 'uniqueid'),
    state: text(section, 'state'),
    initiatorSpi: text(section, 'initiator-spi'),
    responderSpi: text(section, 'responder-spi'),
    remoteId: text(section, 'remote-id'),
    remoteEapId: text(section, 'remote-eap-id') || undefined,
    remoteHost: text(section, 'remote-host'),
    remotePort: Number(text(section, 'remote-port')),
    virtualIps: list(section, 'remote-vips'),
    suite: suiteOf(section, 'prf-alg'),
    children: Object.values(children).map((child) => childSaInfo(child as ViciSection))
  }
}

function childSaInfo(section: ViciSection): ChildSaInfo {
  return {
    uniqueId: text(section, 'uniqueid'),
    state: text(section, 'state'),
    spiIn: text(section, 'spi-in'),
    spiOut: text(section, 'spi-out'),
    bytesIn: Number(text(section, 'bytes-in')),
    bytesOut: Number(text(section, 'bytes-out')),
    suite: suiteOf(section, undefined),
    localTs: list(section, 'local-ts'),
    remoteTs: list(section, 'remote-ts')
  }
}

function suiteOf(section: ViciSection, prf: string | undefined): string {
  const size = text(section, 'encr-keysize')
  const cipher = size === '' ? text(section, 'encr-alg') : `${text(section, 'encr-alg')}-${size}`
  const parts = [
    cipher,
    text(section, 'integ-alg'),
    prf === undefined ? '' : text(section, prf),
    text(section, 'dh-group')
  ]
  return parts.filter((part) => part !== '').join('/')
}
