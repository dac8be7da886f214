/**
 * A conversation between an EAP peer and an EAP server in memory.
 */
import { createHash } from 'node:crypto'
import type { RandomSource } from '../../../src/crypto/types.ts'
import type { EapPeer } from '../../../src/ike/eap/peer.ts'
import type { EapServer } from '../../../src/ike/eap/server.ts'
import type { EapStep } from '../../../src/ike/eap/types.ts'

/** The same bytes for the same seed. */
export function seededRandom(seed: string): RandomSource {
  let counter = 0
  return {
    bytes(length) {
      const output = new Uint8Array(length)
      for (let offset = 0; offset < length; offset += 32) {
        const block = createHash('sha256').update(`${seed}/${counter++}`).digest()
        output.set(block.subarray(0, Math.min(32, length - offset)), offset)
      }
      return output
    }
  }
}

/** Waits as often as the engine asks for it. */
export async function settle(side: { continue(): EapStep }, step: EapStep): Promise<EapStep> {
  while (step.kind === 'pending') {
    await step.ready
    step = side.continue()
  }
  return step
}

export interface Outcome {
  readonly peer: EapStep
  readonly server: EapStep
  /** Every packet, in order, the server's first. */
  readonly packets: readonly Uint8Array[]
}

/** Runs until the server has ended it or the peer has failed. */
export async function converse(peer: EapPeer, server: EapServer): Promise<Outcome> {
  const packets: Uint8Array[] = [server.start()]
  for (;;) {
    const peerStep = await settle(peer, peer.receive(packets[packets.length - 1] ?? new Uint8Array(0)))
    if (peerStep.kind !== 'reply')
      return { peer: peerStep, server: { kind: 'reply', packet: new Uint8Array(0) }, packets }
    packets.push(peerStep.packet)
    const serverStep = await settle(server, server.receive(peerStep.packet))
    if (serverStep.kind !== 'pending' && serverStep.packet !== undefined) packets.push(serverStep.packet)
    if (serverStep.kind !== 'reply') {
      const last = packets[packets.length - 1] ?? new Uint8Array(0)
      return { peer: await settle(peer, peer.receive(last)), server: serverStep, packets }
    }
  }
}

export function hexOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString('hex')
}

export function fromHex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'))
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
