/**
 * Reads what iperf3 and ping say.
 * @module
 */

/**
 * One UDP run of iperf3. The receiver's bytes are counted, since iperf3's own loss leaves out whatever was lost or still on its way
 * at the end.
 * @param {any} report iperf3's JSON
 * @param {number} payloadBytes of each datagram
 * @returns {{ packetsPerSecond: number, sentPerSecond: number, lossPercent: number }}
 */
export function udpRates(report, payloadBytes) {
  const { sum_received: received, sum_sent: sent } = report.end
  const arrived = received.bytes / payloadBytes
  return {
    packetsPerSecond: arrived / received.seconds,
    sentPerSecond: sent.packets / sent.seconds,
    lossPercent: sent.packets > 0 ? Math.max(0, 100 * (1 - arrived / sent.packets)) : 0
  }
}

/**
 * Round-trip times of a `ping` that was not quiet.
 * @param {string} text
 * @returns {number[]} microseconds
 */
export function parsePingTimes(text) {
  return [...text.matchAll(/ time=([0-9.]+) ms/g)].map((match) => Math.round(Number(match[1]) * 1000))
}
