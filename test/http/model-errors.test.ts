import { expect, test } from 'vitest'
import { BursarError } from '../../src/errors.ts'
import { headersOf } from '../../src/http/model-errors.ts'

test.each([
  [429, undefined],
  [500, undefined],
  [529, undefined],
  [302, 'false'],
  [401, 'false'],
  [404, 'false'],
])('an upstream that refused with %s may be asked again, unless the header says %s', (status, retry) => {
  const details = { reason: 'refused', upstream_status: status }
  const refused = new BursarError('upstream_error', 'Refused.', { details })
  expect(headersOf(refused)['x-should-retry']).toBe(retry)
})
