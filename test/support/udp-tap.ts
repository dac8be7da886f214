/**
 * Somebody on the way between a client and a gateway on loopback: forwards both UDP ports, keeps a copy of everything, and can say any
 * of it again from an address of their own.
 * @module
 */
import { createSocket, type Socket } from 'node:dgram'

const MARKER_LENGTH = 4
const HOST = '127.0.0.1'

export class UdpTap {
  /** ESP of each direction, in order. */
  readonly esp: Readonly<Record<'up' | 'down', Buffer[]>> = { up: [], down: [] }
  /** What was sent to the attacker's own socket. */
  readonly gathered: Buffer[] = []
  /** False keeps what the client sends from the gateway. */
  forwards = true
  readonly #ports: { readonly ike: number; readonly natT: number }
  readonly #own = createSocket('udp4')
  readonly #sockets: Socket[] = [this.#own]
  #toClient: ((packet: Uint8Array) => void) | undefined

  private constructor(ports: { readonly ike: number; readonly natT: number }) {
    this.#ports = ports
    this.#own.on('message', (message) => this.gathered.push(message))
  }

  static async open(gateway: { readonly ike: number; readonly natT: number }) {
    const tap = new UdpTap(gateway)
    await bound(tap.#own)
    const ike = await tap.#serve(gateway.ike, false)
    const natT = await tap.#serve(gateway.natT, true)
    return { tap, ports: { ike, natT } }
  }

  /** Says this to the gateway's NAT traversal port, from elsewhere. */
  async inject(packets: readonly Uint8Array[]): Promise<void> {
    for (const packet of packets)
      await new Promise((resolve) => this.#own.send(packet, this.#ports.natT, HOST, resolve))
  }

  /** Says this to the client, as if it came from the gateway. */
  reflect(packets: readonly Uint8Array[]): void {
    for (const packet of packets) this.#toClient?.(packet)
  }

  close(): void {
    for (const socket of this.#sockets) socket.close()
  }

  /** @returns the port at which clients reach `port` of the gateway through the tap */
  async #serve(port: number, marked: boolean): Promise<number> {
    const [front, back] = [createSocket('udp4'), createSocket('udp4')]
    this.#sockets.push(front, back)
    await Promise.all([bound(front), bound(back)])
    let client: { readonly port: number; readonly address: string } | undefined
    const answer = (packet: Uint8Array) => {
      if (client !== undefined) front.send(packet, client.port, client.address)
    }
    if (marked) this.#toClient = answer
    const note = (way: 'up' | 'down', message: Buffer) => {
      if (marked && message.length > MARKER_LENGTH && message.readUInt32BE(0) !== 0)
        this.esp[way].push(message)
    }
    front.on('message', (message, from) => {
      client = from
      note('up', message)
      if (this.forwards) back.send(message, port, HOST)
    })
    back.on('message', (message) => {
      note('down', message)
      answer(message)
    })
    return front.address().port
  }
}

function bound(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.bind(0, HOST, resolve))
}
