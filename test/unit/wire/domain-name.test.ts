import { expect, it } from 'vitest'
import { isDomainName } from '../../../src/wire/domain-name.ts'

it.each(['example', 'corp.example', '_sip._udp.corp.example', 'xn--bcher-kva.example.', '10.in-addr.arpa'])(
  'takes %s',
  (name) => expect(isDomainName(name)).toBe(true)
)

it.each([
  '',
  '.',
  '-x.example',
  'a..b',
  'a b',
  'a\nnameserver 6.6.6.6',
  '~example',
  'bücher.example',
  `${'x'.repeat(64)}.example`,
  `${'x.'.repeat(127)}`
])('takes no %j', (name) => expect(isDomainName(name)).toBe(false))
