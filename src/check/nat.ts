/**
 * What IKE alone proves about a NAT in the way (RFC 7296 section 2.23).
 *
 * The gateway's NAT_DETECTION_DESTINATION_IP is a hash of the address and the port that it sees us at, together with both SPIs. It
 * proves a guess and tells nothing else: whether it is our own address (then there is no NAT), and, once the public address
 * is known, which of the 65535 ports the NAT has given us. The address itself cannot be guessed: a hash for each of all IPv4
 * addresses and ports would take years. What is not proved stays null.
 * @module
 */
import { sha1 } from '../crypto/legacy-hash.ts'
import type { NatEvidence } from '../diagnosis/evidence.ts'
import { equalBytes } from '../ike/tasks/natd.ts'
import { addressToBytes } from '../wire/address.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { spiToBytes } from '../wire/ike-helpers.ts'
import { type InitAnswer, isItself, isSeenAt } from './init-probe.ts'

/** One answered question: where it was asked, from where, and what the gateway said. */
export interface Sighting {
  readonly answer: InitAnswer
  readonly spiI: bigint
  readonly local: Endpoint
  readonly remote: Endpoint
}

const MAX_PORT = 65_535

/**
 * @param sightings answers that hold hashes, all from one local port where the mapping is to be judged
 * @param publicAddress this machine's address on the Internet, if the user knows it
 * @returns null when no answer says anything
 */
export function natEvidence(
  sightings: readonly Sighting[],
  publicAddress: string | undefined
): NatEvidence | null {
  const telling = sightings.filter(({ answer }) => answer.seenAs !== undefined)
  const [first] = telling
  if (first === undefined) return null
  const present = !telling.every(({ answer, spiI, local }) => isSeenAt(answer, spiI, local))
  const mapped = present && publicAddress !== undefined ? mappings(telling, publicAddress) : []
  const proved = mapped.length > 0
  return {
    present,
    gatewayBehindNat: telling.some(({ answer, spiI, remote }) => !isItself(answer, spiI, remote)),
    localAddress: first.local.address,
    localPort: first.local.port,
    publicAddress: proved ? (publicAddress ?? null) : null,
    mappedPorts: mapped,
    portPreserved: present ? (proved ? mapped.every(({ port }) => port === first.local.port) : null) : true,
    mappingVaries: present ? varies(telling, mapped) : false
  }
}

function mappings(sightings: readonly Sighting[], address: string): NatEvidence['mappedPorts'] {
  return sightings.flatMap(({ answer, spiI, local, remote }) => {
    const port = findPort(answer, spiI, address, local.port)
    return port === undefined ? [] : [{ gatewayPort: remote.port, port }]
  })
}

/** The port that the hash proves for this address; undefined: it is another address. */
function findPort(
  { seenAs, spiR }: InitAnswer,
  spiI: bigint,
  address: string,
  likely: number
): number | undefined {
  const bytes = addressToBytes(address)
  if (bytes === undefined || seenAs === undefined) return undefined
  // One buffer for all of them: tens of thousands of hashes are made of it.
  const input = Buffer.concat([spiToBytes(spiI), spiToBytes(spiR), bytes, new Uint8Array(2)])
  const fits = (port: number): boolean => {
    input.writeUInt16BE(port, input.length - 2)
    return equalBytes(sha1(input), seenAs)
  }
  if (fits(likely)) return likely
  for (let port = 1; port <= MAX_PORT; port++) if (fits(port)) return port
  return undefined
}

/** Comparing needs two destinations that were asked from the same port, both of them proved. */
function varies(sightings: readonly Sighting[], mapped: NatEvidence['mappedPorts']): boolean | null {
  if (mapped.length < 2 || mapped.length < sightings.length) return null
  if (new Set(sightings.map(({ local }) => local.port)).size > 1) return null
  return new Set(mapped.map(({ port }) => port)).size > 1
}
