/**
 * Tests draw the same cases, keys and ids in each run, so that a change is what makes one fail. `TEST_SEED=random npm
 * test` draws others, `TEST_SEED=<number>` those of a failure that printed its seed.
 */
import { randomInt } from 'node:crypto'
import * as fc from 'fast-check'
import { seedChance } from './chance.ts'

const asked = process.env['TEST_SEED'] ?? '20261126'
const seed = asked === 'random' ? randomInt(2 ** 31) : Number(asked)
if (asked === 'random') process.stderr.write(`TEST_SEED=${seed}\n`)
fc.configureGlobal({ seed })
seedChance(seed)
