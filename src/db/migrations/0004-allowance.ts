/**
 * What an agent may spend of its account's credits (src/ledger/allowance.ts), enforced where a hold is taken, so that
 * no number of processes overdraws it. Days and months are those of the hold, in UTC: a charge after midnight counts
 * on the day on which it was held.
 */
export const allowance = /* sql */ `
-- Never written so far.
ALTER TABLE agent DROP COLUMN allowance;
-- Micro-credits; null sets no limit.
ALTER TABLE agent ADD COLUMN per_call INTEGER CHECK (per_call >= 0);
ALTER TABLE agent ADD COLUMN per_day INTEGER CHECK (per_day >= 0);
ALTER TABLE agent ADD COLUMN per_month INTEGER CHECK (per_month >= 0);
-- JSON list of model ids; null allows all.
ALTER TABLE agent ADD COLUMN models TEXT;
-- The last posting before a limit by time was set: later holds are counted in agent_spend. Null counts nothing, so
-- that agents without such a limit pay nothing for those with one.
ALTER TABLE agent ADD COLUMN counted_after INTEGER
  CHECK ((counted_after IS NULL) = (per_day IS NULL AND per_month IS NULL));

-- What an agent holds and was charged, by the day of the hold.
CREATE TABLE agent_spend (
  agent TEXT NOT NULL REFERENCES agent(id),
  -- Unix time of the day's start, milliseconds.
  day INTEGER NOT NULL,
  held INTEGER NOT NULL CHECK (held >= 0),
  charged INTEGER NOT NULL CHECK (charged >= 0),
  PRIMARY KEY (agent, day)
) STRICT, WITHOUT ROWID;

DROP TRIGGER hold_is_affordable;

-- A hold that is repeated, that its account or its agent's allowance cannot cover, or whose account or agent is
-- frozen, is left out of its group. What lapsed before it has been booked already: a group books that first.
CREATE TRIGGER hold_is_affordable BEFORE INSERT ON hold
BEGIN
  SELECT RAISE(IGNORE) WHERE NOT EXISTS (
    SELECT 1 FROM account a WHERE a.id = NEW.account AND a.frozen_at IS NULL AND a.available >= NEW.amount
  );
  SELECT RAISE(IGNORE) WHERE NEW.agent IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM agent g WHERE g.id = NEW.agent AND g.account = NEW.account AND g.frozen_at IS NULL
      AND (g.per_call IS NULL OR NEW.amount <= g.per_call)
      AND (g.per_day IS NULL OR NEW.amount + coalesce((
        SELECT s.held + s.charged FROM agent_spend s WHERE s.agent = g.id AND s.day = NEW.at - NEW.at % 86400000
      ), 0) <= g.per_day)
      AND (g.per_month IS NULL OR NEW.amount + coalesce((
        SELECT sum(s.held + s.charged) FROM agent_spend s WHERE s.agent = g.id
          AND s.day >= unixepoch(NEW.at / 1000, 'unixepoch', 'start of month') * 1000
          AND s.day < unixepoch(NEW.at / 1000, 'unixepoch', 'start of month', '+1 month') * 1000
      ), 0) <= g.per_month)
  );
  -- Also once it has ended: a closed hold never comes back to life.
  SELECT RAISE(IGNORE) WHERE EXISTS (SELECT 1 FROM posting p WHERE p.ref = NEW.ref AND p.phase = 0);
END;

CREATE TRIGGER hold_is_counted AFTER INSERT ON hold WHEN NEW.agent IS NOT NULL
BEGIN
  INSERT INTO agent_spend (agent, day, held, charged)
  SELECT g.id, NEW.at - NEW.at % 86400000, NEW.amount, 0 FROM agent g
  WHERE g.id = NEW.agent AND g.counted_after IS NOT NULL
  ON CONFLICT (agent, day) DO UPDATE SET held = held + excluded.held;
END;

-- The posting that ends a hold deletes its row. What was held before the counting began was not counted.
CREATE TRIGGER outcome_is_counted AFTER DELETE ON hold WHEN OLD.agent IS NOT NULL
BEGIN
  UPDATE agent_spend SET held = held - OLD.amount,
    charged = charged + (SELECT p.counter FROM posting p WHERE p.ref = OLD.ref AND p.phase = 1)
  WHERE agent = OLD.agent AND day = OLD.at - OLD.at % 86400000 AND (
    SELECT p.id FROM posting p WHERE p.ref = OLD.ref AND p.phase = 0
  ) > (SELECT g.counted_after FROM agent g WHERE g.id = OLD.agent);
END;
`
