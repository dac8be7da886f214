import { describe, expect, it } from 'vitest'
import { PathJudge } from '../../../src/client/path-judge.ts'

const timings = {
  ...{ silenceMs: 700, sparseSilenceMs: 2000, livenessAnswerMs: 800 },
  ...{ espSilenceMs: 2500, witnessSilenceMs: 2000, movedSilenceMs: 1000 }
}

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

  it('asks about one or two packets later, and says no more about ESP', () => {
    const judge = new PathJudge(timings)
    judge.sent(0, 2)
    expect(judge.verdict(1999)).toBeUndefined()
    expect(judge.verdict(2000)).toBe('ask')
    judge.asked(2000)
    judge.livenessAnswered()
    expect(judge.verdict(60_000)).toBeUndefined()
    judge.sent(60_000, 1)
    expect(judge.verdict(63_999)).toBeUndefined()
    judge.asked(64_000)
    expect(judge.verdict(64_800)).toBe('peer-silent')
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

  it('believes a witness that a path does not carry ESP any more', () => {
    const judge = new PathJudge(timings)
    judge.received(0, 1)
    judge.sent(1000, 3)
    judge.asked(1700)
    judge.livenessAnswered()
    expect(judge.verdict(2999, true)).toBeUndefined()
    expect(judge.verdict(3000, true)).toBe('esp-silent')
    expect(judge.verdict(3000, false)).toBeUndefined()
  })

  it('believes it about a flow that broke off, too', () => {
    const judge = new PathJudge(timings)
    for (let now = 0; now <= 1000; now += 100) judge.received(now, 50)
    judge.asked(1700)
    judge.livenessAnswered()
    expect(judge.verdict(2900, true)).toBeUndefined()
    expect(judge.verdict(3000, true)).toBe('esp-silent')
  })

  it('is quick on a path to which only IKE may have followed', () => {
    const judge = new PathJudge(timings)
    judge.reset(true)
    judge.sent(0, 3)
    expect(judge.verdict(699)).toBeUndefined()
    expect(judge.verdict(1000)).toBe('esp-silent')
    judge.received(1100, 1)
    judge.sent(2000, 3)
    expect(judge.verdict(3000)).toBe('ask')
  })

  it('asks when a transport takes nothing and nothing comes, and is content when something does', () => {
    const judge = new PathJudge(timings)
    judge.blocked(0, true)
    judge.blocked(500, true)
    judge.received(600, 1)
    expect(judge.verdict(1200)).toBeUndefined()
    expect(judge.verdict(1300)).toBe('ask')
    judge.asked(1300)
    expect(judge.verdict(2100)).toBe('peer-silent')
    judge.blocked(2100, false)
    judge.received(2100, 1)
    expect(judge.verdict(10_000)).toBeUndefined()
  })

  it('gives a peer far away the time of its round trip', () => {
    const judge = new PathJudge(timings)
    judge.livenessAnswered(600)
    judge.sent(0, 3)
    expect(judge.verdict(1299)).toBeUndefined()
    expect(judge.verdict(1300)).toBe('ask')
    judge.asked(1300)
    expect(judge.verdict(2699)).toBeUndefined()
    expect(judge.verdict(2700)).toBe('peer-silent')
    // A clock that jumped is no round trip.
    judge.noteRoundTrip(3_600_000)
    expect(judge.verdict(2700)).toBe('peer-silent')
  })

  it('does not call ESP silent again, once nobody answers anywhere, before something arrives', () => {
    const judge = new PathJudge(timings)
    judge.resign()
    judge.sent(0, 3)
    judge.asked(2000)
    judge.livenessAnswered()
    expect(judge.verdict(6000, true)).toBeUndefined()
    judge.received(7000, 1)
    judge.sent(8000, 3)
    judge.asked(8700)
    judge.livenessAnswered()
    expect(judge.verdict(10_000, true)).toBe('esp-silent')
  })
})
