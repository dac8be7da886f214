/**
 * The process of a lab's network services, run inside a namespace. Its one argument is a list of {@link ServicePlan} as JSON; it
 * tells what happens in JSON lines on standard output, and ends when its standard input does.
 * @module
 */
import { startService } from './servers.ts'
import type { ServiceEvent, ServicePlan } from './types.ts'

const plans = JSON.parse(process.argv[2] ?? '') as readonly ServicePlan[]
await Promise.all(plans.map((plan) => startService(plan, say)))
say({ event: 'listening' })
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))

function say(event: ServiceEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}
