import { expect, test } from 'vitest'
import { clientAddress, networkOf } from '../../src/http/client-address.ts'

const client = (forwarded: string, proxies = 1) => networkOf(clientAddress('192.0.2.1', forwarded, proxies))

test.each([
  ['198.51.100.1', '198.51.100.1'],
  ['198.51.100.1:50001', '198.51.100.1'],
  ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
  ['[2001:db8:1:2::1]', '2001:db8:1:2::/64'],
  ['[2001:DB8:1:2:ffff::9]:50002', '2001:db8:1:2::/64'],
  ['::ffff:198.51.100.1', '198.51.100.1'],
  ['[::ffff:198.51.100.1]:7', '198.51.100.1'],
])('a client behind a proxy that says %s is %s', (forwarded, network) => {
  expect(client(forwarded)).toBe(network)
  expect(client(`203.0.113.7:1, ${forwarded}`)).toBe(network)
})

test('without a proxy, and where one said nothing, the connection counts', () => {
  expect(client('198.51.100.1', 0)).toBe('192.0.2.1')
  expect(client('')).toBe('192.0.2.1')
  expect(client('198.51.100.1', 2)).toBe('192.0.2.1')
})
