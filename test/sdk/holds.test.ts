/** `/v1/holds` through the client, over real HTTP and a real ledger. */
import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { BursarError } from '../../src/errors.ts'
import { createAccount } from '../../src/ledger/accounts.ts'
import { createKey, keyring, revokeKey } from '../../src/ledger/keys.ts'
import { lapseHolds } from '../../src/ledger/lapse.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { captureServiceHold } from '../../src/ledger/service-holds.ts'
import { formatCredits } from '../../src/money.ts'
import { type Client, createClient } from '../../src/sdk/client.ts'
import { checkBooks } from '../support/books.ts'
import { type HttpTill, httpTill } from '../support/till-http.ts'

let till: HttpTill
let client: Client

beforeEach(async () => {
  till = await httpTill({ openai: 'http://127.0.0.1:1/v1' }, { credits: 1_000_000n })
  client = createClient({ url: till.url, key: till.key })
})
afterEach(async () => {
  await checkBooks(till.db)
  await till.close()
})

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

async function sellerKey(): Promise<string> {
  return (await createKey(till.ledger, { scope: 'seller', name: 'seller' })).key
}

async function refused(promise: Promise<unknown>): Promise<BursarError> {
  const error: unknown = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(BursarError)
  return error as BursarError
}

describe('a hold', () => {
  test('is taken, captured in part, and leaves a receipt', async () => {
    const hold = await client.holds.create({ amount: '0.4', name: '/summarize', lifetime_seconds: 60 })
    expect(hold).toMatchObject({
      account: till.buyer,
      name: '/summarize',
      state: 'held',
      amount: '0.400000',
      charged: '0.000000',
      available: '0.600000',
      expires_at: new Date(till.clock.now() + 60_000).toISOString(),
    })
    expect(await client.holds.get(hold.id)).toEqual(hold)
    const captured = await client.holds.capture(hold.id, { amount: '0.15' })
    expect(captured).toEqual({ ...hold, state: 'captured', charged: '0.150000', available: '0.850000' })
    expect(await till.receipt()).toMatchObject({
      id: hold.id,
      model: '/summarize',
      state: 'charged',
      charged: 150_000n,
    })
    expect(await till.charged()).toBe(150_000n)
  })

  test('has one outcome: the same again is answered the same, another is refused', async () => {
    const hold = await client.holds.create({ amount: '0.4' })
    const captured = await client.holds.capture(hold.id, { amount: '0.1' })
    expect(await client.holds.capture(hold.id, { amount: '0.100000' })).toEqual(captured)
    expect(await refused(client.holds.capture(hold.id, { amount: '0.2' }))).toMatchObject({
      code: 'hold_closed',
      status: 409,
      details: { receipt: hold.id, state: 'captured', charged: '0.100000' },
    })
    expect(await refused(client.holds.release(hold.id))).toMatchObject({ code: 'hold_closed' })
    const other = await client.holds.create({ amount: '0.4' })
    const released = await client.holds.release(other.id)
    expect(released).toMatchObject({ state: 'released', charged: '0.000000' })
    expect(await client.holds.release(other.id)).toEqual(released)
    expect(await refused(client.holds.capture(other.id, { amount: '0' }))).toMatchObject({
      code: 'hold_closed',
      details: { state: 'released' },
    })
  })

  test.each(['', 'content-length: 0\r\n'])(
    'is released without a body, said %j to have none',
    async (length) => {
      const { id } = await client.holds.create({ amount: '0.4' })
      // As curl -X POST sends it; fetch always gives a length.
      const { hostname, port } = new URL(till.url)
      const socket = connect(Number(port), hostname)
      socket.end(
        `POST /v1/holds/${id}/release HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${till.key}\r\n${length}connection: close\r\n\r\n`,
      )
      expect(await text(socket)).toMatch(/^HTTP\/1\.1 200 /)
      expect(await client.holds.get(id)).toMatchObject({ state: 'released' })
    },
  )

  test('is made once a key, also after its capture; a release frees the key', async () => {
    const ask = { amount: '0.2', idempotency_key: 'one' }
    const [first, second] = await Promise.all([client.holds.create(ask), client.holds.create(ask)])
    expect(second.id).toBe(first.id)
    expect(await refused(client.holds.create({ ...ask, amount: '0.3' }))).toMatchObject({
      code: 'idempotency_conflict',
      details: { receipt: first.id },
    })
    await client.holds.capture(first.id, { amount: '0.2' })
    expect(await client.holds.create(ask)).toMatchObject({ id: first.id, state: 'captured' })
    const other = { ...ask, idempotency_key: 'two' }
    const released = await client.holds.create(other)
    await client.holds.release(released.id)
    const again = await client.holds.create(other)
    expect(again).toMatchObject({ state: 'held' })
    expect(again.id).not.toBe(released.id)
    await client.holds.release(again.id)
  })

  test('lapses by itself, and then takes no charge', async () => {
    const hold = await client.holds.create({ amount: '0.4', lifetime_seconds: 1, idempotency_key: 'one' })
    till.clock.advance(1_000)
    await lapseHolds(till.ledger)
    expect(await client.holds.get(hold.id)).toMatchObject({ state: 'lapsed', available: '1.000000' })
    expect(await refused(client.holds.capture(hold.id, { amount: '0.4' }))).toMatchObject({
      code: 'hold_closed',
      details: { state: 'lapsed' },
    })
    // Nobody knows whether the service was rendered, so the key stays taken.
    expect(
      await refused(client.holds.create({ amount: '0.4', lifetime_seconds: 1, idempotency_key: 'one' })),
    ).toMatchObject({ code: 'idempotency_conflict', details: { receipt: hold.id } })
    expect(await till.charged()).toBe(0n)
  })

  test('is captured by another process than the one that took it', async () => {
    const hold = await client.holds.create({ amount: '0.4' })
    const other = openLedger({
      db: await openDb({ url: till.database, runtime: till.runtime }),
      runtime: till.runtime,
    })
    const principal = await keyring(other).authenticate(till.key)
    const captured = await captureServiceHold(other, principal, hold.id, { amount: '0.3' })
    await other.close()
    expect(captured).toMatchObject({ state: 'captured', charged: '0.300000' })
    expect(await client.holds.get(hold.id)).toEqual(captured)
  })

  test('is refused without credits, and nothing is left of it', async () => {
    expect(await refused(client.holds.create({ amount: '1.000001' }))).toMatchObject({
      code: 'insufficient_credits',
      status: 402,
      remedy: expect.stringContaining('create_invoice'),
      details: { available: '1.000000', required: '1.000001', reason: 'empty' },
    })
    await expect(till.receipt()).rejects.toThrow('expected a receipt')
    expect(await till.charged()).toBe(0n)
  })

  test.each<[string, object]>([
    ['nothing', { amount: '0' }],
    ['a number', { amount: 1 }],
    ['a negative amount', { amount: '-1' }],
    ['a week', { amount: '0.1', lifetime_seconds: 604_800 }],
    ['no lifetime', { amount: '0.1', lifetime_seconds: 0 }],
    ['a name with a line break', { amount: '0.1', name: 'a\nb' }],
    ['an unknown field', { amount: '0.1', charge: '1' }],
    ['a lock that is no hash', { amount: '0.1', lock: 'secret' }],
  ])('of %s is refused', async (_, body) => {
    expect(await refused(client.holds.create(body as { amount: string }))).toMatchObject({
      code: 'invalid_request',
    })
  })

  test('is refused a name that is no Unicode text: the driver ends the process that reads such a one', async () => {
    for (const name of ['\ud800', 'a\udfffb', '\ud83d']) {
      const refusal = await refused(client.holds.create({ amount: '0.4', name }))
      expect(refusal).toMatchObject({ code: 'invalid_request', message: expect.stringContaining('name') })
    }
    expect((await client.holds.create({ amount: '0.4', name: '\ud83d\ude00' })).name).toBe('\u{1f600}')
  })

  test('takes no charge above its amount', async () => {
    const hold = await client.holds.create({ amount: '0.1' })
    expect(await refused(client.holds.capture(hold.id, { amount: '0.100001' }))).toMatchObject({
      code: 'invalid_request',
      details: { held: '0.100000' },
    })
    expect(await client.holds.get(hold.id)).toEqual(hold)
    await client.holds.release(hold.id)
  })
})

describe('who may', () => {
  test("an account's key holds its own credits only; the seller's any account's, by either name", async () => {
    const alice = await createAccount(till.ledger, { externalId: 'alice' })
    await till.grant(alice.id, 500_000n)
    for (const whose of [{ account: alice.id }, { external_id: 'alice' }]) {
      expect(await refused(client.holds.create({ amount: '0.1', ...whose }))).toMatchObject({
        code: 'forbidden',
      })
    }
    const seller = createClient({ url: till.url, key: await sellerKey() })
    expect(await refused(seller.holds.create({ amount: '0.1' }))).toMatchObject({ code: 'invalid_request' })
    expect(await refused(seller.holds.create({ amount: '0.1', external_id: 'bob' }))).toMatchObject({
      code: 'not_found',
    })
    const held = await seller.holds.create({ amount: '0.1', external_id: 'alice' })
    expect(held).toMatchObject({ account: alice.id, available: '0.400000' })
    // Another account's hold is not told apart from none.
    for (const act of [
      client.holds.get(held.id),
      client.holds.capture(held.id, { amount: '0.1' }),
      client.holds.release(held.id),
    ]) {
      expect(await refused(act)).toMatchObject({ code: 'not_found' })
    }
    expect(await seller.holds.capture(held.id, { amount: '0.1' })).toMatchObject({ charged: '0.100000' })
    expect(await seller.holds.create({ amount: '0.2', account: alice.id })).toMatchObject({ state: 'held' })
  })

  test('an agent sees and settles its own holds, not those of the account', async () => {
    const agent = await till.agent(till.buyer)
    const { key } = await createKey(till.ledger, { scope: 'agent', account: till.buyer, agent, name: 'a' })
    const mine = await client.holds.create({ amount: '0.1', account: till.buyer }, { key })
    const theirs = await client.holds.create({ amount: '0.1' })
    expect(await refused(client.holds.get(theirs.id, { key }))).toMatchObject({ code: 'not_found' })
    expect(await client.holds.capture(mine.id, { amount: '0.1' }, { key })).toMatchObject({
      state: 'captured',
    })
  })

  test('a lock keeps the buyer off, and its secret settles, even when the key was revoked', async () => {
    const unlock = randomBytes(32).toString('hex')
    const { id: keyId, key } = await createKey(till.ledger, {
      scope: 'account',
      account: till.buyer,
      name: 'buyer',
    })
    const hold = await client.holds.create({ amount: '0.4', lock: sha256(unlock) }, { key })
    expect(hold.lock).toBe(sha256(unlock))
    for (const body of [{}, { unlock: randomBytes(32).toString('hex') }]) {
      expect(await refused(client.holds.release(hold.id, body, { key }))).toMatchObject({ code: 'forbidden' })
      expect(await refused(client.holds.capture(hold.id, { amount: '0', ...body }, { key }))).toMatchObject({
        code: 'forbidden',
      })
    }
    await revokeKey(till.ledger, { id: keyId })
    till.clock.advance(2_000)
    expect(await refused(client.holds.get(hold.id, { key }))).toMatchObject({ code: 'unauthorized' })
    const captured = await client.holds.capture(hold.id, { amount: '0.4', unlock }, { key })
    expect(captured).toMatchObject({ state: 'captured', charged: '0.400000' })
    const nobody = createClient({ url: till.url })
    expect(await nobody.holds.capture(hold.id, { amount: '0.4', unlock })).toEqual(captured)
    expect(await refused(nobody.holds.capture(hold.id, { amount: '0.4' }))).toMatchObject({
      code: 'unauthorized',
    })
    expect(
      await refused(nobody.holds.release(hold.id, { unlock: randomBytes(32).toString('hex') })),
    ).toMatchObject({ code: 'not_found' })
  })

  test('the hold of a model call is not one of these', async () => {
    await till.post('/v1/chat/completions', {
      model: 'gpt',
      messages: [{ role: 'user', content: 'Good day?' }],
    })
    const { id } = await till.receipt()
    expect(await refused(client.holds.release(id))).toMatchObject({ code: 'not_found' })
  })
})

test('whatever is asked, in whatever order, the books agree with what was answered', async () => {
  const amount = fc.integer({ min: 1, max: 400_000 })
  const step = fc.oneof(
    fc.record({ kind: fc.constant('hold' as const), amount, key: fc.constantFrom('a', 'b', 'c', undefined) }),
    fc.record({ kind: fc.constant('capture' as const), amount, at: fc.nat(5) }),
    fc.record({ kind: fc.constant('release' as const), at: fc.nat(5) }),
    fc.record({ kind: fc.constant('lapse' as const) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const account = await till.account(1_000_000n)
      const buyer = createClient({ url: till.url, key: await till.keyFor(account) })
      const seen = new Map<string, { held: bigint; charged: bigint | null }>()
      const ids: string[] = []
      for (const each of steps) {
        const id = 'at' in each ? (ids[each.at] ?? 'hold_none') : ''
        const credits = 'amount' in each ? formatCredits(BigInt(each.amount)) : ''
        const act =
          each.kind === 'hold'
            ? buyer.holds.create({
                amount: credits,
                lifetime_seconds: 60,
                ...(each.key ? { idempotency_key: each.key } : {}),
              })
            : each.kind === 'capture'
              ? buyer.holds.capture(id, { amount: credits })
              : each.kind === 'release'
                ? buyer.holds.release(id)
                : null
        if (!act) {
          till.clock.advance(60_000)
          await lapseHolds(till.ledger)
          for (const hold of seen.values()) hold.charged ??= 0n
          continue
        }
        const view = await act.catch((error: unknown) => {
          expect(error).toMatchObject({
            code: expect.stringMatching(
              /^(insufficient_credits|idempotency_conflict|hold_closed|not_found|invalid_request)$/,
            ),
          })
          return null
        })
        if (!view) continue
        if (!seen.has(view.id)) ids.push(view.id)
        const held = BigInt(view.amount.replace('.', ''))
        const before = seen.get(view.id)
        // What has ended never ends otherwise.
        if (before?.charged != null) expect(view.charged).toBe(formatCredits(before.charged))
        seen.set(view.id, {
          held,
          charged: view.state === 'held' ? null : BigInt(view.charged.replace('.', '')),
        })
      }
      let [available, open] = [1_000_000n, 0n]
      for (const { held, charged } of seen.values()) {
        available -= charged ?? held
        if (charged === null) open += held
      }
      const [row] = await till.db.query<{ available: bigint; held: bigint }>(
        'SELECT available, held FROM account WHERE id = ?',
        [account],
      )
      expect(row).toEqual({ available, held: open })
    }),
    { numRuns: 25 },
  )
})
