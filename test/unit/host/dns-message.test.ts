import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { answerQuestion, RecordType, readQuestion } from '../../../src/host/services/dns-message.ts'

function query(name: string, type: number): Uint8Array {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)])
  return Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, type, 0, 1])
}

function answered(name: string, type: number, addresses: readonly string[] | undefined): Buffer {
  const message = query(name, type)
  const question = readQuestion(message)
  if (question === undefined) throw new Error('it is a question')
  return Buffer.from(answerQuestion(message, question, addresses))
}

describe('the name server of a lab', () => {
  it('reads a question, in lower case', () => {
    expect(readQuestion(query('VPN.Example', RecordType.A))).toMatchObject({ name: 'vpn.example', type: 1 })
  })

  it('answers with the addresses of the family that was asked for', () => {
    const addresses = ['198.51.100.1', '2001:db8::1', '198.51.100.2']
    const four = answered('a.b', RecordType.A, addresses)
    expect(four.readUInt16BE(6)).toBe(2)
    expect([...four.subarray(-4)]).toEqual([198, 51, 100, 2])
    const six = answered('a.b', RecordType.AAAA, addresses)
    expect(six.readUInt16BE(6)).toBe(1)
    expect(six.subarray(-16).toString('hex')).toBe('20010db8000000000000000000000001')
  })

  it('knows a name without such an address from no name at all', () => {
    const none = answered('a.b', RecordType.AAAA, ['198.51.100.1'])
    expect([none.readUInt16BE(2) & 15, none.readUInt16BE(6)]).toEqual([0, 0])
    const missing = answered('a.b', RecordType.A, undefined)
    expect([missing.readUInt16BE(2) & 15, missing.readUInt16BE(6)]).toEqual([3, 0])
    expect(missing.readUInt16BE(0)).toBe(0x1234)
  })

  it('takes nothing else for a question', () => {
    expect(readQuestion(answered('a.b', RecordType.A, []))).toBeUndefined()
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const question = readQuestion(bytes)
        expect(question === undefined || question.end <= bytes.length).toBe(true)
      })
    )
  })
})
