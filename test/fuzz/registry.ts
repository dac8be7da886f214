/**
 * Every fuzz target, by name.
 * @module
 */
import type { FuzzTarget } from './target.ts'
import { CLUSTER_TARGETS } from './targets/cluster.ts'
import { CRYPTO_TARGETS } from './targets/crypto.ts'
import { DEFENCE_TARGETS } from './targets/defences.ts'
import { EAP_TARGETS } from './targets/eap.ts'
import { ENGINE_TARGETS } from './targets/engines.ts'
import { FILE_TARGETS } from './targets/files.ts'
import { PACKET_TARGETS } from './targets/packets.ts'
import { STREAM_TARGETS } from './targets/streams.ts'
import { TLS_TARGETS } from './targets/tls.ts'
import { WEB_TARGETS } from './targets/web.ts'
import { WIRE_TARGETS } from './targets/wire.ts'

export const TARGETS: readonly FuzzTarget[] = [
  ...WIRE_TARGETS,
  ...PACKET_TARGETS,
  ...STREAM_TARGETS,
  ...ENGINE_TARGETS,
  ...DEFENCE_TARGETS,
  ...EAP_TARGETS,
  ...CLUSTER_TARGETS,
  ...CRYPTO_TARGETS,
  ...TLS_TARGETS,
  ...FILE_TARGETS,
  ...WEB_TARGETS
]
