/**
 * The bare link: what everything else is measured against.
 * @module
 */
import { GATEWAY_ADDRESS } from '../compare/site.mjs'

const nothing = { pids: [], stop: async () => undefined }

/** @type {import('./types.mjs').Peer} */
export const link = {
  name: 'link',
  label: 'bare link',
  own: false,
  programs: [],
  innerAddress: GATEWAY_ADDRESS,
  version: async () => 'a veth pair, MTU 1500',
  startServer: async () => nothing,
  startClient: async () => nothing
}
