// A name server that knows every name: each has one and the same IPv4 address. Prints the names that it is asked for, one a line.
// Usage: node name-server.mjs <address to listen on> <address to answer with>
import dgram from 'node:dgram'

const [listen, answer] = process.argv.slice(2)
const TYPE_A = 1

/** The name in a query (RFC 1035 section 4.1.2), and where it ends. */
function question(query) {
  const labels = []
  let at = 12
  for (let length = query[at]; length > 0; length = query[at]) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.'), type: query.readUInt16BE(at + 1), end: at + 5 }
}

const socket = dgram.createSocket(listen.includes(':') ? 'udp6' : 'udp4')
socket.on('message', (query, from) => {
  const { name, type, end } = question(query)
  if (type === TYPE_A) console.log(name)
  const found = type === TYPE_A ? 1 : 0
  const header = Buffer.from(query.subarray(0, 12))
  // A response, authoritative, recursion available; one question, maybe one answer, nothing else.
  header.writeUInt16BE(0x8580, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(found, 6)
  header.writeUInt32BE(0, 8)
  // A pointer to the question's name, type A, class IN, no time to live, four bytes.
  const record = [0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0, 0, 0, 4, ...answer.split('.').map(Number)]
  const reply = Buffer.concat([header, query.subarray(12, end), Buffer.from(found === 1 ? record : [])])
  socket.send(reply, from.port, from.address)
})
socket.bind(53, listen, () => console.log('listening'))
