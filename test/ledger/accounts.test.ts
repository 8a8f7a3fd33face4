import { expect, test } from 'vitest'
import { createAccount, findAccount } from '../../src/ledger/accounts.ts'
import { testLedger } from '../support/database.ts'

test("an account that is called by another's id does not stand in its place", async () => {
  const { ledger, close } = await testLedger()
  try {
    const first = await createAccount(ledger, { externalId: 'alice' })
    const second = await createAccount(ledger, { externalId: first.id })
    expect((await findAccount(ledger, first.id))?.id).toBe(first.id)
    expect((await findAccount(ledger, second.id))?.id).toBe(second.id)
    expect((await findAccount(ledger, 'alice'))?.id).toBe(first.id)
    expect(await findAccount(ledger, 'bob')).toBeNull()
  } finally {
    await close()
  }
})
