/**
 * Grants against the payments and invoices that they are for: one grant an epoch, all but the last one reversed, the
 * last one open exactly while its reason stands. The refs are `pay:<payment>:<epoch>` and `discount:<invoice>:<epoch>`.
 */
import { NEVER } from '../lots.ts'
import type { Check } from './check.ts'

/** What stands between the prefix of a ref and its epoch, and the epoch. */
const subjectOf = (prefix: string): string =>
  `substr(rtrim(p.ref, '0123456789'), ${prefix.length + 1}, length(rtrim(p.ref, '0123456789')) - ${prefix.length + 1})`
const EPOCH = `CAST(substr(p.ref, length(rtrim(p.ref, '0123456789')) + 1) AS INTEGER)`

const grantsOf = (kind: 'grant' | 'discount', prefix: string): string => `
  SELECT p.id, p.ref, p.account, p.available, p.at, ${subjectOf(prefix)} AS subject, ${EPOCH} AS epoch,
    NOT EXISTS (SELECT 1 FROM posting c WHERE c.ref = p.ref AND c.phase = 1) AS open
  FROM posting p WHERE p.kind = '${kind}' AND p.phase = 0`

const GRANTS = grantsOf('grant', 'pay:')
const DISCOUNTS = grantsOf('discount', 'discount:')
const REF = (prefix: string): string => `'${prefix}' || g.subject || ':' || g.epoch`

const payments: readonly Check[] = [
  {
    kind: 'grant_without_payment',
    table: 'posting',
    sql: `
      SELECT g.id AS row, 'Posting ' || g.id || ' grants ' || g.available || ' micro-credits under ' || g.ref
        || ', which no payment accounts for.' AS message
      FROM (${GRANTS}) g LEFT JOIN payment y ON y.key = g.subject
      WHERE y.key IS NULL OR g.epoch NOT BETWEEN 1 AND y.epoch OR g.ref <> ${REF('pay:')}`,
  },
  {
    kind: 'grant_missing',
    table: 'payment',
    sql: `
      SELECT y.key AS row, 'Payment ' || y.key || ' has been credited ' || y.epoch || ' times, but ' || coalesce(g.grants, 0)
        || ' grants are posted for it.' AS message
      FROM payment y LEFT JOIN (SELECT subject, count(*) AS grants FROM (${GRANTS}) GROUP BY subject) g ON g.subject = y.key
      WHERE y.epoch <> coalesce(g.grants, 0)`,
  },
  {
    kind: 'payment_mismatch',
    table: 'payment',
    sql: `
      SELECT y.key AS row, 'Payment ' || y.key || ' is ' || y.state || ' in epoch ' || y.epoch || ', but its grant of epoch '
        || g.epoch || iif(g.open, ' stands.', ' is reversed.') AS message
      FROM (${GRANTS}) g JOIN payment y ON y.key = g.subject
      WHERE g.open <> (y.state = 'credited' AND g.epoch = y.epoch)`,
  },
  {
    kind: 'payment_mismatch',
    table: 'payment',
    sql: `
      SELECT y.key AS row, 'Payment ' || y.key || ' says that it was credited ' || y.credits || ' micro-credits to invoice '
        || coalesce(y.invoice, 'none') || '; ' || g.available || ' were granted to account ' || g.account || '.' AS message
      FROM (${GRANTS}) g JOIN payment y ON y.key = g.subject AND y.epoch = g.epoch LEFT JOIN invoice i ON i.id = y.invoice
      WHERE y.state = 'credited' AND (y.credits <> g.available OR i.account IS NOT g.account)`,
  },
  {
    kind: 'payment_mismatch',
    table: 'payment',
    sql: `
      SELECT y.key AS row, 'Payment ' || y.key || ' is ' || y.state || ' in epoch ' || y.epoch || ' with '
        || y.credits || ' micro-credits, which cannot be.' AS message
      FROM payment y
      WHERE y.epoch < 0 OR (y.state IN ('credited', 'reversed') AND y.epoch = 0)
        OR (y.state IN ('replaced', 'orphaned') AND y.epoch > 0)
        OR (y.state = 'credited') <> (y.credited_at IS NOT NULL) OR (y.state <> 'credited' AND y.credits <> 0)
        OR (y.state = 'credited' AND (y.height IS NULL OR y.invoice IS NULL))`,
  },
  {
    kind: 'lot_mismatch',
    table: 'lot',
    sql: `
      SELECT l.ref AS row, 'Lot ' || l.ref || ' expires at ' || l.expires_at || '; by its invoice ' || i.id || ' it expires at '
        || coalesce(l.at + i.lot_lifetime, ${NEVER}) || '.' AS message
      FROM lot l JOIN (
        SELECT ref, y.invoice FROM (${GRANTS}) g JOIN payment y ON y.key = g.subject AND y.epoch = g.epoch AND y.state = 'credited'
        UNION ALL SELECT ref, subject FROM (${DISCOUNTS})
      ) g ON g.ref = l.ref JOIN invoice i ON i.id = g.invoice
      WHERE l.expires_at <> coalesce(l.at + i.lot_lifetime, ${NEVER})`,
  },
]

const discounts: readonly Check[] = [
  {
    kind: 'discount_mismatch',
    table: 'posting',
    sql: `
      SELECT g.id AS row, 'Posting ' || g.id || ' grants a discount of ' || g.available || ' micro-credits under ' || g.ref
        || ', which no invoice accounts for.' AS message
      FROM (${DISCOUNTS}) g LEFT JOIN invoice i ON i.id = g.subject
      WHERE i.id IS NULL OR g.epoch NOT BETWEEN 1 AND i.discount_epoch OR g.available <> i.discount
        OR g.account <> i.account OR g.ref <> ${REF('discount:')}`,
  },
  {
    kind: 'discount_mismatch',
    table: 'invoice',
    sql: `
      SELECT i.id AS row, 'The discount of invoice ' || i.id || ' has been given ' || i.discount_epoch || ' times, but '
        || coalesce(g.grants, 0) || ' grants are posted for it, ' || coalesce(g.stale, 0)
        || ' of earlier times still stand.' AS message
      FROM invoice i LEFT JOIN (
        SELECT g.subject, count(*) AS grants, sum(g.open AND g.epoch <> i.discount_epoch) AS stale
        FROM (${DISCOUNTS}) g JOIN invoice i ON i.id = g.subject GROUP BY g.subject
      ) g ON g.subject = i.id
      WHERE i.discount_epoch <> coalesce(g.grants, 0) OR coalesce(g.stale, 0) > 0`,
  },
]

const addresses: readonly Check[] = [
  {
    kind: 'address_reused',
    table: 'address',
    sql: `
      SELECT address AS row, 'Address ' || address || ' was issued to ' || count(*) || ' invoices: ' || group_concat(id, ', ') || '.' AS message
      FROM invoice GROUP BY address HAVING count(*) > 1`,
  },
  {
    kind: 'address_unissued',
    table: 'address',
    sql: `
      SELECT a.address AS row, 'Address ' || a.address || ' has index ' || a.derivation_index || ', but the next one of its key is '
        || k.next_index || ': it would be issued again.' AS message
      FROM address a JOIN deriving_key k ON k.fingerprint = a.fingerprint WHERE a.derivation_index >= k.next_index`,
  },
]

export const paymentChecks: readonly Check[] = [...payments, ...discounts, ...addresses]
