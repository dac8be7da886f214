/**
 * How an initiator's session begins: IKE_SA_INIT or IKE_SESSION_RESUME, then IKE_AUTH, and what becomes of a session that does not get
 * that far (RFC 7296 sections 1.2 and 2.21, RFC 5723 section 4.3).
 * @module
 */
import { AuthenticationError, type IkestreamError } from '../errors.ts'
import type { Path } from '../wire/endpoint.ts'
import { ExchangeType, NotifyType } from '../wire/ike-constants.ts'
import { notify } from '../wire/ike-helpers.ts'
import type { IkeSa } from './ike-sa.ts'
import { sendRequest } from './messenger.ts'
import { INIT_DOUBT_MS } from './options.ts'
import type { SessionState } from './session-state.ts'
import { AuthTask } from './tasks/auth.ts'
import { closeSession, establishedWhileClosing } from './tasks/delete.ts'
import { InitTask } from './tasks/init.ts'
import { announcePath } from './tasks/path.ts'
import { ResumeTask } from './tasks/resume.ts'
import type { InitiatorConfig, SessionTicket } from './types.ts'

/**
 * Puts IKE_SA_INIT, or what stands for it, and IKE_AUTH behind it on their way.
 * @param ticket to resume a session with; without, or when that fails, it is set up from scratch
 */
export function beginSession(
  state: SessionState,
  config: InitiatorConfig,
  path: Path,
  ticket: SessionTicket | undefined
): void {
  state.path = path
  const sa = state.addIkeSa(true)
  state.current = sa
  const hooks = {
    established: () => noteEstablished(state),
    giveUp: giveUp(state),
    reject: reject(state, sa)
  }
  const startOver = (why: string) => {
    state.log('info', `the session cannot be resumed: ${why}`)
    state.destroyIkeSa(sa)
    if (!state.ended && state.closing === undefined) beginSession(state, config, path, undefined)
  }
  const onKeys = () => {
    state.doubt = undefined
    state.timers.clear('init-doubt', 0)
    const resumption = ticket === undefined ? undefined : { ticket, startOver }
    state.enqueue(sa, new AuthTask(state, config, hooks, resumption))
  }
  const onDoubt = (error: IkestreamError) => noteDoubt(state, error)
  const first =
    ticket === undefined
      ? new InitTask(state, onKeys, onDoubt)
      : new ResumeTask(state, ticket, onKeys, startOver)
  state.enqueue(sa, first)
}

function noteDoubt(state: SessionState, error: IkestreamError): void {
  // A stream's other end is who it is: nobody can slip in a better answer (RFC 9329 section 6.4).
  if (state.path?.reliable) {
    state.end('rejected', error)
    return
  }
  state.doubt = error
  if (state.timers.at('init-doubt', 0) === undefined) state.after('init-doubt', 0, INIT_DOUBT_MS)
}

function noteEstablished(state: SessionState): void {
  if (establishedWhileClosing(state)) return
  // The peer believes the address of the first IKE_AUTH (RFC 4555 section 3.2).
  if (state.authPath?.id !== state.path?.id) announcePath(state)
}

function giveUp(state: SessionState): (error: IkestreamError) => void {
  return (error) => {
    if (!establishedWhileClosing(state)) closeSession(state, 'rejected', error)
  }
}

/** Tells the gateway that it failed to convince us, once and without waiting for an answer (RFC 7296 section 2.21.2). */
function reject(state: SessionState, sa: IkeSa): (error: IkestreamError) => void {
  return (error) => {
    if (sa.exchanges.outstandingId !== undefined) sa.exchanges.complete()
    // Before the first IKE_AUTH has left there is nothing that the gateway would have to forget.
    if (state.authPath !== undefined && sa.exchanges.nextRequestId > 1) {
      const payloads = [notify(NotifyType.AUTHENTICATION_FAILED)]
      sendRequest(state, sa, { exchangeType: ExchangeType.INFORMATIONAL, payloads })
    }
    state.end(error instanceof AuthenticationError ? 'authentication-failed' : 'protocol-error', error)
  }
}
