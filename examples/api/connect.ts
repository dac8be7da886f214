/**
 * Brings a tunnel up from a profile, tells what happens to it, and takes it down on Ctrl-C:
 *
 *     node connect.js work
 *
 * Needs CAP_NET_ADMIN, as `ikestream connect` does.
 */
import { connect, IkestreamError } from 'ikestream'

const [profile = 'work'] = process.argv.slice(2)
const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())

try {
  const vpn = await connect({
    profile,
    signal: stop.signal,
    // The rungs of the ladder come before there is a connection.
    onEvent: (event) => {
      if (event.event === 'rung') console.log(`${event.transport} to ${event.address}: ${event.outcome}`)
    }
  })
  const { transport, gatewayId, virtualIps } = vpn.connected
  console.log(`connected to ${gatewayId} over ${transport} as ${virtualIps.join(', ')}`)

  vpn.on('path-changed', ({ from, to, reason, outageMs }) => {
    console.log(`moved from ${from} to ${to} (${reason}), outage ${outageMs} ms`)
  })
  vpn.on('reconnecting', ({ reason }) => console.log(`reconnecting: ${reason}`))

  await vpn.closed
  const { bytesIn, bytesOut } = vpn.status().traffic
  console.log(`closed: ${bytesIn} bytes in, ${bytesOut} bytes out`)
} catch (error) {
  if (stop.signal.aborted) process.exitCode = 130
  else if (error instanceof IkestreamError) {
    console.error(`${error.code}: ${error.message}`, error.hint ?? '')
    process.exitCode = error.exitCode
  } else throw error
}
