/**
 * The folder of a lab: keys, secrets, the state of its programs, and a launcher for `ikestream`. Removed with the lab, or by a later
 * one when it was killed.
 * @module
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCertificateAuthority, issueServerCertificate } from '../crypto/certificate-authority.ts'
import { packageFile } from '../host/package-file.ts'
import type { TlsIdentity } from '../host/services/types.ts'
import { PASSWORD, PSK, SERVER_NAME, USER } from './plan.ts'

export const IKESTREAM = packageFile('bin/ikestream.js')
const HOUR_MS = 3_600_000
const SCRATCH_PREFIX = 'ikestream-lab-'
const LEFTOVER_AGE_MS = HOUR_MS

export class LabFolder {
  readonly #directory: string

  private constructor(directory: string) {
    this.#directory = directory
  }

  static async make(): Promise<LabFolder> {
    await removeLeftovers()
    return new LabFolder(await mkdtemp(join(tmpdir(), `${SCRATCH_PREFIX}${process.pid}-`)))
  }

  path(name: string): string {
    return join(this.#directory, name)
  }

  /** @returns the identity of whoever reads along */
  async write(): Promise<{ interceptor: TlsIdentity }> {
    const validity = { notBeforeMs: Date.now() - HOUR_MS, notAfterMs: Date.now() + 24 * HOUR_MS }
    const authority = createCertificateAuthority('Lab CA', validity)
    const issued = issueServerCertificate(authority, [SERVER_NAME], validity)
    const secret = (name: string, text: string): Promise<void> =>
      writeFile(this.path(name), text, { mode: 0o600 })
    await Promise.all(
      ['client-etc', 'router-etc', 'bin', 'client', 'gateway'].map((name) => mkdir(this.path(name)))
    )
    await Promise.all([
      secret('ca.pem', authority.certificatePem),
      secret('gateway.pem', issued.certificatePem),
      secret('gateway.key', issued.privateKeyPem.revealText()),
      secret('users', `${USER}:${PASSWORD}\n`),
      secret('password', `${PASSWORD}\n`),
      secret('psk', `${PSK}\n`),
      writeFile(this.path('bin/ikestream'), launcher(), { mode: 0o755 })
    ])
    const other = createCertificateAuthority('Nosy Networks', validity)
    const forged = issueServerCertificate(other, [SERVER_NAME], validity)
    return {
      interceptor: { certificatePem: forged.certificatePem, keyPem: forged.privateKeyPem.revealText() }
    }
  }

  /** May be called again. */
  async remove(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true })
  }
}

/** Folders of labs that were killed; a process of this number may also be in another container that shares the folder. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    const pid = name.startsWith(SCRATCH_PREFIX)
      ? /^\d+/.exec(name.slice(SCRATCH_PREFIX.length))?.[0]
      : undefined
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue
    const path = join(tmpdir(), name)
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
    if (Date.now() - mtimeMs > LEFTOVER_AGE_MS)
      await rm(path, { recursive: true, force: true }).catch(() => undefined)
  }
}

function launcher(): string {
  return `#!/bin/sh\nexec '${process.execPath}' '${IKESTREAM}' "$@"\n`
}
