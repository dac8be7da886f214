import { describe, expect, it } from 'vitest'
import { PathJudge } from '../../../src/client/path-judge.ts'

const timings = { silenceMs: 700, livenessAnswerMs: 800, espSilenceMs: 2500 }

describe('path judge', () => {
  it('says nothing while packets are answered', () => {
    const judge = new PathJudge(timings)
    for (let now = 0; now < 10_000; now += 100) {
      judge.sent(now, 3)
      expect(judge.verdict(now)).toBeUndefined()
      judge.received(now, 3)
    }
    expect(judge.carriesEsp).toBe(true)
  })

  it('asks after silence, then calls the peer silent when the question is not answered', () => {
    const judge = new PathJudge(timings)
    judge.sent(0, 3)
    expect(judge.verdict(699)).toBeUndefined()
    expect(judge.verdict(700)).toBe('ask')
    judge.asked(700)
    expect(judge.verdict(1499)).toBeUndefined()
    expect(judge.verdict(1500)).toBe('peer-silent')
  })

  it('calls ESP silent when IKE is answered but nothing comes back', () => {
    const judge = new PathJudge(timings)
    judge.sent(0, 5)
    judge.asked(700)
    judge.livenessAnswered()
    expect(judge.verdict(2499)).toBeUndefined()
    expect(judge.verdict(2500)).toBe('esp-silent')
    expect(judge.carriesEsp).toBe(false)
  })

  it('does not doubt a path that has carried ESP when somebody inside does not answer', () => {
    const judge = new PathJudge(timings)
    judge.received(0, 1)
    judge.sent(1000, 3)
    expect(judge.verdict(1700)).toBe('ask')
    judge.asked(1700)
    judge.livenessAnswered()
    expect(judge.verdict(3500)).toBeUndefined()
    // It goes on asking, less often, and still notices when the peer goes, too.
    judge.sent(4000, 3)
    expect(judge.verdict(5399)).toBeUndefined()
    expect(judge.verdict(5400)).toBe('ask')
    judge.asked(5400)
    expect(judge.verdict(6200)).toBe('peer-silent')
  })

  it('does not judge by one or two packets', () => {
    const judge = new PathJudge(timings)
    judge.sent(0, 2)
    expect(judge.verdict(60_000)).toBeUndefined()
  })

  it('becomes more patient after a wrong verdict, and eager again once ESP arrives', () => {
    const judge = new PathJudge(timings)
    judge.wasWrong()
    judge.sent(0, 3)
    expect(judge.verdict(1399)).toBeUndefined()
    expect(judge.verdict(1400)).toBe('ask')
    judge.received(1500, 1)
    judge.sent(2000, 3)
    expect(judge.verdict(2700)).toBe('ask')
  })

  it('starts anew on a new path', () => {
    const judge = new PathJudge(timings)
    judge.received(0, 1)
    judge.sent(0, 9)
    judge.reset()
    expect(judge.carriesEsp).toBe(false)
    expect(judge.verdict(60_000)).toBeUndefined()
  })

  it('asks when a flow breaks off, although nothing is left unanswered, and says no more than that', () => {
    const judge = new PathJudge(timings)
    for (let now = 0; now <= 1000; now += 100) judge.received(now, 50)
    expect(judge.verdict(1699)).toBeUndefined()
    expect(judge.verdict(1700)).toBe('ask')
    judge.asked(1700)
    expect(judge.verdict(2500)).toBe('peer-silent')
    judge.livenessAnswered()
    expect(judge.verdict(60_000)).toBeUndefined()
  })

  it('does not ask when a trickle ends', () => {
    const judge = new PathJudge(timings)
    for (let now = 0; now <= 2000; now += 100) judge.received(now, 2)
    expect(judge.verdict(60_000)).toBeUndefined()
  })
})
