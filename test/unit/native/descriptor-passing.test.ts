import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { receiveDescriptors, sendDescriptors, socketPair } from '../../../src/native/descriptor-passing.ts'

let here: number
let there: number
let folder: string
beforeEach(() => {
  ;[here, there] = socketPair()
  folder = mkdtempSync(join(tmpdir(), 'passing-'))
})
afterEach(() => {
  for (const fd of [here, there]) closeSync(fd)
  rmSync(folder, { recursive: true })
})

describe('descriptors that are handed over', () => {
  it('lead to the same files, and come with a text', () => {
    const paths = ['a', 'b'].map((name) => join(folder, name))
    for (const path of paths) writeFileSync(path, `this is ${path}`)
    const sent = paths.map((path) => openSync(path, 'r'))
    sendDescriptors(here, { text: 'two files, ümlaut', descriptors: sent })
    const received = receiveDescriptors(there, 2)
    expect(received?.text).toBe('two files, ümlaut')
    expect(received?.descriptors).toHaveLength(2)
    for (const [index, fd] of (received?.descriptors ?? []).entries()) {
      expect(fd).not.toBe(sent[index])
      expect(fstatSync(fd).ino).toBe(fstatSync(sent[index] ?? -1).ino)
      const buffer = Buffer.alloc(100)
      expect(buffer.toString('utf8', 0, readSync(fd, buffer))).toBe(`this is ${paths[index]}`)
      closeSync(fd)
    }
    for (const fd of sent) closeSync(fd)
  })

  it('are none where none were sent', () => {
    sendDescriptors(here, { text: 'nothing', descriptors: [] })
    expect(receiveDescriptors(there, 2)).toEqual({ text: 'nothing', descriptors: [] })
  })

  it('are not waited for', () => {
    expect(receiveDescriptors(there, 2)).toBeUndefined()
  })

  it('do not come from an end that is closed', () => {
    const [one, other] = socketPair()
    closeSync(one)
    expect(receiveDescriptors(other, 2)).toEqual({ text: '', descriptors: [] })
    closeSync(other)
  })
})
