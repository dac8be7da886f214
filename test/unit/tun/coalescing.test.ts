import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Coalescer } from '../../../src/tun/coalescing.ts'
import { Segmenter } from '../../../src/tun/segmentation.ts'
import { VNET_HEADER_LENGTH } from '../../../src/tun/vnet-header.ts'
import { naiveGroups } from '../../support/naive-coalescing.ts'
import { fragmentHeader, icmp, ipv4, ipv6, slowChecksum, udp } from '../../support/packet-factory.ts'
import { type SegmentFields, segment } from '../../support/tcp-segments.ts'

/** Frames that come out when these packets go in, in batches of the given lengths. */
function coalesce(
  packets: readonly Uint8Array[],
  enabled = true,
  batch = Number.POSITIVE_INFINITY,
  udp = enabled
): Uint8Array[] {
  const frames: Uint8Array[] = []
  const coalescer = new Coalescer(
    (buffer, offset, length) => frames.push(buffer.slice(offset, offset + length)),
    { tcp: enabled, udp }
  )
  packets.forEach((packet, index) => {
    const buffer = new Uint8Array(packet.length + 32).fill(0xdd)
    buffer.set(packet, 20)
    coalescer.push(buffer, 20, packet.length)
    if ((index + 1) % batch === 0) coalescer.flush()
  })
  coalescer.flush()
  coalescer.flush()
  return frames
}

/** What the kernel would make of a frame. */
function cut(frame: Uint8Array): Uint8Array[] {
  const copy = Uint8Array.from(frame)
  const segmenter = new Segmenter()
  expect(segmenter.load(copy, 0, copy.length)).toBe(true)
  const packets: Uint8Array[] = []
  while (segmenter.next()) packets.push(copy.slice(segmenter.offset, segmenter.offset + segmenter.length))
  return packets
}

const isDontFragment = (packet: Uint8Array) => (packet[0] ?? 0) >> 4 === 4 && ((packet[6] ?? 0) & 0x40) !== 0

/** The packet without what may change: the identification of packets that must not be fragmented. */
function essence(packet: Uint8Array): string {
  const copy = [...packet]
  if (isDontFragment(packet)) {
    const headerLength = ((packet[0] ?? 0) & 15) * 4
    const valid = slowChecksum(copy.slice(0, headerLength)) === 0
    copy.splice(4, 2, 0, 0)
    copy.splice(10, 2, 0, valid ? 1 : 0)
  }
  return Buffer.from(copy).toString('hex')
}

/** Protocol, addresses and ports. */
function flowOf(packet: Uint8Array): string {
  const isIpv4 = (packet[0] ?? 0) >> 4 === 4
  const key = isIpv4 ? [packet[9], ...packet.subarray(12, 24)] : [packet[6], ...packet.subarray(8, 44)]
  return key.join()
}

/** Packets of each flow in order. */
function byFlow(packets: readonly Uint8Array[]): ReadonlyMap<string, readonly string[]> {
  const flows = new Map<string, string[]>()
  for (const packet of packets)
    flows.set(flowOf(packet), [...(flows.get(flowOf(packet)) ?? []), essence(packet)])
  return flows
}

function run(
  base: SegmentFields,
  count: number,
  size: number,
  last: Partial<SegmentFields> = {}
): Uint8Array[] {
  return Array.from({ length: count }, (_, index) =>
    segment({
      ...base,
      sequence: ((base.sequence ?? 1000) + index * size) % 0x1_0000_0000,
      identification: (base.identification ?? 0) + index,
      payload: new Array<number>(size).fill(index),
      ...(index === count - 1 ? last : {})
    })
  )
}

describe('coalescing', () => {
  it.each([4, 6] as const)(
    'makes one frame of a run of segments (IPv%i), whatever its last one is',
    (family) => {
      const options = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]
      for (const last of [{}, { flags: 0x18 }, { payload: [1, 2, 3] }, { flags: 0x18, payload: [9] }]) {
        const packets = run({ family, options, identification: 40, payload: [] }, 40, 1300, last)
        const frames = coalesce(packets)
        expect(frames).toHaveLength(1)
        expect(cut(frames[0] ?? new Uint8Array(0))).toEqual(packets)
      }
    }
  )

  it('keeps several flows apart, and holds at most 64 KiB of each', () => {
    const flows = [1, 2, 3].map((port) => run({ family: 6, sourcePort: port, payload: [] }, 50, 1400))
    const mixed = (flows[0] ?? []).flatMap((_, index) =>
      flows.map((flow) => flow[index] ?? new Uint8Array(0))
    )
    const frames = coalesce(mixed)
    expect(frames).toHaveLength(6)
    for (const frame of frames) expect(frame.length).toBeLessThanOrEqual(VNET_HEADER_LENGTH + 65_535)
    expect(byFlow(frames.flatMap(cut))).toEqual(byFlow(mixed))
  })

  it('takes more flows than it has room for, one after the other', () => {
    const flows = Array.from({ length: 20 }, (_, port) =>
      run({ family: 4, sourcePort: port + 1, payload: [] }, 3, 100)
    )
    const mixed = [0, 1, 2].flatMap((index) => flows.map((flow) => flow[index] ?? new Uint8Array(0)))
    expect(byFlow(coalesce(mixed).flatMap(cut))).toEqual(byFlow(mixed))
  })

  it('holds nothing back and changes nothing where the device takes no super-packets', () => {
    const packets = run({ family: 4, payload: [] }, 5, 100)
    const bare = coalesce(packets, false).map((frame) => frame.slice(VNET_HEADER_LENGTH))
    expect(bare).toEqual(packets)
  })

  /** Differences after which a segment may not join the one before. */
  const differences: readonly [string, Partial<SegmentFields>][] = [
    ['a gap', { sequence: 1101 }],
    ['a repetition', { sequence: 1000 }],
    ['another acknowledgement', { acknowledgement: 78 }],
    ['another window', { window: 1 }],
    ['an urgent pointer', { urgent: 1 }],
    ['other options', { options: [1, 1, 1, 1] }],
    ['reserved bits', { reserved: 1 }],
    ['another TTL', { ttl: 63 }],
    ['another ECN field', { tos: 3 }],
    ['a longer payload', { payload: new Array<number>(101).fill(1) }],
    ['FIN', { flags: 0x11 }],
    ['SYN', { flags: 0x12 }],
    ['RST', { flags: 0x14 }],
    ['URG', { flags: 0x30 }],
    ['CWR', { flags: 0x90 }],
    ['ECE on one only', { flags: 0x50 }],
    ['no ACK', { flags: 0 }],
    ['no payload', { payload: [] }]
  ]
  it.each([...differences, ['the reserved IPv4 flag', { fragment: 0x8000 }] as const])(
    'does not join across %s',
    (_name, difference) => {
      const base: SegmentFields = {
        family: 4,
        sequence: 1000,
        identification: 1,
        payload: new Array<number>(100).fill(1)
      }
      const packets = [segment(base), segment({ ...base, sequence: 1100, identification: 2, ...difference })]
      const frames = coalesce(packets)
      expect(frames.map((frame) => frame.slice(VNET_HEADER_LENGTH))).toEqual(packets)
    }
  )

  it('does not join IPv6 packets of different flow labels', () => {
    const base: SegmentFields = { family: 6, sequence: 1000, payload: [1, 2] }
    expect(coalesce([segment(base), segment({ ...base, sequence: 1002, flowLabel: 1 })])).toHaveLength(2)
  })

  it('goes by the identification of IPv4 packets only where it means something', () => {
    const frames = (fragment: number, identifications: readonly number[]) =>
      coalesce(
        identifications.map((identification, index) =>
          segment({ family: 4, fragment, identification, sequence: 1000 + index * 2, payload: [1, 2] })
        )
      ).length
    expect(frames(0x4000, [7, 8, 9])).toBe(1)
    expect(frames(0x4000, [0, 0, 0])).toBe(1)
    expect(frames(0x4000, [7, 9, 11])).toBe(3)
    expect(frames(0x4000, [7, 7, 9])).toBe(2)
    expect(frames(0x4000, [7, 8, 7])).toBe(2)
    expect(frames(0, [7, 8, 9])).toBe(1)
    expect(frames(0, [0, 0, 0])).toBe(3)
    expect(frames(0x4000, [65535, 0, 1])).toBe(1)
  })

  it('passes packets with a wrong checksum as they are', () => {
    for (const at of [10, 36, 45]) {
      const packets = run({ family: 4, payload: [] }, 3, 100)
      const broken = packets[1] ?? new Uint8Array(0)
      broken[at] = (broken[at] ?? 0) ^ 0x20
      const frames = coalesce(packets)
      expect(frames.map((frame) => frame.slice(VNET_HEADER_LENGTH))).toEqual(packets)
    }
  })

  it('keeps fragments and unusual packets of a flow behind its segments', () => {
    const packets = run({ family: 4, payload: [] }, 2, 100)
    const strangers = [
      segment({ family: 4, ipOptions: [1, 1, 1, 1], payload: [1] }),
      ipv4([1, 2, 3, 4, 5, 6, 7, 8], { protocol: 6, fragment: 0x2001 }),
      ipv6([...fragmentHeader(6, 1, true), 1, 2, 3, 4, 5, 6, 7, 8], { nextHeader: 44 })
    ]
    for (const stranger of strangers)
      expect(coalesce([...packets, stranger]).flatMap(cut)).toEqual([...packets, stranger])
  })

  it.each([4, 6] as const)(
    'makes one frame of UDP datagrams of one length and a last, shorter one (IPv%i)',
    (family) => {
      for (const last of [{}, { payload: [1, 2, 3] }]) {
        const packets = run({ family, upper: 'udp', identification: 40, payload: [] }, 40, 1200, last)
        const frames = coalesce(packets)
        expect(frames).toHaveLength(1)
        expect(cut(frames[0] ?? new Uint8Array(0))).toEqual(packets)
      }
    }
  )

  it('puts no more than 64 datagrams together, as the kernel does', () => {
    const packets = run({ family: 4, upper: 'udp', payload: [] }, 150, 20)
    const frames = coalesce(packets)
    expect(frames.map((frame) => cut(frame).length)).toEqual([64, 64, 22])
    expect(frames.flatMap(cut)).toEqual(packets)
  })

  it('leaves UDP alone where the device takes no super-packets of it', () => {
    const packets = run({ family: 4, upper: 'udp', payload: [] }, 5, 100)
    const bare = coalesce(packets, true, 1000, false).map((frame) => frame.slice(VNET_HEADER_LENGTH))
    expect(bare).toEqual(packets)
  })

  it('passes datagrams without a checksum, with a wrong one, without a payload, or of another length as they are', () => {
    const strange: readonly ((packet: Uint8Array) => void)[] = [
      (packet) => packet.fill(0, 26, 28),
      (packet) => packet.fill(0xee, 40, 41),
      (packet) => packet.fill(0xff, 24, 26)
    ]
    for (const change of strange) {
      const packets = run({ family: 4, upper: 'udp', payload: [] }, 3, 100)
      change(packets[1] ?? new Uint8Array(0))
      expect(coalesce(packets).map((frame) => frame.slice(VNET_HEADER_LENGTH))).toEqual(packets)
    }
    const base: SegmentFields = { family: 4, upper: 'udp', identification: 0, payload: [] }
    for (const payload of [[], new Array<number>(101).fill(1)]) {
      const packets = [
        segment({ ...base, payload: new Array<number>(100).fill(1) }),
        segment({ ...base, identification: 1, payload })
      ]
      expect(coalesce(packets).map((frame) => frame.slice(VNET_HEADER_LENGTH))).toEqual(packets)
    }
  })

  it('keeps TCP and UDP of the same addresses and ports apart', () => {
    const [tcp, udpPackets] = (['tcp', 'udp'] as const).map((upper) =>
      run({ family: 6, upper, payload: [] }, 4, 100)
    )
    const mixed = (tcp ?? []).flatMap((packet, index) => [packet, udpPackets?.[index] ?? packet])
    const frames = coalesce(mixed)
    expect(frames).toHaveLength(2)
    expect(byFlow(frames.flatMap(cut))).toEqual(byFlow(mixed))
  })

  const flows: fc.Arbitrary<SegmentFields> = fc.record({
    family: fc.constantFrom(4 as const, 6 as const),
    upper: fc.constantFrom('tcp' as const, 'udp' as const),
    sourcePort: fc.constantFrom(1, 2),
    sequence: fc.constantFrom(5, 0xffff_ff80),
    fragment: fc.constantFrom(0x4000, 0),
    identification: fc.constantFrom(0, 65_530),
    options: fc.constantFrom([], [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
    payload: fc.constant([])
  })
  /** What makes a packet different from a plain continuation; most are none of these. */
  const changes: fc.Arbitrary<
    Partial<SegmentFields> & { readonly corrupt?: number; readonly skip?: number }
  > = fc.oneof(
    { weight: 12, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: fc.constantFrom(...differences.map(([, one]) => one)) },
    { weight: 1, arbitrary: fc.constant({ flags: 0x18 }) },
    { weight: 1, arbitrary: fc.nat(200).map((corrupt) => ({ corrupt })) },
    { weight: 1, arbitrary: fc.integer({ min: -100, max: 100 }).map((skip) => ({ skip })) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        { identification: 0 },
        { fragment: 0x2000 },
        { ipOptions: [1, 1, 1, 1] },
        { extensionUnits: 1 }
      )
    }
  )
  const others = fc.constantFrom(ipv4(udp(1, 2)), ipv6(udp(1, 2)), ipv4(icmp(8, 0), { protocol: 1 }))

  it('puts together just what the naive twin does; cut again, that is what went in, flow by flow', () => {
    let joined = 0
    const steps = fc.array(
      fc.record({
        flow: fc.nat(2),
        size: fc.constantFrom(100, 100, 100, 100, 60, 0, 130),
        change: changes,
        other: fc.oneof({ weight: 12, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: others })
      }),
      { maxLength: 60, size: 'max' }
    )
    fc.assert(
      fc.property(
        fc.tuple(flows, flows, flows),
        steps,
        fc.constantFrom(3, 10, 1000),
        (kinds, moves, batch) => {
          const next = kinds.map((kind) => ({
            sequence: kind.sequence ?? 0,
            identification: kind.identification ?? 0
          }))
          const packets = moves.map(({ flow, size, change, other }) => {
            const { corrupt, skip, ...fields } = change
            const state = next[flow]
            const kind = kinds[flow]
            if (other !== null || state === undefined || kind === undefined)
              return Uint8Array.from(other ?? [])
            state.sequence = (state.sequence + (skip ?? 0) + 0x1_0000_0000) % 0x1_0000_0000
            const payload = new Array<number>(size).fill(flow + 1)
            const packet = segment({ ...kind, ...state, payload, ...fields })
            state.sequence = (state.sequence + (fields.payload?.length ?? size)) % 0x1_0000_0000
            state.identification = (state.identification + 1) & 0xffff
            if (corrupt !== undefined && corrupt < packet.length) packet[corrupt] = (packet[corrupt] ?? 0) ^ 4
            return packet
          })
          // Corruption may have broken the lengths of a packet, which then never gets here.
          const sound = packets.filter((packet) => ipLength(packet) === packet.length)
          const frames = coalesce(sound, true, batch)
          joined += sound.length - frames.length
          const twin = naiveGroups(sound, batch)
          expect(frames.map((frame) => cut(frame).map(essence))).toEqual(
            twin.map((group) => group.map(essence))
          )
          expect(byFlow(frames.flatMap(cut))).toEqual(byFlow(sound))
        }
      ),
      { numRuns: 600, seed: 2026 }
    )
    // The generator is worth something only if it often makes what can be joined.
    expect(joined).toBeGreaterThan(2000)
  })
})

function ipLength(packet: Uint8Array): number {
  const word = (at: number) => (packet[at] ?? 0) * 256 + (packet[at + 1] ?? 0)
  const version = (packet[0] ?? 0) >> 4
  if (version === 4) {
    const headerLength = ((packet[0] ?? 0) & 15) * 4
    return headerLength >= 20 && headerLength <= word(2) ? word(2) : -1
  }
  return version === 6 ? 40 + word(4) : -1
}
