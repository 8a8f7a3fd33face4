/**
 * Property tests draw the same cases in each run, so that a change is what makes one fail. `TEST_SEED=random npm test`
 * draws others, `TEST_SEED=<number>` those of a failure that printed its seed.
 */
import * as fc from 'fast-check'

const asked = process.env['TEST_SEED'] ?? '20261126'
if (asked !== 'random') fc.configureGlobal({ seed: Number(asked) })
