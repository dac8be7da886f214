/**
 * The programmatic interface: `import { connect, check } from 'ikestream'`. docs/API.md describes it; what is not exported here may
 * change at any time.
 * @module
 */
export type { CheckDocument } from '../check/document.ts'
export type {
  ClientEvent,
  ConnectedEvent,
  DisconnectedEvent,
  LivenessEvent,
  OuterTls,
  PathChangedEvent,
  ReconnectingEvent,
  RekeyedEvent,
  RungEvent
} from '../client/events.ts'
export type { ChildSaStatus, IkeSaStatus, SessionStatus } from '../client/session-status.ts'
export {
  AuthenticationError,
  ConfigurationError,
  DataError,
  ExitCode,
  IkestreamError,
  InputError,
  InternalError,
  ProtocolError,
  ResolveError,
  SystemError,
  TemporaryError,
  UnreachableError,
  UsageError
} from '../errors.ts'
export type { LogFields, LogLevel } from '../log.ts'
export { type CheckSettings, check } from './check.ts'
export { Connection, type ConnectionEvents, type ConnectSettings, connect } from './connect.ts'
export type { GatewaySettings } from './settings.ts'
