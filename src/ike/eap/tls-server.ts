/**
 * EAP-TLS on the responder's side (RFC 5216; RFC 9190 for TLS 1.3). Always demands a client certificate.
 * @module
 */
import { createTlsEngine, type TlsEngine } from '../../crypto/tls-engine.ts'
import { AuthenticationError, type IkestreamError, ProtocolError } from '../../errors.ts'
import { EapType } from '../../wire/ike-constants.ts'
import type { EapTlsCredentials } from '../auth/types.ts'
import { showPeerText } from './peer-text.ts'
import { encodeTlsStart, endsWithAlert, TlsFragments } from './tls-fragments.ts'
import { eapTlsIdentity } from './tls-identity.ts'
import { PROTECTED_SUCCESS, speaksTls13, tlsMsk } from './tls-keys.ts'
import type { ServerMethod, ServerMethodStep } from './types.ts'

type Progress =
  | { readonly phase: 'handshake' }
  /** TLS 1.3: the success indication is being written after what was pulled before it. */
  | { readonly phase: 'confirming'; readonly flight: Uint8Array }
  /** All is sent; an empty response completes it. */
  | { readonly phase: 'complete' }
  /** An alert is on its way; whatever answers it ends with failure. */
  | { readonly phase: 'failing'; readonly error: IkestreamError }

export class TlsServer implements ServerMethod {
  readonly type = EapType.TLS
  readonly #credentials: EapTlsCredentials
  readonly #claimedIdentity: string
  readonly #fragments = new TlsFragments('server')
  #engine: TlsEngine | undefined
  #progress: Progress = { phase: 'handshake' }

  constructor(credentials: EapTlsCredentials, claimedIdentity: string) {
    this.#credentials = credentials
    this.#claimedIdentity = claimedIdentity
  }

  begin(): Uint8Array {
    return encodeTlsStart()
  }

  process(data: Uint8Array): ServerMethodStep {
    const input = this.#fragments.receive(data)
    if (input.kind === 'malformed') return malformed(input.reason)
    if (this.#fragments.sending) {
      return input.kind === 'empty' ? this.#send() : malformed('data instead of an acknowledgement')
    }
    if (this.#progress.phase === 'failing') return { kind: 'failure', error: this.#progress.error }
    switch (input.kind) {
      case 'partial':
        return this.#send()
      case 'flight':
        return this.#digest(input.bytes)
      default:
        return this.#progress.phase === 'complete'
          ? this.#succeed()
          : malformed('an acknowledgement of nothing')
    }
  }

  resume(): ServerMethodStep {
    const engine = this.#engine
    if (engine === undefined) return malformed('nothing to wait for')
    const flight = engine.pull()
    const { state } = engine
    if (state.phase === 'failed' || state.phase === 'closed') {
      return this.#fail(state.phase === 'failed' ? state.reason : 'the session was closed', flight)
    }
    if (this.#progress.phase === 'complete') return malformed('data after the handshake')
    if (state.phase === 'handshaking') return this.#sendFlight(flight)
    if (this.#progress.phase === 'confirming') {
      const before = this.#progress.flight
      this.#progress = { phase: 'complete' }
      return this.#sendFlight(concat(before, flight))
    }
    if (speaksTls13(engine)) {
      this.#progress = { phase: 'confirming', flight }
      engine.writeApplicationData(Uint8Array.of(PROTECTED_SUCCESS))
      return { kind: 'pending', ready: engine.settled() }
    }
    this.#progress = { phase: 'complete' }
    return this.#sendFlight(flight)
  }

  dispose(): void {
    this.#engine?.close()
  }

  #digest(flight: Uint8Array): ServerMethodStep {
    const { certificateChain, privateKey, trustAnchors, maxTlsVersion } = this.#credentials
    this.#engine ??= createTlsEngine({
      role: 'server',
      cert: certificateChain,
      key: privateKey,
      ca: trustAnchors,
      requestCert: true,
      maxVersion: maxTlsVersion
    })
    this.#engine.push(flight)
    return { kind: 'pending', ready: this.#engine.settled() }
  }

  #succeed(): ServerMethodStep {
    const engine = this.#engine
    const certificate = engine?.peerCertificate
    const identity = certificate && eapTlsIdentity(certificate, this.#claimedIdentity)
    if (engine === undefined || identity === undefined) {
      const why = 'its certificate holds no name that could identify it'
      return { kind: 'failure', error: tlsFailure(why) }
    }
    return { kind: 'success', msk: tlsMsk(engine), identity }
  }

  #fail(reason: string, flight: Uint8Array): ServerMethodStep {
    const error = tlsFailure(reason)
    if (!endsWithAlert(flight)) return { kind: 'failure', error }
    this.#progress = { phase: 'failing', error }
    return this.#sendFlight(flight)
  }

  #sendFlight(flight: Uint8Array): ServerMethodStep {
    this.#fragments.queue(flight)
    return this.#send()
  }

  #send(): ServerMethodStep {
    return { kind: 'send', data: this.#fragments.next() }
  }
}

function malformed(what: string): ServerMethodStep {
  return {
    kind: 'failure',
    error: new ProtocolError('eap-malformed', `The peer's EAP-TLS went wrong: ${what}.`)
  }
}

function tlsFailure(reason: string): IkestreamError {
  return new AuthenticationError('eap-tls-failed', `The peer's EAP-TLS failed: ${showPeerText(reason)}.`, {
    hint: "Check the client's certificate and the CA that the gateway trusts for clients."
  })
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const all = new Uint8Array(a.length + b.length)
  all.set(a)
  all.set(b, a.length)
  return all
}
