/**
 * An ikestream gateway and an ikestream client in two namespaces of a lab (`dist/host/netlab.js`), with certificates made for the
 * occasion. Everything ends with the lab.
 * @module
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  createCertificateAuthority,
  issueClientCertificate,
  issueServerCertificate
} from '../../dist/crypto/certificate-authority.js'
import { LabProgram } from '../../dist/lab/program.js'

export const IKESTREAM = fileURLToPath(new URL('../../bin/ikestream.js', import.meta.url))
export const GATEWAY_NAME = 'gateway.bench.test'
export const CLIENT_NAME = 'client.bench.test'
/** The gateway's own address inside the tunnel: the first of its default pool. */
export const INNER_ADDRESS = '10.99.0.1'
/** Settings of Node that a developer's shell may have, and that cost time at each start: certificates are read, modules preloaded. */
const NODE_SETTINGS = ['NODE_EXTRA_CA_CERTS', 'NODE_OPTIONS']

/** Programs that this process starts are started as users start them. */
export function forgetNodeSettings() {
  for (const name of NODE_SETTINGS) delete process.env[name]
}

/** Only ends runs that hang. */
export const LIMIT_MS = 60_000

/**
 * Files for both ends in `directory`: `ca`, `gateway` and `client` (certificate and key in one).
 *
 * @param rsa makes `clientRsa` too, for programs that know no other keys; the others are ECDSA
 */
export function makeCredentials(directory, { rsa = false } = {}) {
  const now = Date.now()
  const validity = { notBeforeMs: now - 3_600_000, notAfterMs: now + 24 * 3_600_000 }
  const authority = createCertificateAuthority('Bench CA', validity)
  const file = (name, contents) => {
    const path = join(directory, name)
    writeFileSync(path, contents, { mode: 0o600 })
    return path
  }
  const both = ({ certificatePem, privateKeyPem }) => `${certificatePem}${privateKeyPem.revealText()}`
  return {
    ca: file('ca.pem', authority.certificatePem),
    gateway: file('gateway.pem', both(issueServerCertificate(authority, [GATEWAY_NAME], validity))),
    client: file('client.pem', both(issueClientCertificate(authority, [CLIENT_NAME], validity))),
    ...(rsa && {
      clientRsa: file(
        'client-rsa.pem',
        both(issueClientCertificate(authority, [CLIENT_NAME], validity, 'rsa'))
      )
    })
  }
}

/** @returns the gateway's `LabProgram`, listening on `address`; `args` are further options, `env` further variables, `program` another build's command */
export async function startGateway(
  namespace,
  { address, credentials, stateDirectory, args = [], env = {}, program: path = IKESTREAM }
) {
  const program = new LabProgram(
    'gateway',
    namespace,
    [
      ...[process.execPath, path, 'gateway', '--json', '--listen', address, '--identity', GATEWAY_NAME],
      ...['--certificate', credentials.gateway, '--client-cafile', credentials.ca, ...args]
    ],
    { IKESTREAM_STATE_DIR: stateDirectory, ...env }
  )
  await program.waitFor('listening', ({ event }) => event === 'listening', LIMIT_MS)
  return program
}

/** @returns the client's `LabProgram` and its `connected` line; `args` are further options, `env` further variables, `program` another build's command */
export async function startClient(
  namespace,
  { address, credentials, stateDirectory, args = [], env = {}, program: path = IKESTREAM }
) {
  const program = new LabProgram(
    'client',
    namespace,
    [
      ...[process.execPath, path, 'connect', address, '--json', '--non-inter', '--no-dns', '--no-proxy'],
      ...['--remote-identity', GATEWAY_NAME, '--certificate', credentials.client, '--cafile', credentials.ca],
      ...['--no-system-trust', ...args]
    ],
    { IKESTREAM_STATE_DIR: stateDirectory, ...env }
  )
  try {
    const connected = await program.waitFor('a connection', ({ event }) => event === 'connected', LIMIT_MS)
    return { program, connected }
  } catch (error) {
    await program.stop()
    throw error
  }
}
