/** What must hold in every ledger at every moment, asked of the database itself. */
import { expect } from 'vitest'
import type { Db } from '../../src/db/db.ts'

export async function checkBooks(db: Pick<Db, 'query'>): Promise<void> {
  expect(
    await db.query('SELECT * FROM posting WHERE available + held + counter <> 0'),
    'a posting sums to zero',
  ).toEqual([])
  expect(
    await db.query(
      `SELECT a.id, a.available, a.held, sum(p.available), sum(p.held) FROM account a LEFT JOIN posting p ON p.account = a.id
       GROUP BY a.id HAVING a.available <> coalesce(sum(p.available), 0) OR a.held <> coalesce(sum(p.held), 0)`,
    ),
    'a balance is the sum of its postings',
  ).toEqual([])
  expect(
    await db.query(
      `SELECT a.id, a.held, sum(h.amount) FROM account a LEFT JOIN hold h ON h.account = a.id
       GROUP BY a.id HAVING a.held <> coalesce(sum(h.amount), 0)`,
    ),
    'what is held is the sum of the open holds',
  ).toEqual([])
  expect(
    await db.query(
      `SELECT a.id, a.available + a.held AS has, sum(l.remaining) FROM account a LEFT JOIN lot l ON l.account = a.id
       GROUP BY a.id HAVING coalesce(sum(l.remaining), 0) <> max(0, a.available + a.held)`,
    ),
    'the lots add up to what an account has',
  ).toEqual([])
  expect(
    await db.query(
      `SELECT a.id FROM account a JOIN lot l ON l.account = a.id
       WHERE l.remaining > 0 AND l.expires_at < a.next_expiry`,
    ),
    'no open lot expires before next_expiry',
  ).toEqual([])
  expect(
    await db.query(
      `SELECT p.ref FROM posting p WHERE p.phase = 1
       AND NOT EXISTS (SELECT 1 FROM posting o WHERE o.ref = p.ref AND o.phase = 0 AND o.account = p.account)`,
    ),
    'a closing closes something',
  ).toEqual([])
  expect(
    await db.query(
      `SELECT a.id FROM account a
       WHERE (SELECT coalesce(sum(charged), 0) FROM spend s WHERE s.account = a.id)
         <> (SELECT coalesce(sum(counter), 0) FROM posting p WHERE p.account = a.id AND p.book = 'revenue')`,
    ),
    'spend by the hour adds up to revenue',
  ).toEqual([])
  expect(
    await db.query(
      `SELECT agent, day, sum(held), sum(charged) FROM (
         SELECT agent, day, held, charged FROM agent_spend
         UNION ALL SELECT o.agent, o.at / 86400000 * 86400000, -p.held, -p.counter
         FROM posting o JOIN posting p ON p.ref = o.ref JOIN agent g ON g.id = o.agent
         WHERE o.kind = 'hold' AND o.id > g.counted_after
       ) GROUP BY agent, day HAVING sum(held) <> 0 OR sum(charged) <> 0`,
    ),
    'what counts against allowances is what was held and charged',
  ).toEqual([])
  expect(
    await db.query(
      `SELECT r.id FROM receipt r LEFT JOIN posting p ON p.ref = r.id AND p.phase = 1
       WHERE (r.state = 'pending') <> (p.id IS NULL) OR r.charged <> coalesce(p.counter, 0)`,
    ),
    'a receipt says what was posted',
  ).toEqual([])
}
