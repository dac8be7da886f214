/**
 * `ikestream lab test`: a client on each network, compared with the table of what is expected.
 * @module
 */
import { constants } from 'node:os'
import { ExitCode } from '../../errors.ts'
import { type LabResult, type LabTestOptions, testInLab } from '../../lab/lab-test.ts'
import type { Reporter } from '../reporter.ts'
import { resultEvent, resultLines, resultsTable } from './lab-report.ts'

const END_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export type LabTestPlan = Omit<LabTestOptions, 'signal' | 'onResult'> & { readonly markdown: boolean }

/** @returns 0 when everything is as expected, 1 when not, 128+n after signal n. @throws what keeps a network from being built */
export async function runLabTest(plan: LabTestPlan, reporter: Reporter): Promise<number> {
  const abort = new AbortController()
  let received: (typeof END_SIGNALS)[number] | undefined
  for (const signal of END_SIGNALS) {
    process.once(signal, () => {
      received ??= signal
      abort.abort()
    })
  }
  let done = 0
  const tell = (): void => reporter.update(`${done} of ${plan.networks.length} networks`)
  tell()
  const onResult = (result: LabResult): void => {
    done++
    reporter.event(resultEvent(result))
    if (!plan.markdown) show(result, reporter)
    tell()
  }
  const results = await testInLab({ ...plan, signal: abort.signal, onResult }).finally(() => reporter.stop())
  if (received !== undefined) return 128 + constants.signals[received]
  const passed = results.filter(({ differences }) => differences.length === 0).length
  reporter.event({ event: 'summary', passed, failed: results.length - passed })
  if (plan.markdown) reporter.result(resultsTable(results))
  else if (!reporter.options.quiet) reporter.result(`\n${passed} of ${results.length} networks as expected`)
  return passed === results.length ? ExitCode.ok : ExitCode.failure
}

function show(result: LabResult, reporter: Reporter): void {
  const passed = result.differences.length === 0
  if (passed && reporter.options.quiet) return
  for (const line of resultLines(result, reporter.resultMark(passed ? 'ok' : 'bad'))) reporter.result(line)
}
