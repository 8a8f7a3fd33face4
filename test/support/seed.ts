/**
 * Tests draw the same cases, keys and ids in each run, so that a change is what makes one fail. `TEST_SEED=random npm
 * test` draws others, `TEST_SEED=<number>` those of a failure that printed its seed.
 */
import { randomInt } from 'node:crypto'
import * as fc from 'fast-check'

const asked = process.env['TEST_SEED'] ?? '20261126'

export const SEED = asked === 'random' ? randomInt(2 ** 31) : Number(asked)
fc.configureGlobal({ seed: SEED })
if (asked === 'random') process.stderr.write(`TEST_SEED=${SEED}\n`)
