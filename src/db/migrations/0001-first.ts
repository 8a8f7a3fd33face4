/** The first schema. Each table is explained in prose in src/ledger/README.md. */
export const first = /* sql */ `
CREATE TABLE account (
  id TEXT PRIMARY KEY,
  external_id TEXT UNIQUE,
  available INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
  -- No open lot expires before this moment: lets a hold skip the look at the lots.
  next_expiry INTEGER NOT NULL DEFAULT 253402300799999,
  frozen_at INTEGER,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_by_next_expiry ON account (next_expiry);

CREATE TABLE agent (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL REFERENCES account(id),
  name TEXT NOT NULL,
  -- JSON: per_call, per_day, per_month in micro-credits; models
  allowance TEXT NOT NULL DEFAULT '{}',
  frozen_at INTEGER,
  created_at INTEGER NOT NULL,
  UNIQUE (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  prefix TEXT NOT NULL,
  name TEXT NOT NULL,
  scope TEXT NOT NULL CHECK (scope IN ('seller', 'account', 'agent')),
  account TEXT REFERENCES account(id),
  agent TEXT REFERENCES agent(id),
  created_at INTEGER NOT NULL,
  last_used_at INTEGER,
  revoked_at INTEGER,
  CHECK ((scope = 'seller') = (account IS NULL)),
  CHECK ((scope = 'agent') = (agent IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- The journal: append-only; one row is one whole posting, whose legs sum to zero.
CREATE TABLE posting (
  id INTEGER PRIMARY KEY,
  ref TEXT NOT NULL,
  phase INTEGER NOT NULL CHECK (phase IN (0, 1)),
  kind TEXT NOT NULL CHECK (kind IN ('grant', 'discount', 'reverse', 'hold', 'capture', 'release', 'expire')),
  account TEXT NOT NULL REFERENCES account(id),
  agent TEXT,
  available INTEGER NOT NULL,
  held INTEGER NOT NULL,
  book TEXT CHECK (book IN ('payments', 'discounts', 'revenue', 'breakage')),
  counter INTEGER NOT NULL,
  at INTEGER NOT NULL,
  UNIQUE (ref, phase),
  CHECK (available + held + counter = 0),
  CHECK ((book IS NULL) = (kind IN ('hold', 'release')))
) STRICT;

CREATE TABLE hold (
  ref TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  agent TEXT,
  amount INTEGER NOT NULL CHECK (amount > 0),
  -- Charged when the lifetime ends without an outcome; 0 releases all of it.
  lapse_charge INTEGER NOT NULL DEFAULT 0 CHECK (lapse_charge BETWEEN 0 AND amount),
  at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_by_expiry ON hold (expires_at);

CREATE TABLE lot (
  ref TEXT PRIMARY KEY,
  account TEXT NOT NULL REFERENCES account(id),
  granted INTEGER NOT NULL CHECK (granted > 0),
  remaining INTEGER NOT NULL CHECK (remaining >= 0),
  -- How much of it has lapsed so far, and when the last part did.
  expired INTEGER NOT NULL DEFAULT 0 CHECK (expired >= 0),
  expired_at INTEGER,
  expires_at INTEGER NOT NULL,
  at INTEGER NOT NULL,
  CHECK (remaining + expired <= granted)
) STRICT, WITHOUT ROWID;
CREATE INDEX lot_open ON lot (account, expires_at) WHERE remaining > 0;

-- What an account was charged, by the hour: burn rates without a look at the journal.
CREATE TABLE spend (
  account TEXT NOT NULL REFERENCES account(id),
  -- Unix time of the hour's start, milliseconds.
  hour INTEGER NOT NULL,
  charged INTEGER NOT NULL,
  PRIMARY KEY (account, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE invoice (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL REFERENCES account(id),
  rail TEXT NOT NULL,
  pack TEXT,
  -- Atomic units, an integer as text: 10 ETH in wei does not fit 64 bits.
  amount TEXT NOT NULL,
  usd INTEGER NOT NULL,
  credits INTEGER NOT NULL,
  discount INTEGER NOT NULL DEFAULT 0,
  usd_per_credit INTEGER NOT NULL,
  lot_lifetime INTEGER,
  price_e8 TEXT NOT NULL,
  price_source TEXT NOT NULL,
  price_at INTEGER NOT NULL,
  address TEXT NOT NULL REFERENCES address(address),
  signed TEXT NOT NULL,
  signature TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  -- Times the discount has been granted so far; the current one is open while posting (discount, epoch) has no close.
  discount_epoch INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX invoice_by_account ON invoice (account, id);
CREATE INDEX invoice_by_address ON invoice (address);
CREATE INDEX invoice_by_expiry ON invoice (expires_at);

-- An extended public key in use, and the next index to hand out: no address is ever issued twice.
CREATE TABLE deriving_key (
  fingerprint TEXT PRIMARY KEY,
  family TEXT NOT NULL,
  next_index INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE address (
  address TEXT PRIMARY KEY,
  family TEXT NOT NULL,
  fingerprint TEXT NOT NULL REFERENCES deriving_key(fingerprint),
  derivation_index INTEGER NOT NULL,
  path TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (fingerprint, derivation_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE payment (
  key TEXT PRIMARY KEY,
  chain TEXT NOT NULL,
  symbol TEXT NOT NULL,
  txid TEXT NOT NULL,
  address TEXT NOT NULL,
  amount TEXT NOT NULL,
  -- null: nobody's; kept for the seller to resolve
  invoice TEXT REFERENCES invoice(id),
  state TEXT NOT NULL CHECK (state IN ('seen', 'confirming', 'credited', 'replaced', 'orphaned', 'failed', 'reversed')),
  -- Times it has been credited: grants and reversals are keyed (payment, epoch).
  epoch INTEGER NOT NULL DEFAULT 0,
  needed INTEGER NOT NULL,
  height INTEGER,
  block_hash TEXT,
  block_time INTEGER,
  seen_at INTEGER NOT NULL,
  credited_at INTEGER,
  -- What the current epoch granted, micro-credits
  credits INTEGER NOT NULL DEFAULT 0,
  -- JSON: how it was priced (rates, sources, times)
  pricing TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX payment_by_invoice ON payment (invoice);
CREATE INDEX payment_by_height ON payment (chain, height);
CREATE INDEX payment_open ON payment (chain, state) WHERE state IN ('seen', 'confirming');

CREATE TABLE chain_cursor (
  chain TEXT PRIMARY KEY,
  height INTEGER NOT NULL,
  hash TEXT NOT NULL,
  recent TEXT NOT NULL,
  tip_height INTEGER NOT NULL,
  -- Set when a fork went below finality: nothing is credited until a human looks.
  halted TEXT,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  fence INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
  id INTEGER PRIMARY KEY,
  type TEXT NOT NULL,
  subject TEXT NOT NULL,
  payload TEXT NOT NULL,
  at INTEGER NOT NULL,
  delivered_at INTEGER
) STRICT;
CREATE INDEX outbox_pending ON outbox (id) WHERE delivered_at IS NULL;

CREATE TABLE idempotency (
  account TEXT NOT NULL,
  route TEXT NOT NULL,
  key TEXT NOT NULL,
  body_hash TEXT NOT NULL,
  -- The hold, invoice or other thing that the first request made.
  ref TEXT NOT NULL,
  -- JSON; null while the first request is still running
  response TEXT,
  at INTEGER NOT NULL,
  PRIMARY KEY (account, route, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_ref ON idempotency (ref);

CREATE TABLE receipt (
  account TEXT NOT NULL,
  -- The hold's ref.
  id TEXT NOT NULL,
  agent TEXT,
  route TEXT NOT NULL,
  model TEXT NOT NULL,
  upstream TEXT NOT NULL,
  price TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'charged', 'released')),
  usage TEXT,
  held INTEGER NOT NULL,
  charged INTEGER NOT NULL DEFAULT 0,
  started_at INTEGER NOT NULL,
  finished_at INTEGER,
  upstream_request_id TEXT,
  note TEXT,
  PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;

-- Remote writes carry an operation id; a retry looks for it first.
CREATE TABLE operation (
  id TEXT PRIMARY KEY,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row inserted here rolls its whole batch back: guards are INSERT INTO guard SELECT 1 WHERE NOT (condition).
CREATE TABLE guard (failed INTEGER NOT NULL) STRICT;
CREATE TRIGGER guard_raises BEFORE INSERT ON guard BEGIN SELECT RAISE(ABORT, 'guard'); END;

CREATE TRIGGER posting_is_append_only BEFORE UPDATE ON posting BEGIN SELECT RAISE(ABORT, 'posting is append-only'); END;
CREATE TRIGGER posting_is_kept BEFORE DELETE ON posting BEGIN SELECT RAISE(ABORT, 'posting is append-only'); END;

-- A hold that is repeated, that the account cannot cover, or whose account or agent is frozen, is left out of its
-- group. What lapsed before it has been booked already: a group books that first.
CREATE TRIGGER hold_is_affordable BEFORE INSERT ON hold
BEGIN
  SELECT RAISE(IGNORE) WHERE NOT EXISTS (
    SELECT 1 FROM account a WHERE a.id = NEW.account AND a.frozen_at IS NULL AND a.available >= NEW.amount
  );
  SELECT RAISE(IGNORE) WHERE NEW.agent IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM agent g WHERE g.id = NEW.agent AND g.account = NEW.account AND g.frozen_at IS NULL
  );
  -- Also once it has ended: a closed hold never comes back to life.
  SELECT RAISE(IGNORE) WHERE EXISTS (SELECT 1 FROM posting p WHERE p.ref = NEW.ref AND p.phase = 0);
END;

CREATE TRIGGER hold_is_posted AFTER INSERT ON hold
BEGIN
  INSERT INTO posting (ref, phase, kind, account, agent, available, held, book, counter, at)
  VALUES (NEW.ref, 0, 'hold', NEW.account, NEW.agent, -NEW.amount, NEW.amount, NULL, 0, NEW.at);
END;

CREATE TRIGGER posting_moves_balance AFTER INSERT ON posting
BEGIN
  UPDATE account SET available = available + NEW.available, held = held + NEW.held WHERE id = NEW.account;
END;

CREATE TRIGGER closing_ends_hold AFTER INSERT ON posting WHEN NEW.kind IN ('capture', 'release')
BEGIN
  DELETE FROM hold WHERE ref = NEW.ref;
END;

CREATE TRIGGER capture_is_spend AFTER INSERT ON posting WHEN NEW.kind = 'capture' AND NEW.counter > 0
BEGIN
  INSERT INTO spend (account, hour, charged) VALUES (NEW.account, NEW.at - NEW.at % 3600000, NEW.counter)
  ON CONFLICT (account, hour) DO UPDATE SET charged = charged + excluded.charged;
END;

CREATE TRIGGER lot_lowers_next_expiry AFTER INSERT ON lot
BEGIN
  UPDATE account SET next_expiry = min(next_expiry, NEW.expires_at) WHERE id = NEW.account;
END;

-- What lapses of a lot becomes breakage; a reversal of the lot takes that back, because the payment is gone as a
-- whole. 'expired' never takes the same value twice within the life of a lot, so it makes the ref unique.
CREATE TRIGGER expiry_is_posted AFTER UPDATE OF expired ON lot WHEN NEW.expired <> OLD.expired
BEGIN
  INSERT INTO posting (ref, phase, kind, account, agent, available, held, book, counter, at)
  VALUES ('expire:' || NEW.ref || ':' || OLD.expired, 0, 'expire', NEW.account, NULL,
    OLD.expired - NEW.expired, 0, 'breakage', NEW.expired - OLD.expired, NEW.expired_at);
END;
`
