/**
 * What a running session answers on its control socket.
 * @module
 */
import { SystemError } from '../errors.ts'
import { ControlServer } from '../host/control-server.ts'
import type { Logger } from '../log.ts'
import type { SessionStatus } from './session-status.ts'

/** What the control socket needs of a session. */
export interface ControlledSession {
  status(): SessionStatus
  stop(reason: string): void
  /** Why it ended, if that was not asked for. */
  readonly failure: () => unknown
}

/**
 * Opens the session's control socket. A session that cannot have one goes on without.
 * @throws SystemError `session-running`: another session has that name
 */
export async function openControl(
  directory: string,
  sessionName: string,
  session: ControlledSession,
  log: Logger
): Promise<ControlServer | undefined> {
  try {
    return await ControlServer.open({
      directory,
      sessionName,
      log,
      handle: async (request, closing) => {
        if (request === 'status') return session.status()
        session.stop('requested')
        await closing
        const failure = session.failure()
        if (failure !== undefined) throw failure
        return { outcome: 'ended' }
      }
    })
  } catch (error) {
    if (!(error instanceof SystemError) || error.code === 'session-running') throw error
    log.log('warn', 'Nobody can ask this session for its status', { error: error.message })
    return undefined
  }
}
