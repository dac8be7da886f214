/**
 * How a failure must look to whoever reads `--json`: exactly one `error` line, the last one, one sentence and what to do, and the same
 * exit code in the line and from the process; nothing else but JSON on standard output.
 * @module
 */
import { expect } from 'vitest'
import type { IkestreamProcess, JsonLine } from './ikestream-process.ts'

/** Waits for the end. @returns the `error` line */
export async function expectOneError(
  client: IkestreamProcess,
  exitCode: number,
  code: string | RegExp,
  message: RegExp
): Promise<JsonLine> {
  const left = await client.exit
  const transcript = client.transcript()
  expect(client.strayOutput, transcript).toEqual([])
  expect(client.all('error'), transcript).toHaveLength(1)
  const error = client.events.at(-1)
  expect(error, transcript).toMatchObject({ event: 'error', exitCode })
  expect(error?.['code'], transcript).toMatch(typeof code === 'string' ? new RegExp(`^${code}$`) : code)
  expect(error?.['message'], transcript).toMatch(message)
  // A sentence: it neither spills over lines nor shows the insides.
  expect(error?.['message'], transcript).not.toMatch(/\n|\bat .*:\d+:\d+|undefined|\[object/)
  expect(error?.['hint'], transcript).toMatch(/\S/)
  expect(left, transcript).toBe(exitCode)
  return error as JsonLine
}
