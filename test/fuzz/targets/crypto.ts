/**
 * Targets of DER, certificates, keys, identities and proposals.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import {
  describeCertificate,
  parseCertificates,
  publicKeyHash,
  subjectDn,
  validateCertificatePath
} from '../../../src/crypto/certificate.ts'
import {
  certificateFields,
  hasSubjectAltName,
  subjectKeyIdentifier
} from '../../../src/crypto/certificate-fields.ts'
import { certificateCarries } from '../../../src/crypto/certificate-identity.ts'
import { clipped } from '../../../src/crypto/certificate-text.ts'
import { openSignedMessage } from '../../../src/crypto/cms.ts'
import { loadPkcs12, loadPrivateKey } from '../../../src/crypto/credentials.ts'
import {
  derInteger,
  derOctetString,
  derOid,
  derSequence,
  readDer,
  readDerAll,
  readDerSequence
} from '../../../src/crypto/der.ts'
import { roundsOfKeyInfo } from '../../../src/crypto/kdf-work.ts'
import { prfById } from '../../../src/crypto/prf.ts'
import {
  formatChosenSuite,
  parseEspProposal,
  parseIkeProposal,
  parseProposals
} from '../../../src/crypto/proposal.ts'
import { chooseProposal, verifyChosen } from '../../../src/crypto/proposal-choice.ts'
import { verifySignatureAuth } from '../../../src/crypto/signature.ts'
import { schemeOfAlgorithm } from '../../../src/crypto/signature-scheme.ts'
import { loadTrustStore, parseCrls, toPem } from '../../../src/crypto/trust-store.ts'
import { verifyAuth } from '../../../src/ike/auth/authenticator.ts'
import {
  commonNameOf,
  encodeDistinguishedName,
  formatDistinguishedName,
  sameDistinguishedName
} from '../../../src/ike/auth/distinguished-name.ts'
import {
  formatIdentity,
  identityFromText,
  identityMatches,
  sameIdentity
} from '../../../src/ike/auth/identity.ts'
import { certificateUserNames, eapTlsIdentity } from '../../../src/ike/eap/tls-identity.ts'
import { Secret } from '../../../src/secret.ts'
import { PrfId } from '../../../src/wire/ike-constants.ts'
import keyFiles from '../../vectors/key-files.json' with { type: 'json' }
import odd from '../../vectors/odd-certificates.json' with { type: 'json' }
import {
  bounded,
  type FuzzTarget,
  holds,
  refusing,
  refusingAsync,
  same,
  textOf,
  texts,
  utf8
} from '../target.ts'

const fromBase64 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'))
const certificates = (): Uint8Array[] => Object.values(odd.certificates).map(fromBase64)
const files = (wanted: RegExp): Uint8Array[] =>
  Object.entries(keyFiles.files)
    .filter(([name]) => wanted.test(name))
    .map(([, text]) => fromBase64(text))

/** Certificates under one more than the PKI that the vectors are of. */
const ROOT = fromBase64(odd.certificates.ca)
const NOW_MS = Date.UTC(2030, 0, 1)
const PASSWORD = new Secret('hunter2')
const OIDS = ['2.5.4.3', '1.2.840.113549.1.1.10', '2.16.840.1.101.3.4.2.1', '1.2.840.113549.1.5.13'].map(
  derOid
)
/** Elements of DER, whole and with lengths that lie. */
const DER_WORDS = [
  ...OIDS,
  derOctetString(new Uint8Array(3)),
  derInteger(65537),
  Uint8Array.of(0x30, 0x80),
  Uint8Array.of(0x30, 0x82),
  Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff),
  Uint8Array.of(0x30, 0x84, 0x7f, 0xff, 0xff, 0xff),
  Uint8Array.of(0x30, 2, 0x30, 0),
  Uint8Array.of(0, 0),
  Uint8Array.of(0x1f, 0xff, 0xff),
  Uint8Array.of(0x02, 0x81, 0x80),
  Uint8Array.of(0x14, 1, 0xe9),
  Uint8Array.of(0x1e, 2, 0xd8, 0)
]

const derElements: FuzzTarget = {
  name: 'der',
  covers: ['crypto/der.ts#readDer', 'crypto/der.ts#readDerAll', 'crypto/der.ts#readDerSequence'],
  weight: 8,
  corpus: () => [...certificates(), ...files(/der$|p12$/)],
  dictionary: DER_WORDS,
  open: () => (input) => {
    const element = readDer(input)
    if (element !== undefined) {
      holds(element.encoding.length <= input.length, 'an element lies inside')
      const again = readDer(element.encoding)
      holds(again !== undefined && same(again.contents, element.contents), 'an element is one on its own')
    }
    const all = readDerAll(input)
    if (all !== undefined) {
      const length = all.reduce((sum, { encoding }) => sum + encoding.length, 0)
      holds(length === input.length, 'elements add up to the whole')
    }
    const parts = readDerSequence(input)
    if (parts !== undefined)
      holds(
        same(derSequence(...parts.map(({ encoding }) => encoding)), input),
        'a sequence is written as it was read'
      )
  }
}

const certificateParts: FuzzTarget = {
  name: 'certificate-fields',
  covers: [
    'crypto/certificate-fields.ts#certificateFields',
    'crypto/certificate-fields.ts#subjectKeyIdentifier',
    'crypto/certificate-fields.ts#hasSubjectAltName',
    'ike/eap/tls-identity.ts#certificateUserNames',
    'ike/eap/tls-identity.ts#eapTlsIdentity'
  ],
  weight: 3,
  corpus: certificates,
  dictionary: DER_WORDS,
  open: () => (input) => {
    const fields = certificateFields(input)
    if (fields === undefined) return
    hasSubjectAltName(fields)
    subjectKeyIdentifier(fields)
    publicKeyHash(input)
    const names = certificateUserNames(input)
    bounded(names, input)
    for (const name of names) holds(!/\p{Cc}/u.test(name), 'a name has no control characters')
    eapTlsIdentity(input, 'alice@example.org')
  }
}

const certificateReading: FuzzTarget = {
  name: 'certificate',
  covers: [
    'crypto/certificate.ts#describeCertificate',
    'crypto/certificate.ts#subjectDn',
    'crypto/certificate-identity.ts#certificateCarries',
    'crypto/certificate-text.ts#clipped'
  ],
  weight: 0.3,
  corpus: certificates,
  dictionary: DER_WORDS,
  open: () => (input) => {
    const described = refusing(() => describeCertificate(input))
    if (described !== undefined) bounded(described, input)
    refusing(() => subjectDn(input))
    clipped(textOf(input))
    let certificate: X509Certificate
    try {
      certificate = new X509Certificate(input)
    } catch {
      return
    }
    for (const text of ['gw.example.org', 'alice@example.org', '198.51.100.7', 'CN=gw', '@#01020304'])
      certificateCarries(certificate, identityFromText(text))
  }
}

const certificatePath: FuzzTarget = {
  name: 'certificate-path',
  covers: [
    'crypto/certificate.ts#validateCertificatePath',
    'crypto/certificate-path.ts#verifyPath',
    'crypto/certificate-path.ts#sameName',
    'crypto/certificate-fault.ts#explainPathError',
    'ike/auth/authenticator.ts#verifyAuth'
  ],
  weight: 0.1,
  corpus: certificates,
  dictionary: DER_WORDS,
  open: () => {
    const crl = fromBase64(odd.crl)
    const leaf = fromBase64(odd.certificates.ec)
    const prf = prfById(PrfId.HMAC_SHA2_256)
    if (prf === undefined) throw new Error('no PRF')
    return (input, random) => {
      const identity = identityFromText('gw.example.org')
      const common = { atMs: NOW_MS, identity, purpose: 'server' as const }
      const trust = { anchors: [ROOT], crls: [] }
      const hostile = [
        { ...common, leaf: input, intermediates: [ROOT], trust },
        { ...common, leaf, intermediates: [input, ROOT], trust: { anchors: [ROOT], crls: [crl] } },
        { ...common, leaf, intermediates: [], trust: { anchors: [input], crls: [] } },
        { ...common, leaf, intermediates: [], trust: { anchors: [ROOT], crls: [input] } }
      ]
      const request = hostile[random.below(hostile.length)]
      if (request === undefined) return
      const verdict = validateCertificatePath(request)
      bounded(verdict.ok ? verdict.chainNames : verdict.message, input, 4, 2_000)
      const auth = verifyAuth(
        { method: 'certificate', trust },
        { prf, octets: utf8('octets') },
        {
          method: 14,
          data: input,
          identity: { idType: 9, data: input.subarray(0, 200) },
          certificates: [input, leaf],
          atMs: NOW_MS,
          acceptedHashes: [2, 3, 4],
          purpose: 'server'
        }
      )
      holds(!auth.ok, 'nobody has signed this')
    }
  }
}

const pem: FuzzTarget = {
  name: 'pem-files',
  covers: [
    'crypto/trust-store.ts#parseCertificates',
    'crypto/trust-store.ts#parseCrls',
    'crypto/trust-store.ts#loadTrustStore'
  ],
  weight: 0.3,
  maxLength: 20_000,
  corpus: () => [
    ...files(/pem$/),
    ...certificates(),
    fromBase64(odd.crl),
    utf8(toPem('X509 CRL', fromBase64(odd.crl))),
    utf8(
      certificates()
        .map((certificate) => toPem('CERTIFICATE', certificate))
        .join('# comment\n')
    )
  ],
  dictionary: [
    '-----BEGIN CERTIFICATE-----\n',
    '-----END CERTIFICATE-----\n',
    '-----BEGIN ',
    '-----END ',
    '-----',
    '====',
    '\0',
    '\r'
  ],
  open: () => (input) => {
    const found = refusing(() => parseCertificates(input))
    bounded(found ?? [], input, 4)
    bounded(refusing(() => parseCrls(input)) ?? [], input, 4)
    refusing(() => loadTrustStore({ cafiles: [input], crlfiles: [], useSystem: false }))
    loadTrustStore({ cafiles: [], useSystem: true, systemBundles: [input] })
  }
}

const privateKey: FuzzTarget = {
  name: 'private-key',
  covers: ['crypto/credentials.ts#loadPrivateKey', 'crypto/kdf-work.ts#roundsOfKeyInfo'],
  weight: 0.2,
  maxLength: 8192,
  corpus: () => files(/key$|der$|enc$|pkcs1$|sec1$|enc\.der$|combined/),
  dictionary: [
    ...DER_WORDS,
    '-----BEGIN PRIVATE KEY-----\n',
    '-----END PRIVATE KEY-----\n',
    '-----BEGIN ENCRYPTED PRIVATE KEY-----\n',
    'Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n'
  ],
  open: () => (input) => {
    roundsOfKeyInfo(input)
    refusing(() => loadPrivateKey(input))
    refusing(() => loadPrivateKey(input, PASSWORD))
  }
}

const pkcs12: FuzzTarget = {
  name: 'pkcs12',
  covers: ['crypto/credentials.ts#loadPkcs12', 'crypto/pkcs12.ts#readPkcs12'],
  weight: 0.02,
  maxLength: 8192,
  // Both without their MAC: else everything ends there.
  corpus: () => [...files(/p12$/), ...files(/p12$/).map(withoutMac)],
  dictionary: DER_WORDS,
  open: () => async (input) => {
    await refusingAsync(() => loadPkcs12(input, PASSWORD))
  }
}

/** A PFX is version, contents, and perhaps a MAC over the contents (RFC 7292 section 4). */
function withoutMac(bytes: Uint8Array): Uint8Array {
  const parts = readDerSequence(bytes) ?? []
  return Uint8Array.from(derSequence(...parts.slice(0, 2).map(({ encoding }) => encoding)))
}

const signedMessage: FuzzTarget = {
  name: 'cms-signed-message',
  covers: ['crypto/cms.ts#openSignedMessage'],
  weight: 1,
  maxLength: 8192,
  corpus: () => [fromBase64(odd.cms), ...certificates().slice(0, 2)],
  dictionary: DER_WORDS,
  open: () => (input) => {
    bounded(openSignedMessage(input), input, 4)
  }
}

const signature: FuzzTarget = {
  name: 'auth-signature',
  covers: ['crypto/signature.ts#verifySignatureAuth', 'crypto/signature-scheme.ts#schemeOfAlgorithm'],
  weight: 2,
  corpus: () => {
    const algorithms = [
      '300d06092a864886f70d01010b0500',
      '300a06082a8648ce3d040302',
      '300506032b6570',
      '304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120'
    ].map((hex) => Buffer.from(hex, 'hex'))
    return algorithms.map((algorithm) =>
      Uint8Array.from([algorithm.length, ...algorithm, ...new Uint8Array(256).fill(1)])
    )
  },
  dictionary: DER_WORDS,
  open: () => {
    const keys = certificates().map((certificate) => new X509Certificate(certificate).publicKey)
    const octets = utf8('octets')
    return (input, random) => {
      schemeOfAlgorithm(input.subarray(1, 1 + (input[0] ?? 0)))
      const key = keys[random.below(keys.length)]
      if (key === undefined) return
      const method = [1, 9, 10, 11, 14][random.below(5)] ?? 14
      const verdict = verifySignatureAuth(key, method, input, octets)
      holds(!verdict.ok, 'nobody has signed this')
      bounded(verdict.reason, input, 0, 400)
    }
  }
}

const names = [
  'C=CH, O=Example, CN=gw',
  '/C=CH/O=Ex\\/ample/CN=gw',
  'CN=a\\, b, E=root@example.org',
  '2.5.4.3=x'
]

const distinguishedName: FuzzTarget = {
  name: 'distinguished-name',
  covers: [
    'ike/auth/distinguished-name.ts#formatDistinguishedName',
    'ike/auth/distinguished-name.ts#sameDistinguishedName',
    'ike/auth/distinguished-name.ts#commonNameOf'
  ],
  weight: 3,
  corpus: () => [
    ...names.map((text) => encodeDistinguishedName(text) ?? new Uint8Array(0)),
    ...certificates().map((certificate) => certificateFields(certificate)?.subject ?? new Uint8Array(0))
  ],
  dictionary: DER_WORDS,
  open: () => {
    const other = encodeDistinguishedName(names[0] ?? '') ?? new Uint8Array(0)
    return (input) => {
      const text = formatDistinguishedName(input)
      commonNameOf(input)
      sameDistinguishedName(input, other)
      holds(sameDistinguishedName(input, input.slice()), 'a name is the same as itself')
      if (text === undefined) return
      bounded(text, input)
      const again = encodeDistinguishedName(text)
      if (again !== undefined) bounded(again, input)
    }
  }
}

const identity: FuzzTarget = {
  name: 'identity',
  covers: [
    'ike/auth/identity.ts#formatIdentity',
    'ike/auth/identity.ts#identityFromText',
    'ike/auth/identity.ts#identityMatches',
    'ike/auth/identity.ts#sameIdentity'
  ],
  weight: 3,
  corpus: () => [
    ...[1, 2, 3, 5, 9, 11].flatMap((type) =>
      ['gw.example.org', 'alice@example.org', '*.example.org', '\xc6\x33\x64\x07', '@#0102', ...names].map(
        (text) => Uint8Array.of(type, ...Buffer.from(text, 'latin1'))
      )
    ),
    ...names.map((text) => Uint8Array.of(9, ...(encodeDistinguishedName(text) ?? [])))
  ],
  dictionary: [
    '@',
    '@@',
    '@#',
    '#',
    'fqdn:',
    'asn1dn:',
    'ipv6:',
    'keyid:#',
    '=',
    ',',
    '\\',
    '*.',
    '*@',
    '\0',
    '\u202e',
    ...names
  ],
  open: () => (input) => {
    const value = { idType: input[0] ?? 0, data: input.slice(1) }
    const text = formatIdentity(value)
    bounded(text, input)
    holds(!/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text), 'an identity is one line')
    const parsed = refusing(() => identityFromText(text))
    if (!text.startsWith('id-type-') && value.data.length > 0) {
      holds(parsed !== undefined, `${text} can be read`)
      holds(sameIdentity(parsed, value), `${text} is what it was made of`)
    }
    holds(sameIdentity(value, value), 'an identity is the same as itself')
    identityMatches(value, identityFromText('gw.example.org'))
    refusing(() => identityFromText(textOf(value.data)))
  }
}

const proposals: FuzzTarget = {
  name: 'proposal-text',
  covers: [
    'crypto/proposal.ts#parseIkeProposal',
    'crypto/proposal.ts#parseEspProposal',
    'crypto/proposal.ts#parseProposals',
    'crypto/proposal.ts#formatChosenSuite',
    'crypto/proposal-choice.ts#chooseProposal',
    'crypto/proposal-choice.ts#verifyChosen'
  ],
  weight: 1,
  maxLength: 600,
  corpus: () =>
    texts(
      'aes256gcm16-prfsha384-ecp384',
      'aes128-sha256-modp2048',
      'aes256gcm16-esn-noesn',
      'chacha20poly1305-x25519!'
    ),
  dictionary: [
    'aes',
    'aes128',
    'sha',
    'prfsha256',
    '-',
    '--',
    'modp',
    '2048',
    'x25519',
    '__proto__',
    'constructor',
    '\0',
    '!'
  ],
  open: () => {
    const own = parseProposals(['aes256gcm16-prfsha384-ecp384', 'aes128-sha256-modp2048'], 'ike')
    return (input) => {
      const text = textOf(input)
      const ike = refusing(() => parseIkeProposal(text))
      refusing(() => parseEspProposal(text))
      if (ike === undefined) return
      const choice = chooseProposal([ike], own, 'ike')
      if (choice === undefined) return
      holds(verifyChosen([choice], [ike]).ok, 'what was chosen was offered')
      formatChosenSuite(choice, 'ike')
    }
  }
}

export const CRYPTO_TARGETS: readonly FuzzTarget[] = [
  derElements,
  certificateParts,
  certificateReading,
  certificatePath,
  pem,
  privateKey,
  pkcs12,
  signedMessage,
  signature,
  distinguishedName,
  identity,
  proposals
]
