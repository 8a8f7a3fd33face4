import { z } from 'zod'
import { defineTool, readOnly } from './tool.ts'

const text = z.string()

export const getBalance = defineTool({
  name: 'get_balance',
  title: 'Get the balance',
  description:
    'Credits available and held by running calls, the next expiry, the burn rate and how many days they last.',
  input: z.strictObject({}),
  output: z.object({
    account: text,
    available: text,
    held: text,
    next_expiry: z.object({ credits: text, at: text }).nullable(),
    burn_rate_per_day: text,
    runway_days: text.nullable(),
    frozen: z.boolean(),
    allowance: z
      .object({ per_call: text.nullable(), day_left: text.nullable(), month_left: text.nullable() })
      .nullable(),
  }),
  hints: readOnly,
  needs: 'till',
  async handler({ bursar }) {
    const balance = await bursar.getBalance()
    const lines = [`${balance.available} credits available, ${balance.held} held by running calls.`]
    if (balance.next_expiry) {
      lines.push(`${balance.next_expiry.credits} of them expire at ${balance.next_expiry.at}.`)
    }
    lines.push(
      balance.runway_days === null
        ? 'Nothing was spent lately.'
        : `At ${balance.burn_rate_per_day} credits a day they last ${balance.runway_days} days.`,
    )
    const { per_call: call, day_left: day, month_left: month } = balance.allowance ?? {}
    const limits = [
      ...(call ? [`${call} a call`] : []),
      ...(day ? [`${day} more today`] : []),
      ...(month ? [`${month} more this month`] : []),
    ]
    if (limits.length > 0) lines.push(`Your allowance: ${limits.join(', ')} (UTC).`)
    if (balance.frozen)
      lines.push('Spending is frozen, until whoever manages the account, or the seller, lifts that.')
    return { data: balance, text: [lines.join('\n')] }
  },
})
