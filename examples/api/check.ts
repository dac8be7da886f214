/**
 * Asks over which transports a gateway is reached, as a monitor would:
 *
 *     node check.js vpn.example.com
 *
 * Needs neither root nor credentials.
 */
import { check } from 'ikestream'

const [server = 'vpn.example.com'] = process.argv.slice(2)
const { verdict, durationMs } = await check({ server, timeout: 5, portal: false })

console.log(`${verdict.sentence} (${durationMs} ms)`)
if (verdict.hint !== null) console.log(verdict.hint)
process.exitCode = verdict.exitCode
