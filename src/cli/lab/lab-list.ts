/**
 * `ikestream lab list`: the networks, a sentence each.
 * @module
 */
import { LAB_NETWORKS } from '../../lab/networks.ts'
import type { Reporter } from '../reporter.ts'

export function listLab(reporter: Reporter): void {
  const width = Math.max(...LAB_NETWORKS.map(({ name }) => name.length))
  for (const { name, sentence, settings, families, expected } of LAB_NETWORKS) {
    reporter.event({
      event: 'network',
      name,
      sentence,
      settings: settings ?? {},
      families: families ?? 'both',
      expected
    })
    reporter.result(`${name.padEnd(width)}  ${sentence}`)
  }
}
