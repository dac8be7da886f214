/**
 * The lives of IKE SAs and Child SAs as literal tables: what is not in a table cannot happen.
 * State names are strongSwan's (`swanctl --list-sas`), so that people and tools find what they know.
 * @module
 */

export type IkeSaState =
  | 'CREATED'
  | 'CONNECTING'
  | 'ESTABLISHED'
  | 'REKEYING'
  | 'REKEYED'
  | 'DELETING'
  | 'DESTROYED'

export type IkeSaInput =
  /** IKE_SA_INIT was sent, or a valid one was answered. */
  | 'init'
  /** Both ends are authenticated, or the keys come from an SA that was. */
  | 'authenticated'
  /** Our CREATE_CHILD_SA for a new IKE SA is on its way. */
  | 'rekey-started'
  | 'rekey-refused'
  /** A new IKE SA has taken over the Child SAs. */
  | 'replaced'
  /** The new IKE SA may be known to this end only (RFC 6311 section 8.3): back to what both know. */
  | 'revived'
  | 'delete-sent'
  /** Deleted, failed or given up. */
  | 'end'

export const IKE_SA_TRANSITIONS: Readonly<
  Record<IkeSaState, Readonly<Partial<Record<IkeSaInput, IkeSaState>>>>
> = {
  CREATED: { init: 'CONNECTING', authenticated: 'ESTABLISHED', end: 'DESTROYED' },
  CONNECTING: { authenticated: 'ESTABLISHED', 'delete-sent': 'DELETING', end: 'DESTROYED' },
  ESTABLISHED: {
    'rekey-started': 'REKEYING',
    replaced: 'REKEYED',
    'delete-sent': 'DELETING',
    end: 'DESTROYED'
  },
  REKEYING: {
    'rekey-refused': 'ESTABLISHED',
    replaced: 'REKEYED',
    'delete-sent': 'DELETING',
    end: 'DESTROYED'
  },
  REKEYED: { revived: 'ESTABLISHED', 'delete-sent': 'DELETING', end: 'DESTROYED' },
  DELETING: { end: 'DESTROYED' },
  DESTROYED: {}
}

export type ChildSaState = 'INSTALLED' | 'REKEYING' | 'REKEYED' | 'DELETING' | 'DELETED' | 'DESTROYED'

export type ChildSaInput =
  | 'rekey-started'
  | 'rekey-refused'
  /** Another Child SA carries the traffic now. */
  | 'replaced'
  /** The other one may be known to this end only (RFC 6311 section 8.3). */
  | 'revived'
  | 'delete-sent'
  /** The DELETE exchange is over; the inbound half lingers. */
  | 'deleted'
  | 'end'

export const CHILD_SA_TRANSITIONS: Readonly<
  Record<ChildSaState, Readonly<Partial<Record<ChildSaInput, ChildSaState>>>>
> = {
  INSTALLED: {
    'rekey-started': 'REKEYING',
    replaced: 'REKEYED',
    'delete-sent': 'DELETING',
    deleted: 'DELETED',
    end: 'DESTROYED'
  },
  REKEYING: {
    'rekey-refused': 'INSTALLED',
    replaced: 'REKEYED',
    'delete-sent': 'DELETING',
    deleted: 'DELETED',
    end: 'DESTROYED'
  },
  REKEYED: { revived: 'INSTALLED', 'delete-sent': 'DELETING', deleted: 'DELETED', end: 'DESTROYED' },
  DELETING: { deleted: 'DELETED', end: 'DESTROYED' },
  DELETED: { end: 'DESTROYED' },
  DESTROYED: {}
}

/** @returns the next state, or undefined: this input is not possible in this state */
export function nextIkeSaState(state: IkeSaState, input: IkeSaInput): IkeSaState | undefined {
  return IKE_SA_TRANSITIONS[state][input]
}

/** @returns the next state, or undefined: this input is not possible in this state */
export function nextChildSaState(state: ChildSaState, input: ChildSaInput): ChildSaState | undefined {
  return CHILD_SA_TRANSITIONS[state][input]
}
