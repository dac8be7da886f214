/**
 * What the options of `ikestream gateway` mean: files are read, names parsed, and the development certificate is made.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { loadTrustStore, subjectDn } from '../crypto/certificate.ts'
import { DEFAULT_IKE_PROPOSALS, DEFAULT_RESPONDER_ESP_PROPOSALS, parseProposals } from '../crypto/proposal.ts'
import { DataError, UsageError } from '../errors.ts'
import { developmentPki, ownNames } from '../gateway/development-pki.ts'
import { DEFAULT_POOLS, type GatewayOptions } from '../gateway/options.ts'
import { loadTicketKeys } from '../gateway/ticket-keys.ts'
import { readUsersFile } from '../gateway/users-file.ts'
import { hasIpv6 } from '../host/netlab.ts'
import { obtainSecret, parsePresharedKey } from '../host/secrets-input.ts'
import { formatIdentity, identityFromText } from '../ike/auth/identity.ts'
import type { Identity } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'
import { type Cidr, parseCidr } from '../wire/cidr.ts'
import { isDomainName } from '../wire/domain-name.ts'
import { IdType } from '../wire/ike-constants.ts'
import { readClusterFile } from './cluster-file.ts'
import { loadCertificateAndKey } from './credentials.ts'
import { readInput } from './files.ts'
import type { GatewayFlags } from './gateway-settings.ts'
import { socketSettings } from './socket-options.ts'

/**
 * Reads the files and makes the development certificate if there is no other.
 * @throws UsageError, ConfigurationError, InputError, DataError, SystemError
 */
export async function resolveGatewayOptions(
  flags: GatewayFlags,
  stateDirectory: string,
  log: Logger
): Promise<GatewayOptions> {
  const listen = (flags.listen ?? []).map((text) => addressOf(text, '--listen'))
  const psk = await presharedKey(flags.pskFile, log)
  const own = await ownCertificate(flags, listen, stateDirectory, log)
  return {
    ...own,
    listen,
    ports: { ike: flags.udpPort, natT: flags.natTPort, tcp: flags.tcpPort, tls: flags.tlsPort },
    udp: flags.udp,
    tcp: flags.tcp,
    tls: flags.tls,
    psk,
    users: flags.usersFile === undefined ? new Map() : await readUsersFile(flags.usersFile),
    clientTrust: clientTrust(flags.clientCafile ?? []),
    pools: pools(flags.pool),
    dns: (flags.dns ?? []).map((text) => addressOf(text, '--dns')),
    dnsDomains: (flags.dnsDomain ?? []).map(domainOf),
    localTs: (flags.localTs ?? []).map((text) => cidrOf(text, '--local-ts')),
    interfaceName: flags.interface,
    ikeProposals:
      flags.ikeProposal === undefined ? DEFAULT_IKE_PROPOSALS : parseProposals(flags.ikeProposal, 'ike'),
    espProposals:
      flags.espProposal === undefined
        ? DEFAULT_RESPONDER_ESP_PROPOSALS
        : parseProposals(flags.espProposal, 'esp'),
    timers: {
      ...(flags.ikeLifetime !== undefined && { ikeLifetimeMs: flags.ikeLifetime * 1000 }),
      ...(flags.childLifetime !== undefined && { childLifetimeMs: flags.childLifetime * 1000 })
    },
    authLifetimeMs: flags.authLifetime === undefined ? undefined : flags.authLifetime * 1000,
    ticketKeys: flags.tickets
      ? await loadTicketKeys(join(stateDirectory, 'gateway'), Date.now(), log)
      : undefined,
    redirect:
      flags.redirect === undefined ? undefined : { to: gatewayName(flags.redirect), at: flags.redirectAt },
    cookies: flags.cookies,
    maxHalfOpen: flags.maxHalfOpen,
    sockets: socketSettings(flags, log),
    limits: {},
    cluster: flags.cluster === undefined ? undefined : await readClusterFile(flags.cluster, log)
  }
}

async function presharedKey(path: string | undefined, log: Logger): Promise<GatewayOptions['psk']> {
  if (path === undefined) return undefined
  const request = { what: 'The pre-shared key', file: path, option: '--psk-file' }
  return parsePresharedKey(await obtainSecret(request, log))
}

async function ownCertificate(
  flags: GatewayFlags,
  listen: readonly string[],
  stateDirectory: string,
  log: Logger
): Promise<Pick<GatewayOptions, 'identity' | 'certificate' | 'cafile'>> {
  if (flags.certificate !== undefined) {
    const password =
      flags.keyPasswordFile === undefined
        ? undefined
        : await obtainSecret(
            { what: 'The password of the key', file: flags.keyPasswordFile, option: '--key-password-file' },
            log
          )
    const missing = (): never => {
      throw new UsageError('secret-needed', 'The private key is encrypted.', {
        hint: 'Give the file with its password with --key-password-file.'
      })
    }
    const certificate = await loadCertificateAndKey(flags.certificate, flags.sslkey, password, async () =>
      missing()
    )
    return {
      identity: certificateIdentity(flags.identity, certificate.chain),
      certificate,
      cafile: undefined
    }
  }
  if (flags.sslkey !== undefined)
    throw new UsageError('key-without-certificate', '--sslkey is of no use without --certificate.')
  const { host, addresses } = ownNames()
  const identity = identityFromText(flags.identity ?? host)
  const names = [...certifiableName(identity), ...(listen.length === 0 ? addresses : listen)]
  const [first = host, ...others] = [...new Set(names)]
  const directory = join(stateDirectory, 'gateway')
  return { identity, ...(await developmentPki(directory, [first, ...others], Date.now(), log)) }
}

/** Key IDs and distinguished names are no alternative names: the certificate then stands for the addresses alone. */
function certifiableName(identity: Identity): string[] {
  const { idType } = identity
  const types: readonly number[] = [IdType.FQDN, IdType.RFC822_ADDR, IdType.IPV4_ADDR, IdType.IPV6_ADDR]
  return types.includes(idType) ? [formatIdentity(identity)] : []
}

/** As asked, else the certificate's first DNS name, else its subject. */
function certificateIdentity(wanted: string | undefined, chain: readonly Uint8Array[]): Identity {
  if (wanted !== undefined) return identityFromText(wanted)
  const [leaf] = chain
  if (leaf === undefined) throw new DataError('certificate-unreadable', 'The file holds no certificate.')
  const name = /(?:^|, )DNS:([^,"]+)/.exec(new X509Certificate(leaf).subjectAltName ?? '')?.[1]
  return name === undefined ? { idType: IdType.DER_ASN1_DN, data: subjectDn(leaf) } : identityFromText(name)
}

function clientTrust(paths: readonly string[]): GatewayOptions['clientTrust'] {
  if (paths.length === 0) return undefined
  const cafiles = paths.map((path) => readInput(path, 'The CA file'))
  return loadTrustStore({ cafiles, useSystem: false })
}

/** Without `--pool` the default ones, as far as this machine has their families. */
function pools(given: readonly string[] | undefined): Cidr[] {
  const texts = given ?? DEFAULT_POOLS.filter((text) => !text.includes(':') || hasIpv6())
  return texts.map((text) => cidrOf(text, '--pool'))
}

function cidrOf(text: string, option: string): Cidr {
  const cidr = parseCidr(text)
  if (cidr === undefined)
    throw new UsageError('bad-network', `${option} ${text} is not a network.`, {
      hint: 'Examples: 10.99.0.0/24, fd00:99::/64.'
    })
  return cidr
}

function gatewayName(text: string): string {
  if (isDomainName(text) || addressToBytes(text) !== undefined) return text
  throw new UsageError('bad-gateway', `--redirect ${text} is neither an address nor a name.`, {
    hint: 'Examples: 203.0.113.7, vpn2.example.com.'
  })
}

function domainOf(text: string): string {
  if (isDomainName(text)) return text
  throw new UsageError('bad-domain', `--dns-domain ${text} is not a domain name.`, {
    hint: 'Example: corp.example.com. Names of other scripts are written in ASCII (xn--...).'
  })
}

function addressOf(text: string, option: string): string {
  const bytes = addressToBytes(text.replace(/^\[(.*)\]$/, '$1'))
  if (bytes === undefined)
    throw new UsageError('bad-address', `${option} ${text} is not an IP address.`, {
      hint: 'Names are not taken here: give the address itself.'
    })
  return addressFromBytes(bytes)
}
