/**
 * What is said on a control socket: a line of JSON asks, a line of JSON answers. Both name the version of the protocol; what a
 * newer one adds to an answer is ignored by an older reader.
 * @module
 */
import * as v from 'valibot'
import { DataError, type IkestreamError, UsageError } from '../errors.ts'
import { ErrorData, errorData, errorFrom } from './error-data.ts'

export const CONTROL_VERSION = 1
/** Longest request: a word and a number, with much room. */
export const MAX_REQUEST_BYTES = 4096
/** Longest answer: the status of a session with all of its Child SAs. */
export const MAX_ANSWER_BYTES = 1 << 20

/** What can be asked for. */
export const CONTROL_REQUESTS = ['status', 'disconnect'] as const
export type ControlRequest = (typeof CONTROL_REQUESTS)[number]

const Request = v.object({ version: v.number(), request: v.string() })
const Answer = v.union([
  v.object({ version: v.number(), result: v.unknown() }),
  v.object({ version: v.number(), error: ErrorData })
])

export function requestLine(request: ControlRequest): string {
  return `${JSON.stringify({ version: CONTROL_VERSION, request })}\n`
}

/** @throws DataError for what is no request, UsageError for one that is not known here */
export function parseRequest(line: string): ControlRequest {
  const { success, output } = v.safeParse(Request, jsonOf(line))
  if (!success) throw new DataError('control-request', 'That is no request.')
  if (output.version !== CONTROL_VERSION) {
    throw new UsageError(
      'control-version',
      `This session speaks version ${CONTROL_VERSION} of the control protocol, not ${output.version}.`,
      { hint: 'Use the ikestream that started the session.' }
    )
  }
  const known = CONTROL_REQUESTS.find((name) => name === output.request)
  if (known === undefined) throw new UsageError('control-request', 'This session knows no such request.')
  return known
}

export function resultLine(result: unknown): string {
  return `${JSON.stringify({ version: CONTROL_VERSION, result })}\n`
}

export function errorLine(error: IkestreamError): string {
  return `${JSON.stringify({ version: CONTROL_VERSION, error: errorData(error) })}\n`
}

/** @returns the result. @throws the error that the session answered with, DataError for what is no answer */
export function parseAnswer(line: string): unknown {
  const { success, output } = v.safeParse(Answer, jsonOf(line))
  if (!success) throw new DataError('control-answer', 'The session gave an answer that means nothing.')
  if ('result' in output) return output.result
  throw errorFrom(output.error)
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
