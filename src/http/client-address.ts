/** Where a request comes from, as far as limits by address are concerned. */

/**
 * The address of the client: the connection's own, or behind trusted proxies the one that the outermost of them saw.
 * What a client writes into the header itself stands further left and is never looked at.
 *
 * @param proxies how many of them each request passes; each adds one address to X-Forwarded-For.
 */
export function clientAddress(
  connection: string | undefined,
  forwardedFor: string | undefined,
  proxies: number,
): string {
  const seen = (forwardedFor ?? '').split(',').map((address) => withoutPort(address.trim()))
  return (proxies > 0 ? seen.at(-proxies) : undefined) || (connection ?? '')
}

/** Some proxies add the port (RFC 7239, section 6), which its client chooses anew for each connection. */
function withoutPort(address: string): string {
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/.exec(address) ?? []
  return bracketed ?? plain ?? address
}

/** What one client can easily have many of counts as one: of IPv6, a /64. */
export function networkOf(address: string): string {
  const plain = address.replace(/%.*$/, '').toLowerCase()
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(plain)
  if (mapped?.[1] !== undefined) return mapped[1]
  if (!plain.includes(':')) return plain
  const [head = '', tail] = plain.split('::')
  const groups = head === '' ? [] : head.split(':')
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length)
  const all = [...groups, ...Array<string>(Math.max(missing, 0)).fill('0'), ...(tail ?? '').split(':')]
  return `${all
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')}::/64`
}
