/**
 * The data of IKEV2_MESSAGE_ID_SYNC (RFC 6311 section 6.3): a nonce and the two counters, as their sender sees them.
 * @module
 */

export interface MessageIdSync {
  /** 4 bytes, the same in request and response. */
  readonly nonce: number
  /** EXPECTED_SEND_REQ_MESSAGE_ID: Message ID of the sender's next request. */
  readonly sends: number
  /** EXPECTED_RECV_REQ_MESSAGE_ID: Message ID that it expects in the next request of the other end. */
  readonly expects: number
}

const SYNC_LENGTH = 12

/** @returns undefined when it has not the one length that there is */
export function readMessageIdSync(data: Uint8Array): MessageIdSync | undefined {
  if (data.length !== SYNC_LENGTH) return undefined
  const view = new DataView(data.buffer, data.byteOffset, SYNC_LENGTH)
  return { nonce: view.getUint32(0), sends: view.getUint32(4), expects: view.getUint32(8) }
}

export function writeMessageIdSync(sync: MessageIdSync): Uint8Array {
  const data = new Uint8Array(SYNC_LENGTH)
  const view = new DataView(data.buffer)
  view.setUint32(0, sync.nonce)
  view.setUint32(4, sync.sends)
  view.setUint32(8, sync.expects)
  return data
}
