/** `npm run demo -- --keep` invites people to ask: its emulator answers whatever they ask, at each endpoint. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startUpstream, type Upstream } from '../../demo/upstream.ts'

let upstream: Upstream

beforeAll(async () => {
  upstream = await startUpstream({})
})
afterAll(() => upstream.stop())

describe("the demo's emulator", () => {
  test('lists its model, and no other', async () => {
    const { data } = (await (await fetch(`${upstream.baseUrl}/models`)).json()) as { data: { id: string }[] }
    expect(data.map(({ id }) => id)).toEqual([upstream.model])
  })

  test.each([
    ['chat/completions', { messages: [{ role: 'user', content: 'Hi' }] }],
    ['chat/completions', { messages: [{ role: 'user', content: 'Hi' }], stream: true }],
    ['responses', { input: 'Hi' }],
  ])('%s answers any question', async (endpoint, body) => {
    const answer = await fetch(`${upstream.baseUrl}/${endpoint}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${upstream.apiKey}` },
      body: JSON.stringify({ model: upstream.model, ...body }),
    })
    expect(answer.status).toBe(200)
    expect(await answer.text()).toMatch(/emulator/)
  })
})
