/**
 * The site of `check`'s system tests: a gateway, a web server and name servers on a hotel network, and the command run on the
 * client's host, as a user without any privilege would run it.
 * @module
 */

import type { CheckDocument } from '../../src/check/document.ts'
import { createCertificateAuthority, issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { LabServices } from '../../src/host/services/lab-services.ts'
import type { PortalPlan, ServicePlan, TlsIdentity } from '../../src/host/services/types.ts'
import type { IkestreamProcess } from './ikestream-process.ts'
import { GATEWAY_NAME, IkestreamSite, validity } from './ikestream-site.ts'
import { schemaFaults, shippedSchema } from './json-schema.ts'
import type { LabHost } from './namespaces.ts'

export const WEB_NAME = 'web.lab'
export const PORTAL_NAME = 'portal.lab'
/** Served by the router itself: reached also where nothing is forwarded. */
export const API_NAME = 'api.lab'
/** Nobody's: only what the wall answers for. */
const PORTAL_ADDRESS = '198.18.66.66'
export const PORTAL_URL = `http://${WEB_NAME}/generate_204`
/** The gateway has one more name, which only DNS knows. */
export const DNS_NAME = 'vpn.lab.net'

const SCHEMA = shippedSchema('check.schema.json')

export interface CheckRun {
  readonly document: CheckDocument
  readonly exitCode: number
  readonly stderr: string
}

export class CheckSite {
  readonly site: IkestreamSite
  readonly web: LabHost
  readonly gateway: IkestreamProcess
  /** Ended by `restore`, and by `close`. */
  readonly #services: LabServices[] = []
  readonly #lasting: LabServices
  #runs = 0

  private constructor(site: IkestreamSite, web: LabHost, gateway: IkestreamProcess, lasting: LabServices) {
    this.site = site
    this.web = web
    this.gateway = gateway
    this.#lasting = lasting
  }

  static async open(): Promise<CheckSite> {
    const site = await IkestreamSite.open()
    const web = await site.hotel.addHost('outside', 'web')
    const { address, address6 } = site.hotel.gateway
    const listen = [address, ...(address6 === null ? [] : [address6])]
    const gateway = await site.startGateway(undefined, { listen })
    const plan: ServicePlan = { service: 'web', address: web.address, port: 80 }
    return new CheckSite(site, web, gateway, await LabServices.start(web.namespace, [plan]))
  }

  get hotel(): IkestreamSite['hotel'] {
    return this.site.hotel
  }

  /** Names as an honest name server knows them; `ipv4only.arpa` is the one everybody knows. */
  names(
    extra: Readonly<Record<string, readonly string[]>> = {}
  ): Readonly<Record<string, readonly string[]>> {
    const { gateway, client } = this.hotel
    return {
      [WEB_NAME]: [this.web.address],
      [PORTAL_NAME]: [PORTAL_ADDRESS],
      [API_NAME]: [client.router],
      [DNS_NAME]: [gateway.address],
      'ipv4only.arpa': ['192.0.0.170', '192.0.0.171'],
      ...extra
    }
  }

  /** The router's own services: a name server, and what else is named; ended by `restore`. */
  async onRouter(...plans: readonly ServicePlan[]): Promise<LabServices> {
    return this.#start(this.hotel.middle, plans)
  }

  /** Services that answer in the name of any address that is refused. */
  async onWall(...plans: readonly ServicePlan[]): Promise<LabServices> {
    return this.#start(this.hotel.wall, plans)
  }

  honestNames(extra: Readonly<Record<string, readonly string[]>> = {}): ServicePlan {
    return { service: 'names', address: this.hotel.client.router, names: this.names(extra) }
  }

  portal(manner: PortalPlan['manner'], address = '0.0.0.0', api?: TlsIdentity): PortalPlan {
    return { service: 'portal', address, port: 80, name: PORTAL_NAME, manner, api }
  }

  /** A certificate for any name, from the gateway's CA or from somebody's. */
  certificate(name: string, issuer = this.site.authority): TlsIdentity {
    const issued = issueServerCertificate(issuer, [name], validity())
    return { certificatePem: issued.certificatePem, keyPem: issued.privateKeyPem.revealText() }
  }

  certificateOf(organisation: string, name: string): TlsIdentity {
    return this.certificate(name, createCertificateAuthority(organisation, validity()))
  }

  /** Runs `check <server> --json` to its end. */
  async check(
    server: string = GATEWAY_NAME,
    args: readonly string[] = [],
    env: Readonly<Record<string, string>> = {}
  ): Promise<CheckRun> {
    const program = this.site.start(
      this.site.client,
      ['check', server, '--json', '--portal-url', PORTAL_URL, ...args],
      { stateDirectory: `${this.site.directory}/check-${this.#runs++}`, env, wrapper: UNPRIVILEGED }
    )
    const exitCode = await program.exit
    const [line, ...more] = program.strayOutput
    if (line === undefined || more.length > 0)
      throw new Error(`expected one document\n${program.transcript()}`)
    const document = JSON.parse(line) as CheckDocument
    const faults = schemaFaults(SCHEMA, document)
    if (faults.length > 0) throw new Error(`the document does not fit its schema:\n${faults.join('\n')}`)
    if (document.verdict.exitCode !== exitCode)
      throw new Error(`it says ${document.verdict.exitCode}, and exits with ${exitCode}`)
    return { document, exitCode, stderr: program.stderr }
  }

  /** The same for people. */
  async checkText(server: string = GATEWAY_NAME, args: readonly string[] = []): Promise<string> {
    const program = this.site.start(
      this.site.client,
      ['check', server, '--portal-url', PORTAL_URL, ...args],
      {
        stateDirectory: `${this.site.directory}/check-${this.#runs++}`,
        wrapper: UNPRIVILEGED
      }
    )
    await program.exit
    return program.strayOutput.join('\n')
  }

  /** Starts `check --watch`; its lines come as `strayOutput`. */
  watch(server: string, args: readonly string[]): IkestreamProcess {
    return this.site.start(
      this.site.client,
      ['check', server, '--portal-url', PORTAL_URL, '--watch', '1', ...args],
      {
        stateDirectory: `${this.site.directory}/check-${this.#runs++}`,
        wrapper: UNPRIVILEGED
      }
    )
  }

  async restore(): Promise<void> {
    await Promise.all(this.#services.splice(0).map((services) => services.close()))
    await this.hotel.restore()
  }

  async close(): Promise<void> {
    await this.restore()
    await this.#lasting.close()
    await this.site.close()
  }

  async #start(namespace: IkestreamSite['client'], plans: readonly ServicePlan[]): Promise<LabServices> {
    const services = await LabServices.start(namespace, plans)
    this.#services.push(services)
    return services
  }
}

/** Nobody's privileges: neither capabilities nor a way to get them. */
const UNPRIVILEGED = ['setpriv', '--inh-caps=-all', '--bounding-set=-all', '--no-new-privs', '--']
