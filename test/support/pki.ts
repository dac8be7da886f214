/**
 * Certification authorities, certificates and revocation lists for the interoperability tests, made with `openssl`.
 *
 * One set serves a whole test run: the first test that asks makes it, under the run's own directory (see
 * `run-directory.ts`), the others wait for it.
 * Two chains of each key family, `root -> int-<family>-gw -> gw-*` and `root -> int-<family>-cl -> cl-*`, so that each
 * side knows the other's root only and must be sent the rest; one chain of RSA-4096 with three intermediates,
 * which needs IKE fragments; and bad certificates: expired, revoked, for another name, under an unknown root.
 * @module
 */
import { generateKeyPair } from 'node:crypto'
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { runCommand } from './run-command.ts'
import { runDirectory } from './run-directory.ts'
import { waitUntil } from './wait-until.ts'

/** Password of every `cl-*.p12`. */
export const P12_PASSWORD = 'p12 test password'

/** Names that the gateway's certificate of the RSA family answers to, one a connection of `strongswan.ts`. */
export const GATEWAY_DOMAIN = 'gw.test'

type KeyKind = 'rsa2048' | 'rsa4096' | 'ec256' | 'ec384' | 'ed25519'

interface LeafSpec {
  readonly name: string
  readonly kind: KeyKind
  readonly issuer: string
  readonly dnsNames: readonly string[]
  readonly usage: 'serverAuth' | 'clientAuth'
  readonly expired?: boolean
  readonly revoked?: boolean
}

interface AuthoritySpec {
  readonly name: string
  readonly kind: KeyKind
  /** Absent: self-signed. */
  readonly issuer?: string
}

const AUTHORITIES: readonly AuthoritySpec[] = [
  ...(['rsa', 'ec', 'ed'] as const).flatMap((family): AuthoritySpec[] => {
    const kind: KeyKind = family === 'rsa' ? 'rsa2048' : family === 'ec' ? 'ec384' : 'ed25519'
    return [
      { name: `root-${family}`, kind },
      { name: `int-${family}-gw`, kind, issuer: `root-${family}` },
      { name: `int-${family}-cl`, kind, issuer: `root-${family}` }
    ]
  }),
  { name: 'root-long', kind: 'rsa4096' },
  { name: 'int-long-1', kind: 'rsa4096', issuer: 'root-long' },
  { name: 'int-long-2', kind: 'rsa4096', issuer: 'int-long-1' },
  { name: 'int-long-3', kind: 'rsa4096', issuer: 'int-long-2' },
  { name: 'root-evil', kind: 'ec256' }
]

const gatewayNames = (...names: string[]): string[] => names.map((name) => `${name}.${GATEWAY_DOMAIN}`)

const LEAVES: readonly LeafSpec[] = [
  {
    name: 'gw-rsa',
    kind: 'rsa2048',
    issuer: 'int-rsa-gw',
    dnsNames: gatewayNames('rsa', 'rsapss', 'eap-mschapv2', 'eap-tls', 'rsa-psk'),
    usage: 'serverAuth'
  },
  leaf('gw-ec256', 'ec256', 'int-ec-gw', gatewayNames('ecdsa256')),
  leaf('gw-ec384', 'ec384', 'int-ec-gw', gatewayNames('ecdsa384')),
  leaf('gw-ed', 'ed25519', 'int-ed-gw', gatewayNames('ed25519')),
  leaf('gw-long', 'rsa4096', 'int-long-3', gatewayNames('long', 'long-psk')),
  leaf('gw-other', 'ec256', 'int-ec-gw', ['other.example']),
  leaf('gw-evil', 'ec256', 'root-evil', gatewayNames('evil', 'evil-eap')),
  { ...leaf('gw-expired', 'ec256', 'int-ec-gw', gatewayNames('expired')), expired: true },
  { ...leaf('gw-revoked', 'ec256', 'int-ec-gw', gatewayNames('revoked')), revoked: true },
  leaf('cl-rsa', 'rsa2048', 'int-rsa-cl', ['cl-rsa.test']),
  leaf('cl-ec256', 'ec256', 'int-ec-cl', ['cl-ec256.test']),
  leaf('cl-ec384', 'ec384', 'int-ec-cl', ['cl-ec384.test']),
  leaf('cl-ed', 'ed25519', 'int-ed-cl', ['cl-ed.test']),
  leaf('cl-long', 'rsa4096', 'int-long-3', ['cl-long.test']),
  leaf('cl-evil', 'ec256', 'root-evil', ['cl-evil.test']),
  { ...leaf('cl-expired', 'ec256', 'int-ec-cl', ['cl-expired.test']), expired: true },
  { ...leaf('cl-revoked', 'ec256', 'int-ec-cl', ['cl-revoked.test']), revoked: true }
]

function leaf(name: string, kind: KeyKind, issuer: string, dnsNames: readonly string[]): LeafSpec {
  return { name, kind, issuer, dnsNames, usage: name.startsWith('gw-') ? 'serverAuth' : 'clientAuth' }
}

export interface Pki {
  readonly directory: string
  /**
   * @param file for each name `<name>.pem`, `<name>.key`; for a leaf also `<name>.chain.pem` (with the intermediates); for
   * each `cl-` leaf `<name>.p12`; for each intermediate `<name>.crl.pem`
   * @returns the absolute path
   */
  path(file: string): string
}

/** The run's certificates, made on the first call of the run (a few seconds, most of it RSA-4096 keys). */
export async function testPki(): Promise<Pki> {
  const directory = join(await runDirectory(), 'pki')
  const building = `${directory}.building`
  try {
    await mkdir(building)
  } catch {
    await waitUntil('the certificates of another worker', () => exists(join(directory, 'done')), 60_000)
    return pkiAt(directory)
  }
  // the marker directory stays, so that every later call takes the branch above
  const staging = `${directory}.staging`
  await mkdir(staging)
  try {
    await buildPki(staging)
    await writeFile(join(staging, 'done'), '')
    await rename(staging, directory)
  } catch (error) {
    await rm(staging, { recursive: true, force: true })
    await rm(building, { recursive: true, force: true })
    throw error
  }
  return pkiAt(directory)
}

function pkiAt(directory: string): Pki {
  return { directory, path: (file) => join(directory, file) }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false
  )
}

async function buildPki(directory: string): Promise<void> {
  await Promise.all([...AUTHORITIES, ...LEAVES].map((spec) => writeKey(directory, spec.name, spec.kind)))
  for (const authority of AUTHORITIES) await makeAuthority(directory, authority)
  for (const spec of LEAVES) await makeLeaf(directory, spec)
  for (const { name, issuer } of AUTHORITIES) if (issuer !== undefined) await makeCrl(directory, name)
}

async function writeKey(directory: string, name: string, kind: KeyKind): Promise<void> {
  const { privateKey } = await newKeyPair(kind)
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
  await writeFile(join(directory, `${name}.key`), pem, { mode: 0o600 })
}

function newKeyPair(kind: KeyKind): ReturnType<typeof generate> {
  return generate(kind)
}

const rsaKeyPair = promisify(generateKeyPair)

function generate(kind: KeyKind) {
  switch (kind) {
    case 'rsa2048':
      return rsaKeyPair('rsa', { modulusLength: 2048 })
    case 'rsa4096':
      return rsaKeyPair('rsa', { modulusLength: 4096 })
    case 'ec256':
      return rsaKeyPair('ec', { namedCurve: 'P-256' })
    case 'ec384':
      return rsaKeyPair('ec', { namedCurve: 'P-384' })
    case 'ed25519':
      return rsaKeyPair('ed25519', {})
  }
}

const subjectOf = (name: string): string => `/C=XX/O=Test/CN=${name}`

async function makeAuthority(directory: string, spec: AuthoritySpec): Promise<void> {
  const { name, issuer } = spec
  const extensions = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n'
  if (issuer === undefined) {
    await openssl(directory, [
      ...[
        'req',
        '-x509',
        '-new',
        '-key',
        `${name}.key`,
        '-subj',
        subjectOf(name),
        '-days',
        '3650',
        '-sha384'
      ],
      ...['-config', await writeRequestConfig(directory), '-out', `${name}.pem`]
    ])
  } else {
    await issue(directory, name, issuer, extensions, {})
  }
  await writeAuthorityConfig(directory, name)
}

async function makeLeaf(directory: string, spec: LeafSpec): Promise<void> {
  const extensions = [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    `extendedKeyUsage=${spec.usage}`,
    `subjectAltName=${spec.dnsNames.map((name) => `DNS:${name}`).join(',')}`
  ].join('\n')
  await issue(directory, spec.name, spec.issuer, `${extensions}\n`, spec)
  const chain = await chainOf(directory, spec.issuer)
  const certificate = await readFile(join(directory, `${spec.name}.pem`), 'utf8')
  await writeFile(join(directory, `${spec.name}.chain.pem`), [certificate, ...chain].join(''))
  if (spec.revoked === true)
    await openssl(directory, ['ca', '-config', `${spec.issuer}.cnf`, '-revoke', `${spec.name}.pem`])
  if (spec.usage === 'clientAuth') {
    await openssl(directory, [
      ...['pkcs12', '-export', '-in', `${spec.name}.chain.pem`, '-inkey', `${spec.name}.key`],
      ...['-out', `${spec.name}.p12`, '-passout', `pass:${P12_PASSWORD}`]
    ])
  }
}

/** The intermediates from `issuer` upwards, without the root. */
async function chainOf(directory: string, issuer: string): Promise<string[]> {
  const chain: string[] = []
  let spec = AUTHORITIES.find((authority) => authority.name === issuer)
  while (spec?.issuer !== undefined) {
    chain.push(await readFile(join(directory, `${spec.name}.pem`), 'utf8'))
    const above: string = spec.issuer
    spec = AUTHORITIES.find((authority) => authority.name === above)
  }
  return chain
}

async function issue(
  directory: string,
  name: string,
  issuer: string,
  extensions: string,
  { expired = false }: { readonly expired?: boolean }
): Promise<void> {
  await writeFile(join(directory, `${name}.ext`), extensions)
  const request = ['-key', `${name}.key`, '-subj', subjectOf(name), '-out', `${name}.csr`]
  await openssl(directory, ['req', '-new', ...request, '-config', await writeRequestConfig(directory)])
  const validity = expired
    ? ['-startdate', '20200101000000Z', '-enddate', '20210101000000Z']
    : ['-startdate', '20240101000000Z', '-enddate', '20491231235959Z']
  await openssl(directory, [
    ...['ca', '-batch', '-notext', '-config', `${issuer}.cnf`, '-extfile', `${name}.ext`],
    ...['-in', `${name}.csr`, '-out', `${name}.pem`, ...validity]
  ])
}

async function makeCrl(directory: string, issuer: string): Promise<void> {
  await openssl(directory, [
    'ca',
    '-config',
    `${issuer}.cnf`,
    '-gencrl',
    '-crldays',
    '3650',
    '-out',
    `${issuer}.crl.pem`
  ])
}

async function writeRequestConfig(directory: string): Promise<string> {
  const text = `[req]
distinguished_name = subject
x509_extensions = root
[subject]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
`
  await writeFile(join(directory, 'request.cnf'), text)
  return 'request.cnf'
}

async function writeAuthorityConfig(directory: string, name: string): Promise<void> {
  const text = `[ca]
default_ca = this
[this]
database = ${name}.index
new_certs_dir = .
certificate = ${name}.pem
private_key = ${name}.key
rand_serial = yes
unique_subject = no
default_md = sha384
policy = anything
crl_extensions = crl
[anything]
countryName = optional
organizationName = optional
commonName = supplied
[crl]
authorityKeyIdentifier = keyid
`
  await writeFile(join(directory, `${name}.cnf`), text)
  await writeFile(join(directory, `${name}.index`), '')
}

async function openssl(directory: string, args: readonly string[]): Promise<void> {
  await runCommand(['openssl', ...args], { cwd: directory })
}
