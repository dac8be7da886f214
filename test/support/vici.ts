/**
 * A client of strongSwan's VICI protocol over its Unix socket: commands with their streamed events, and the events
 * that charon sends on its own. A connection carries one command at a time; calls queue.
 * @module
 */
import { connect, type Socket } from 'node:net'

export type ViciValue = string | readonly string[] | ViciSection
export interface ViciSection {
  readonly [key: string]: ViciValue
}

const Packet = {
  commandRequest: 0,
  commandResponse: 1,
  commandUnknown: 2,
  eventRegister: 3,
  eventUnregister: 4,
  eventConfirm: 5,
  eventUnknown: 6,
  event: 7
} as const
const Element = {
  sectionStart: 1,
  sectionEnd: 2,
  keyValue: 3,
  listStart: 4,
  listItem: 5,
  listEnd: 6
} as const

interface PendingReply {
  resolve(section: ViciSection): void
  reject(error: Error): void
}

export type ViciEventListener = (name: string, section: ViciSection) => void

export class ViciConnection {
  readonly #socket: Socket
  #received: Buffer = Buffer.alloc(0)
  #pending: PendingReply | undefined
  #queue: Promise<unknown> = Promise.resolve()
  readonly #listeners = new Set<ViciEventListener>()
  #failure: Error | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => this.#onData(chunk))
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('charon closed its VICI socket')))
  }

  static open(path: string): Promise<ViciConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(path)
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new ViciConnection(socket))
      })
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  onEvent(listener: ViciEventListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Has charon send events of this name. */
  async register(event: string): Promise<void> {
    await this.#exchange(Packet.eventRegister, event, Buffer.alloc(0))
  }

  /** Runs one command. @throws when charon answers `success = no`, or does not know the command */
  async command(name: string, request: ViciSection = {}): Promise<ViciSection> {
    const response = await this.#exchange(Packet.commandRequest, name, encodeSection(request))
    if (response['success'] === 'no') throw new Error(`${name}: ${String(response['errmsg'])}`)
    return response
  }

  /** Runs a command that answers in events, such as `list-sas` with `list-sa`. */
  async stream(name: string, event: string, request: ViciSection = {}): Promise<ViciSection[]> {
    const sections: ViciSection[] = []
    const stop = this.onEvent((received, section) => {
      if (received === event) sections.push(section)
    })
    await this.register(event)
    try {
      await this.command(name, request)
    } finally {
      stop()
      await this.#exchange(Packet.eventUnregister, event, Buffer.alloc(0)) // each registration sends the event once more
    }
    return sections
  }

  #exchange(type: number, name: string, body: Buffer): Promise<ViciSection> {
    const run = this.#queue.then(
      () =>
        new Promise<ViciSection>((resolve, reject) => {
          if (this.#failure) return reject(this.#failure)
          this.#pending = { resolve, reject }
          const head = Buffer.alloc(6)
          head.writeUInt32BE(2 + name.length + body.length, 0)
          head[4] = type
          head[5] = name.length
          this.#socket.write(Buffer.concat([head, Buffer.from(name), body]))
        })
    )
    this.#queue = run.catch(() => {})
    return run
  }

  #onData(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk])
    while (this.#received.length >= 4) {
      const length = this.#received.readUInt32BE(0)
      if (this.#received.length < 4 + length) return
      const packet = this.#received.subarray(4, 4 + length)
      this.#received = this.#received.subarray(4 + length)
      this.#onPacket(packet)
    }
  }

  #onPacket(packet: Buffer): void {
    const type = packet[0]
    if (type === Packet.event) {
      const nameEnd = 2 + (packet[1] ?? 0)
      const name = packet.toString('latin1', 2, nameEnd)
      const section = decodeSection(packet.subarray(nameEnd))
      for (const listener of [...this.#listeners]) listener(name, section)
      return
    }
    const pending = this.#pending
    this.#pending = undefined
    if (type === Packet.commandResponse) pending?.resolve(decodeSection(packet.subarray(1)))
    else if (type === Packet.eventConfirm) pending?.resolve({})
    else
      pending?.reject(new Error(type === Packet.eventUnknown ? 'unknown VICI event' : 'unknown VICI command'))
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#pending?.reject(this.#failure)
    this.#pending = undefined
  }
}

function encodeSection(section: ViciSection): Buffer {
  const parts: Buffer[] = []
  for (const [key, value] of Object.entries(section)) {
    if (typeof value === 'string') {
      parts.push(named(Element.keyValue, key), sized(value))
    } else if (isList(value)) {
      parts.push(named(Element.listStart, key))
      for (const item of value) parts.push(Buffer.from([Element.listItem]), sized(item))
      parts.push(Buffer.from([Element.listEnd]))
    } else {
      parts.push(named(Element.sectionStart, key), encodeSection(value), Buffer.from([Element.sectionEnd]))
    }
  }
  return Buffer.concat(parts)
}

const isList = (value: readonly string[] | ViciSection): value is readonly string[] => Array.isArray(value)

const named = (element: number, name: string): Buffer =>
  Buffer.concat([Buffer.from([element, name.length]), Buffer.from(name)])

function sized(value: string): Buffer {
  const bytes = Buffer.from(value)
  const head = Buffer.alloc(2)
  head.writeUInt16BE(bytes.length)
  return Buffer.concat([head, bytes])
}

function decodeSection(bytes: Buffer): ViciSection {
  let at = 0
  const readName = (): string => {
    const end = at + 1 + bytes.readUInt8(at)
    const name = bytes.toString('utf8', at + 1, end)
    at = end
    return name
  }
  const readValue = (): string => {
    const end = at + 2 + bytes.readUInt16BE(at)
    const value = bytes.toString('utf8', at + 2, end)
    at = end
    return value
  }
  const readList = (): string[] => {
    const items: string[] = []
    while (bytes.readUInt8(at++) === Element.listItem) items.push(readValue())
    return items
  }
  const readSection = (): ViciSection => {
    const section: Record<string, ViciValue> = {}
    while (at < bytes.length) {
      const element = bytes.readUInt8(at++)
      if (element === Element.sectionEnd) break
      const name = readName()
      if (element === Element.keyValue) section[name] = readValue()
      else if (element === Element.listStart) section[name] = readList()
      else if (element === Element.sectionStart) section[name] = readSection()
      else throw new Error(`VICI element ${element}`)
    }
    return section
  }
  return readSection()
}
