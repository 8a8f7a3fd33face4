/** Holds, outcomes, lots and what is derived from them, each against the journal. */
import type { Check } from './check.ts'

/** The lot that an expiry names: `expire:<lot>:<what had lapsed of it before>`. */
const LAPSED_LOT = `substr(rtrim(p.ref, '0123456789'), 8, length(rtrim(p.ref, '0123456789')) - 8)`

const outcomes: readonly Check[] = [
  {
    kind: 'posting_unmatched',
    table: 'posting',
    sql: `
      SELECT c.id AS row, 'Posting ' || c.id || ' (' || c.kind || ' of ' || c.ref || ') '
        || CASE WHEN o.id IS NULL THEN 'closes something that was never opened.'
             WHEN o.id > c.id THEN 'comes before posting ' || o.id || ', which opens it.'
             WHEN o.account <> c.account THEN 'belongs to another account than posting ' || o.id || ', which opens it.'
             WHEN o.agent IS NOT c.agent AND c.kind <> 'reverse' THEN 'belongs to another agent than posting ' || o.id || ', which opens it.'
             ELSE 'cannot close a ' || o.kind || '.' END AS message
      FROM posting c LEFT JOIN posting o ON o.ref = c.ref AND o.phase = 0
      WHERE c.phase = 1 AND (o.id IS NULL OR o.id > c.id OR o.account <> c.account
        OR (c.kind = 'reverse') <> (o.kind IN ('grant', 'discount'))
        OR (c.kind IN ('capture', 'release')) <> (o.kind = 'hold')
        OR (o.agent IS NOT c.agent AND c.kind <> 'reverse'))`,
  },
  {
    kind: 'charge_mismatch',
    table: 'posting',
    sql: `
      SELECT c.id AS row, 'Posting ' || c.id || ' (' || c.kind || ' of ' || c.ref || ') ends a hold of ' || o.held
        || ', but takes ' || -c.held || ' from what is held and charges ' || c.counter || ' micro-credits.' AS message
      FROM posting c JOIN posting o ON o.ref = c.ref AND o.phase = 0 AND o.kind = 'hold'
      WHERE c.phase = 1 AND (c.held <> -o.held OR c.counter NOT BETWEEN 0 AND o.held)`,
  },
  {
    kind: 'charge_mismatch',
    table: 'posting',
    sql: `
      SELECT c.id AS row, 'Posting ' || c.id || ' reverses ' || -c.available || ' micro-credits of ' || coalesce(c.book, 'no book')
        || ', but ' || c.ref || ' granted ' || o.available || ' of ' || coalesce(o.book, 'no book') || '.' AS message
      FROM posting c JOIN posting o ON o.ref = c.ref AND o.phase = 0 AND o.kind IN ('grant', 'discount')
      WHERE c.phase = 1 AND (c.available <> -o.available OR c.book IS NOT o.book)`,
  },
]

const holds: readonly Check[] = [
  {
    kind: 'hold_missing',
    table: 'hold',
    sql: `
      SELECT p.ref AS row, 'Hold ' || p.ref || ' (posting ' || p.id || ') has no outcome and is not among the open holds.' AS message
      FROM posting p
      WHERE p.kind = 'hold' AND NOT EXISTS (SELECT 1 FROM posting c WHERE c.ref = p.ref AND c.phase = 1)
        AND NOT EXISTS (SELECT 1 FROM hold h WHERE h.ref = p.ref)`,
  },
  {
    kind: 'hold_mismatch',
    table: 'hold',
    sql: `
      SELECT h.ref AS row, 'Hold ' || h.ref || ' is open '
        || CASE WHEN p.id IS NULL THEN 'but was never posted.'
             WHEN c.id IS NOT NULL THEN 'but ended with posting ' || c.id || '.'
             ELSE 'for ' || h.amount || ' micro-credits and differs from posting ' || p.id || ', which is for ' || p.held || '.' END AS message
      FROM hold h LEFT JOIN posting p ON p.ref = h.ref AND p.phase = 0 LEFT JOIN posting c ON c.ref = h.ref AND c.phase = 1
      WHERE p.id IS NULL OR c.id IS NOT NULL OR p.kind <> 'hold' OR p.account <> h.account OR p.agent IS NOT h.agent
        OR p.held <> h.amount OR p.at <> h.at`,
  },
  {
    kind: 'receipt_mismatch',
    table: 'receipt',
    sql: `
      SELECT r.id AS row, 'Receipt ' || r.id || ' (' || r.state || ', held ' || r.held || ', charged ' || r.charged || ') '
        || CASE WHEN p.id IS NULL THEN 'belongs to no hold.'
             WHEN c.id IS NULL THEN 'differs from its hold of ' || p.held || ', which is open.'
             ELSE 'differs from its hold of ' || p.held || ', which ended as ' || c.kind || ' of ' || c.counter || '.' END AS message
      FROM receipt r LEFT JOIN posting p ON p.ref = r.id AND p.phase = 0 AND p.kind = 'hold'
        LEFT JOIN posting c ON c.ref = r.id AND c.phase = 1
      WHERE p.id IS NULL OR p.account <> r.account OR p.agent IS NOT r.agent OR p.held <> r.held OR p.at <> r.started_at
        OR r.charged <> coalesce(c.counter, 0) OR r.finished_at IS NOT c.at
        OR r.state <> CASE c.kind WHEN 'capture' THEN 'charged' WHEN 'release' THEN 'released' ELSE 'pending' END`,
  },
  {
    kind: 'idempotency_dangling',
    table: 'idempotency',
    sql: `
      SELECT i.account || ' ' || i.route || ' ' || i.key AS row,
        'The idempotency key ' || i.key || ' of ' || i.route || ' points at ' || i.ref || ', which account ' || i.account || ' does not have.' AS message
      FROM idempotency i
      WHERE NOT EXISTS (SELECT 1 FROM posting p WHERE p.ref = i.ref AND p.phase = 0 AND p.account = i.account)
        AND NOT EXISTS (SELECT 1 FROM invoice v WHERE v.id = i.ref AND v.account = i.account)`,
  },
  {
    kind: 'spend_mismatch',
    table: 'spend',
    sql: `
      SELECT account || ' ' || hour AS row, 'The spend of account ' || account || ' in the hour from ' || hour || ' differs by '
        || sum(charged) || ' micro-credits from what its captures charged.' AS message
      FROM (
        SELECT account, hour, charged FROM spend
        UNION ALL SELECT account, at - at % 3600000, -counter FROM posting WHERE kind = 'capture' AND counter > 0
      ) GROUP BY account, hour HAVING sum(charged) <> 0`,
  },
  {
    // CROSS JOIN keeps the order: the journal is read once, and agents are looked up by their key.
    kind: 'agent_spend_mismatch',
    table: 'agent_spend',
    sql: `
      SELECT agent || ' ' || day AS row, 'What agent ' || agent || ' used of its allowance on the day from ' || day || ' differs by '
        || sum(held) || ' held and ' || sum(charged) || ' charged micro-credits from its postings.' AS message
      FROM (
        SELECT agent, day, held, charged FROM agent_spend
        UNION ALL
        SELECT o.agent, o.at - o.at % 86400000, -p.held, -p.counter
        FROM posting o CROSS JOIN agent g ON g.id = o.agent CROSS JOIN posting p ON p.ref = o.ref
        WHERE o.kind = 'hold' AND o.phase = 0 AND o.id > g.counted_after
      ) GROUP BY agent, day HAVING sum(held) <> 0 OR sum(charged) <> 0`,
  },
]

const lots: readonly Check[] = [
  {
    kind: 'lot_missing',
    table: 'lot',
    sql: `
      SELECT p.ref AS row, 'Posting ' || p.id || ' granted ' || p.available || ' micro-credits under ' || p.ref || ', but there is no lot of them.' AS message
      FROM posting p
      WHERE p.kind IN ('grant', 'discount') AND p.available > 0 AND NOT EXISTS (SELECT 1 FROM lot l WHERE l.ref = p.ref)`,
  },
  {
    kind: 'lot_mismatch',
    table: 'lot',
    sql: `
      SELECT l.ref AS row, 'Lot ' || l.ref || ' of ' || l.granted || ' micro-credits '
        || CASE WHEN p.id IS NULL THEN 'was never granted.' ELSE 'differs from posting ' || p.id || ', which granted ' || p.available || '.' END AS message
      FROM lot l LEFT JOIN posting p ON p.ref = l.ref AND p.phase = 0 AND p.kind IN ('grant', 'discount')
      WHERE p.id IS NULL OR p.account <> l.account OR p.available <> l.granted OR p.at <> l.at`,
  },
  {
    kind: 'lot_mismatch',
    table: 'lot',
    sql: `
      SELECT l.ref AS row, 'Of lot ' || l.ref || ' ' || l.remaining || ' micro-credits remain and ' || l.expired
        || ' have lapsed, of ' || l.granted || ' granted.' AS message
      FROM lot l WHERE l.remaining < 0 OR l.expired < 0 OR l.remaining + l.expired > l.granted`,
  },
  {
    kind: 'lapse_mismatch',
    table: 'lot',
    sql: `
      SELECT l.ref AS row, 'Lot ' || l.ref || ' says that ' || l.expired || ' micro-credits of it have lapsed; '
        || coalesce(e.expired, 0) || ' were booked.' AS message
      FROM lot l LEFT JOIN (
        SELECT ${LAPSED_LOT} AS ref, -sum(p.available) AS expired FROM posting p WHERE p.kind = 'expire' GROUP BY 1
      ) e ON e.ref = l.ref
      WHERE l.expired <> coalesce(e.expired, 0)`,
  },
  {
    kind: 'posting_unmatched',
    table: 'posting',
    sql: `
      SELECT p.id AS row, 'Posting ' || p.id || ' lapses credits of ' || p.ref || ', a lot that account ' || p.account || ' does not have.' AS message
      FROM posting p LEFT JOIN lot l ON l.ref = ${LAPSED_LOT}
      WHERE p.kind = 'expire' AND (l.ref IS NULL OR l.account <> p.account)`,
  },
  {
    kind: 'lapse_mismatch',
    table: 'account',
    sql: `
      SELECT a.id AS row, 'Account ' || a.id || ' is next looked at for lapsed credits at ' || a.next_expiry || ', but lot ' || l.ref
        || ' expires at ' || l.expires_at || '.' AS message
      FROM account a JOIN lot l ON l.account = a.id AND l.remaining > 0 AND l.expires_at < a.next_expiry`,
  },
]

export const bookChecks: readonly Check[] = [...outcomes, ...holds, ...lots]
